"""What an overlay of integrated gradients costs: times of a training step, paired.

    python benchmarks/overlay_cost.py
    python benchmarks/overlay_cost.py --depth=20 --size=32

Prints the median time of a step without an overlay, with one of student 1 and with one of all
students, and its ratio to the step without, of steps that take turns.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np

import oekd_tf
from oekd_tf.core.tables import markdown_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", default=8, type=int, help="Depth of the CIFAR ResNet.")
    parser.add_argument("--size", default=8, type=int, help="Height and width of the images.")
    parser.add_argument("--batch_size", default=128, type=int)
    parser.add_argument("--share", default=0.1, type=float, help="Share that is overlaid.")
    parser.add_argument("--turns", default=12, type=int)
    flags = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (flags.batch_size, flags.size, flags.size, 3)
    batch = rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 10, flags.batch_size)
    ensembles = {"none": ensemble_with(None, flags)}
    for source in ("pseudo_teacher", "ensemble"):
        overlay = oekd_tf.attribution.IntegratedGradientsOverlay(
            flags.share, source, refresh_epochs=1
        )
        ensembles[source] = ensemble_with(overlay, flags)
    for ensemble in ensembles.values():
        for _ in range(3):
            ensemble.train_on_batch(*batch)
    times = {name: [] for name in ensembles}
    for _ in range(flags.turns):
        for name, ensemble in ensembles.items():
            start = time.perf_counter()
            for _ in range(10):
                ensemble.train_on_batch(*batch)
            times[name].append((time.perf_counter() - start) / 10)
    without = np.array(times["none"])
    rows = [
        {
            "overlay of": name,
            "step, ms": f"{1000 * np.median(own):.1f}",
            "ratio": f"{np.median(np.array(own) / without):.2f}",
        }
        for name, own in times.items()
    ]
    print(markdown_table(rows))


def ensemble_with(overlay, flags):
    keras.utils.set_random_seed(0)
    ensemble = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(flags.depth),
        (flags.size, flags.size, 3),
        num_classes=10,
        overlay=overlay,
    )
    ensemble.compile(oekd_tf.optimizers.Adam(1e-3))
    ensemble.plan(steps_per_epoch=1, epochs=10_000)
    return ensemble


if __name__ == "__main__":
    main()
