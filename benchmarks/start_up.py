"""Where the time to an ensemble's first training step goes, beside that of its students alone.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --family=DenseNet --arguments='{"depth": 100}' --batch_size=16

For the ensemble, then for a copy of each student alone: building the network and its optimizer,
tracing the training step, and what is left of the first call (TensorFlow's own graph work and one
step). Everything is measured in one process after a small network has paid for what a process pays
once. Importing TensorFlow is not in it.
"""

import json
import time

import numpy as np
from absl import app, flags

from oekd_tf.cli.parts import flags as command_line

_FAMILY = flags.DEFINE_string("family", "CifarResNet", "Class in oekd_tf.backbones.")
_ARGUMENTS = flags.DEFINE_string("arguments", '{"depth": 110}', "The class's, as JSON.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images a step.")
_CLASSES = flags.DEFINE_integer("classes", 100, "Number of classes.")
_ALONE = flags.DEFINE_boolean("alone", True, "Measure each student alone too.")


def first_step(build, dataset) -> dict[str, float]:
    """Builds a network, runs one training step as `fit` does, and says what took how long."""
    start = time.perf_counter()
    model = build()
    built = time.perf_counter()
    traced = []
    train_step = model.train_step

    def timed_train_step(*arguments):
        begin = time.perf_counter()
        logs = train_step(*arguments)
        traced.append(time.perf_counter() - begin)
        return logs

    # Python runs a training step only when it is traced.
    model.train_step = timed_train_step
    model.make_train_function()
    iterator = iter(dataset)
    # Reading a metric waits for the step to end.
    float(model.train_function(iterator)["loss"])
    first = time.perf_counter()
    float(model.train_function(iterator)["loss"])
    again = time.perf_counter()
    return {
        "build": built - start,
        "trace": sum(traced),
        "rest of the first step": first - built - sum(traced),
        "to the first step": first - start,
        "second step": again - first,
    }


def main(argv: list[str]) -> None:
    del argv
    command_line.quiet_tensorflow()
    import keras
    import tensorflow as tf

    import oekd_tf
    from oekd_tf import config as config_module
    from oekd_tf import training
    from oekd_tf.core.tables import markdown_table
    from oekd_tf.models.tensorflow.fused_batch_norm import fuse_batch_norm

    training.set_runtime(config_module.default_config())
    # Several networks in one process look like one that is traced again and again.
    tf.get_logger().setLevel("ERROR")

    def ensemble(backbone, image_size):
        model = oekd_tf.OnlineEnsemble(backbone, (image_size, image_size, 3), _CLASSES.value)
        model.compile(oekd_tf.optimizers.Adam())
        return model

    def alone(student):
        # A copy: a student that is trained alone must not share its stem with the others.
        copy = keras.models.clone_model(student)
        fuse_batch_norm(copy)
        copy.compile(
            oekd_tf.optimizers.Adam(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
        )
        copy.optimizer.build(copy.trainable_variables)
        return copy

    def batches(image_size):
        size = (_BATCH_SIZE.value, image_size, image_size, 3)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, size, dtype=np.uint8)
        labels = rng.integers(0, _CLASSES.value, _BATCH_SIZE.value)
        return tf.data.Dataset.from_tensors((images, labels)).repeat()

    first_step(lambda: ensemble(oekd_tf.backbones.CifarResNet(8), 8), batches(8))

    family = getattr(oekd_tf.backbones, _FAMILY.value)
    backbone = family(**json.loads(_ARGUMENTS.value))
    dataset = batches(_IMAGE_SIZE.value)
    students = []

    def build():
        model = ensemble(backbone, _IMAGE_SIZE.value)
        students.extend(model.students)
        return model

    rows = {"ensemble": first_step(build, dataset)}
    if _ALONE.value:
        each = [first_step(lambda s=s: alone(s), dataset) for s in students]
        rows |= {f"student {number} alone": row for number, row in enumerate(each, start=1)}
        rows["sum of the students alone"] = {key: sum(row[key] for row in each) for key in each[0]}
    table = [
        {"network": name, **{f"{key}, s": f"{seconds:.1f}" for key, seconds in row.items()}}
        for name, row in rows.items()
    ]
    print(f"{len(students)} students of {backbone}, batch {_BATCH_SIZE.value}")
    print(markdown_table(table))
    if _ALONE.value:
        ratio = rows["ensemble"]["trace"] / rows["sum of the students alone"]["trace"]
        print(f"trace: {ratio:.2f} times the sum of the students alone")


if __name__ == "__main__":
    app.run(main)
