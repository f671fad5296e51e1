"""Balanced accuracy with and without what makes up for rare classes.

    python benchmarks/imbalance.py --data_dir=... --workdir=runs/imbalance

43 kinds of traffic signs (`gtsrb32`), 63 to 675 training images of each. Three students of a
ResNet-8 are trained together, for each of three seeds: as they are, with class weights, with
balanced sampling, and with logit adjustment. All else is the same, and nothing was tuned. Stopped,
the same command goes on.
"""

import gc
import json
from pathlib import Path

import numpy as np
from absl import app, flags

from oekd_tf.cli.parts import flags as command_line

_DATA_DIR = flags.DEFINE_string("data_dir", "", "TFDS directory that holds gtsrb32.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/imbalance", "Folder of the runs.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds.")
_EPOCHS = flags.DEFINE_integer("epochs", 8, "Number of epochs.")

VARIANTS = {
    "as it is": {},
    "class weights": {"data.class_weight": "balanced"},
    "balanced sampling": {"data.sampling": "balanced"},
    "logit adjustment, τ = 1": {"label_loss.logit_adjustment": 1.0},
}


def make_config(seed: int, fields: dict):
    """The config of one run."""
    from oekd_tf.config import default_config, set_fields

    config = default_config()
    config.name = "signs"
    config.seed = seed
    config.epochs = _EPOCHS.value
    config.data.source = "gtsrb32"
    config.data.data_dir = _DATA_DIR.value
    config.data.image_size = (16, 16)
    # Signs must not be mirrored, and four pixels are a quarter of them.
    config.data.augmentation = ()
    config.ensemble.widths = (1.0, 0.5, 0.25)
    config.optimizer.learning_rate = 3e-3
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    set_fields(config, fields, within=("data", "label_loss"))
    return config


def scores(folder: Path) -> dict[str, tuple[float, float, float]]:
    """Accuracy, balanced accuracy and the worst class's recall of each network, in test."""
    with np.load(folder / "test_logits.npz") as arrays:
        labels = arrays["labels"]
        found = {}
        for name in arrays.files:
            if name != "labels":
                hits = arrays[name].argmax(-1) == labels
                recall = np.array([hits[labels == c].mean() for c in np.unique(labels)])
                found[name] = hits.mean(), recall.mean(), recall.min()
    return found


def main(_: list[str]) -> None:
    import keras

    from oekd_tf.core.tables import markdown_table
    from oekd_tf.studies.evaluate_run import evaluate_run
    from oekd_tf.studies.statistics import interval, spread
    from oekd_tf.training import train

    found: dict[str, list[dict]] = {name: [] for name in VARIANTS}
    for seed in range(_SEEDS.value):
        for number, (name, fields) in enumerate(VARIANTS.items()):
            folder = Path(_WORKDIR.value) / f"seed_{seed}" / f"variant_{number}"
            if not (folder / "evaluation.json").exists():
                train(make_config(seed, fields), folder)
                evaluate_run(folder)
                gc.collect()
            found[name].append(scores(folder))
            keras.backend.clear_session()
            print(json.dumps({"seed": seed, name: found[name][-1]}), flush=True)
    rows = []
    for network in found["as it is"][0]:
        base = [one[network][1] for one in found["as it is"]]
        for name, runs in found.items():
            accuracy, balanced, worst = (
                spread([100 * one[network][part] for one in runs]) for part in range(3)
            )
            own = [one[network][1] for one in runs]
            gain = interval([100 * (a - b) for a, b in zip(own, base, strict=True)])
            rows.append(
                {
                    "network": network,
                    "training": name,
                    "accuracy %": f"{accuracy.mean:.2f} ± {accuracy.deviation or 0:.2f}",
                    "balanced accuracy %": f"{balanced.mean:.2f} ± {balanced.deviation or 0:.2f}",
                    "against as it is": ""
                    if name == "as it is"
                    else f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})",
                    "worst class %": f"{worst.mean:.1f}",
                }
            )
    print(markdown_table(rows))


if __name__ == "__main__":
    command_line.quiet_tensorflow()
    app.run(main)
