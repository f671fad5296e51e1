"""What each export format costs in accuracy, on students trained on real images.

    python benchmarks/edge_chain.py --workdir=runs/edge --seeds=0,1,2 --students=2,3 \
        --formats=float32,int8,qat_int8,pruned_float32

Every seed chooses the calibration images and the order and augmentation of fine-tuning; the
students are the workdir's. Prints test accuracy, mean and standard deviation over the seeds, and
sizes. No accuracy is too low here, so that what is lost is seen.
"""

import tempfile

import numpy as np
from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.tables import markdown_table

_WORKDIR = flags.DEFINE_string("workdir", None, "A finished run's.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of calibration and fine-tuning.")
_STUDENTS = flags.DEFINE_list("students", [], "Numbers; all if none.")
_FORMATS = flags.DEFINE_list("formats", ["float32", "int8", "qat_int8"], "To compare.")
_SET = flags.DEFINE_multi_string("set", [], "fine_tuning.FIELD=VALUE.")


def main() -> None:
    command_line.quiet_tensorflow()
    from oekd_tf import config as config_module
    from oekd_tf.training import restore_run

    config, data, ensemble = restore_run(_WORKDIR.value)
    fields = dict(text.partition("=")[::2] for text in _SET.value)
    config_module.set_fields(config, fields, within=("fine_tuning",))
    numbers = [int(n) for n in _STUDENTS.value] or range(1, len(ensemble.students) + 1)
    manifests = [_export(config, data, ensemble, numbers, int(seed)) for seed in _SEEDS.value]
    print(f"\n{len(data.test_arrays()[1])} test images, seeds {', '.join(_SEEDS.value)}\n")
    print(markdown_table(_rows(manifests)))


def _export(config, data, ensemble, numbers, seed):
    from oekd_tf.export import export_students
    from oekd_tf.export.compression import FineTuning
    from oekd_tf.export.compression.distilled_training import teacher_of

    images, labels = data.test_arrays()
    augmentation = tuple(config.data.augmentation)
    tuning = config.fine_tuning
    fine_tuning = FineTuning(
        teacher_of(ensemble),
        data.train(config.batch_size, seed=1000 + seed, augmentation=augmentation),
        data.steps_per_epoch(config.batch_size),
        epochs=tuning.epochs,
        learning_rate=tuning.learning_rate,
        temperature=ensemble.method.temperature,
        label_weight=ensemble.method.label_weight,
        distillation_weight=ensemble.method.distillation_weight,
        sparsity=tuning.sparsity,
        clusters=tuning.clusters,
    )
    with tempfile.TemporaryDirectory() as folder:
        return export_students(
            [ensemble.students[number - 1] for number in numbers],
            f"{folder}/export",
            formats=_FORMATS.value,
            fine_tuning=fine_tuning,
            calibration_images=data.train_images(config.export.calibration_images, seed),
            test_images=images,
            test_labels=labels,
            max_accuracy_drop=dict.fromkeys(_FORMATS.value, 1.0),
            min_agreement=dict.fromkeys(_FORMATS.value, 0.0),
            progress=lambda line: print(f"seed {seed}: {line}", flush=True),
        )


def _rows(manifests):
    rows = []
    for index, student in enumerate(manifests[0]["students"]):
        for name in _FORMATS.value:
            facts = [manifest["students"][index]["formats"][name] for manifest in manifests]
            accuracies = [100 * fact["accuracy"] for fact in facts]
            drops = [100 * student["accuracy"] - accuracy for accuracy in accuracies]
            rows.append(
                {
                    "student": student["name"],
                    "format": name,
                    "accuracy %": f"{np.mean(accuracies):.2f} ± {np.std(accuracies):.2f}",
                    "below Keras, points": f"{np.mean(drops):+.2f}",
                    "kB": f"{facts[0]['bytes'] / 1e3:.1f}",
                    "gzip kB": f"{facts[0].get('gzip_bytes', 0) / 1e3:.1f}",
                    "sparsity": _mean(facts[0], "sparsity"),
                    "values a kernel": _mean(facts[0], "clusters"),
                }
            )
    return rows


def _mean(facts, what):
    values = facts.get("fine_tuning", {}).get(what)
    return f"{np.mean(list(values.values())):.2f}" if values else ""


if __name__ == "__main__":
    command_line.run(main)
