"""Compares a training step of each method with one that learns from labels alone.

    python benchmarks/method_cost.py
    python benchmarks/method_cost.py --depth=8 --method=oekd --method=pcl:views=1

All ensembles stand in one process and take turns on a batch of random images, so that what else
the machine does falls on all alike; the fastest step of each is compared, since it can only add
time. Methods with a view for each student get one for each, as in a run; what the augmentation of
the views costs is not in the step. The offline teacher is a student 1 that is not trained.
"""

import numpy as np
from absl import app, flags
from step_time import stepper

from oekd_tf.cli.parts import flags as command_line

_METHODS = flags.DEFINE_multi_string("method", [], "Methods by name; all where none is given.")
_FEATURES = flags.DEFINE_multi_string("features", [], "Features to compare with labels, too.")


def main(argv: list[str]) -> None:
    del argv
    command_line.quiet_tensorflow()
    import keras
    import tensorflow as tf

    import oekd_tf
    from oekd_tf import config as config_module
    from oekd_tf import training
    from oekd_tf.core.tables import markdown_table

    training.set_runtime(config_module.default_config())
    tf.get_logger().setLevel("ERROR")
    values = flags.FLAGS
    shape = (values.image_size, values.image_size, 3)
    backbone = oekd_tf.backbones.CifarResNet(values.depth)
    names = list(dict.fromkeys(["labels", *(_METHODS.value or oekd_tf.methods.names())]))
    named = {name: (name, {}) for name in names}
    for features in _FEATURES.value:
        arguments = {"features": features, "distillation_weight": 0.0, "label_weight": 1.0}
        named[f"oekd, features={features}"] = ("oekd", arguments)
    steps, parameters = {}, {}
    rng = np.random.default_rng(0)
    for label, (name, arguments) in named.items():
        keras.utils.set_random_seed(0)
        if name == "offline":
            teacher = oekd_tf.OnlineEnsemble(backbone, shape, values.classes, (1.0,))
            arguments["teacher"] = teacher
        method = oekd_tf.methods.get(name, **arguments)
        ensemble = oekd_tf.OnlineEnsemble(backbone, shape, values.classes, method=method)
        ensemble.compile(oekd_tf.optimizers.Adam(1e-3, l2=1e-5))
        ensemble.plan(steps_per_epoch=1000, epochs=10)
        views = (len(ensemble.students),) if method.views == "students" else ()
        size = (values.batch_size, *views, *shape)
        images = tf.constant(rng.integers(0, 256, size, dtype=np.uint8))
        labels = tf.constant(rng.integers(0, values.classes, values.batch_size))
        dataset = tf.data.Dataset.from_tensors((images, labels)).repeat()
        steps[label] = stepper(ensemble, dataset)
        parameters[label] = sum(int(np.prod(v.shape)) for v in method.trainable_variables)
        steps[label]()
        print(f"{label}: ready", flush=True)
    times = {label: [] for label in named}
    for round_ in range(values.rounds):
        for label, step in steps.items():
            times[label].append(step()[0])
        print(f"round {round_ + 1} of {values.rounds}", flush=True)
    fastest = {label: min(found) for label, found in times.items()}
    rows = [
        {
            "method": label,
            "ms a step": f"{1000 * fastest[label]:.1f}",
            "ratio to labels": f"{fastest[label] / fastest['labels']:.2f}",
            "parameters added": f"{parameters[label]:,}",
        }
        for label in named
    ]
    print(markdown_table(rows))


if __name__ == "__main__":
    app.run(main)
