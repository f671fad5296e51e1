"""Compares one training step of the ensemble with the steps of its students trained alone.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --depth=8 --image_size=28 --batch_size=64
    python benchmarks/step_time.py --channel_multiples=1,4,8

Everything is measured in one process on one batch of random images: steps of the ensemble and of
each student alone take turns, so that what else the machine does falls on both alike, and the
fastest step of each is compared, since it can only add time. Beside the time stands the processor
time of all cores: the work itself, which a virtual machine that loses a core for a while does not
change. The optimizer is the default config's. Time to the first step runs from
before the network is built to the end of its first step; importing TensorFlow is not in it. With
several multiples of channels, students of all take turns with one another.
"""

import resource
import time

import numpy as np
from absl import app, flags

from oekd_tf.cli.parts import flags as command_line

_DEPTH = flags.DEFINE_integer("depth", 20, "Of the CIFAR ResNet.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images a step.")
_CLASSES = flags.DEFINE_integer("classes", 10, "Number of classes.")
_MULTIPLES = flags.DEFINE_list("channel_multiples", ["1"], "Of the ResNet's channels.")
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Measured steps of each network.")


def stepper(model, dataset):
    """A function that runs one training step as `fit` does: its seconds, and the processor's."""
    model.make_train_function()
    iterator = iter(dataset)

    def step() -> tuple[float, float]:
        start, processor_start = time.perf_counter(), time.process_time()
        # Reading a metric waits for the step to end.
        float(model.train_function(iterator)["loss"])
        return time.perf_counter() - start, time.process_time() - processor_start

    return step


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
    from oekd_tf.models.tensorflow.strided_convolution import subsample_first

    training.set_runtime(config_module.default_config())
    # Several networks in one process look like one that is traced again and again.
    tf.get_logger().setLevel("ERROR")
    rng = np.random.default_rng(0)
    size = (_BATCH_SIZE.value, _IMAGE_SIZE.value, _IMAGE_SIZE.value, 3)
    images = rng.integers(0, 256, size, dtype=np.uint8)
    labels = rng.integers(0, _CLASSES.value, _BATCH_SIZE.value)
    dataset = tf.data.Dataset.from_tensors((images, labels)).repeat()

    everything = {}
    for multiple in map(int, _MULTIPLES.value):
        start = time.perf_counter()
        family = oekd_tf.backbones.CifarResNet(_DEPTH.value, channel_multiple=multiple)
        ensemble = oekd_tf.OnlineEnsemble(family, size[1:], _CLASSES.value)
        ensemble.compile(oekd_tf.optimizers.Adam())
        together = stepper(ensemble, dataset)
        together()
        first_step = time.perf_counter() - start
        for _ in range(2):
            together()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        # A copy each: a student that is trained alone must not share its stem with the others.
        steppers = [together]
        for student in ensemble.students:
            copy = keras.models.clone_model(student)
            # As the training binary trains a baseline.
            fuse_batch_norm(copy)
            subsample_first(copy)
            copy.compile(
                oekd_tf.optimizers.Adam(),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                jit_compile=False,
            )
            steppers.append(stepper(copy, dataset))
            for _ in range(2):
                steppers[-1]()
        everything[multiple] = (steppers, first_step, peak)

    taken = {multiple: [[] for _ in found[0]] for multiple, found in everything.items()}
    for _ in range(_ROUNDS.value):
        for place in range(len(ensemble.students) + 1):
            for multiple, (steppers, *_) in everything.items():
                taken[multiple][place].append(steppers[place]())
    for multiple, (_, first_step, peak) in everything.items():
        # Fastest step and least processor time, each by itself.
        one, *each = [[min(v) for v in zip(*times, strict=True)] for times in taken[multiple]]
        total = [sum(values) for values in zip(*each, strict=True)]
        names = [f"student {number} alone" for number in range(1, len(each) + 1)]
        rows = [
            {
                "network": name,
                "step, ms": f"{1000 * wall:.0f}",
                "processor, ms": f"{1000 * work:.0f}",
            }
            for name, (wall, work) in zip(
                ["ensemble", *names, "sum of the students alone"], [one, *each, total], strict=True
            )
        ]
        print(f"\nchannels in multiples of {multiple}\n")
        print(markdown_table(rows))
        print(f"ratio of ensemble to sum: {one[0] / total[0]:.3f} of time, ", end="")
        print(f"{one[1] / total[1]:.3f} of processor time")
        print(f"time to the ensemble's first step: {first_step:.1f} s")
        print(f"peak memory of the process by then: {peak:,.0f} MiB")


if __name__ == "__main__":
    app.run(main)
