"""Compares one training step of the ensemble with the steps of its students trained alone.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --depth=8 --image_size=28 --batch_size=64
    python benchmarks/step_time.py --channel_multiples=1,4,8

Everything is measured in one process on one batch of random images: steps of the ensemble and of
each student alone take turns, so that what else the machine does falls on both alike, and the
fastest step of each is compared, since it can only add time. Beside the time stands the processor
time of all cores: the work itself, which a virtual machine that loses a core for a while does not
change. The optimizer is the default config's. With several multiples of channels, students of all
take turns with one another.

The share of peak compares the floating-point operations a second of a step, three times those of
the forward pass (`oekd_tf.models.size.count_flops`: convolutions and dense layers), with those of a
product of two large float32 matrices on the same threads, which takes its turns too. Operations
that are not counted, normalisation, activations, losses and the optimizer, take time all the same.
Time to the first step runs from before the network is built to the end of its first step; importing
TensorFlow is not in it.
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
_PRODUCT = flags.DEFINE_integer("product_size", 2048, "Rows and columns of the matrices.")
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


def training_flops(students, images: int) -> int:
    """Operations of a training step: forward, and twice that for both gradients."""
    from oekd_tf.models.size import count_flops

    return 3 * count_flops(*students) * images


def product(size: int):
    """A function that multiplies two matrices: its seconds, and the processor's."""
    import tensorflow as tf

    a, b = (tf.random.stateless_normal((size, size), (0, seed)) for seed in (0, 1))
    multiply = tf.function(tf.linalg.matmul)

    def step() -> tuple[float, float]:
        start, processor_start = time.perf_counter(), time.process_time()
        # Reading a number waits for the product to end.
        float(multiply(a, b)[0, 0])
        return time.perf_counter() - start, time.process_time() - processor_start

    return step


def shares_of_peak(flops: int, step, peak_flops: int, peak) -> tuple[float, float]:
    """The share of peak that a step reaches, of time and of processor time.

    Args:
        flops: Operations of the step.
        step: Its seconds, and the processor's.
        peak_flops: Operations of the product.
        peak: Its seconds, and the processor's.

    Returns:
        Two shares of 1.
    """
    wall, work = (flops / peak_flops * own / s for own, s in zip(peak, step, strict=True))
    return wall, work


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
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

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
        own = [training_flops([student], _BATCH_SIZE.value) for student in ensemble.students]
        flops = [training_flops(ensemble.students, _BATCH_SIZE.value), *own, sum(own)]
        everything[multiple] = (steppers, flops, first_step, memory)

    multiply = product(_PRODUCT.value)
    for _ in range(2):
        multiply()
    products = []
    taken = {multiple: [[] for _ in found[0]] for multiple, found in everything.items()}
    for _ in range(_ROUNDS.value):
        products += [multiply() for _ in range(3)]
        for place in range(len(ensemble.students) + 1):
            for multiple, (steppers, *_) in everything.items():
                taken[multiple][place].append(steppers[place]())
    # Fastest product and step, and least processor time, each by itself.
    peak = [min(values) for values in zip(*products, strict=True)]
    peak_flops = 2 * _PRODUCT.value**3
    for multiple, (_, flops, first_step, memory) in everything.items():
        one, *each = [[min(v) for v in zip(*times, strict=True)] for times in taken[multiple]]
        total = [sum(values) for values in zip(*each, strict=True)]
        names = [f"student {number} alone" for number in range(1, len(each) + 1)]
        rows = []
        for name, own, (wall, work) in zip(
            ["ensemble", *names, "sum of the students alone"],
            flops,
            [one, *each, total],
            strict=True,
        ):
            shares = shares_of_peak(own, (wall, work), peak_flops, peak)
            rows.append(
                {
                    "network": name,
                    "step, ms": f"{1000 * wall:.0f}",
                    "processor, ms": f"{1000 * work:.0f}",
                    "GFLOP": f"{own / 1e9:.1f}",
                    "of peak, %": f"{100 * shares[0]:.0f}",
                    "of peak by processor, %": f"{100 * shares[1]:.0f}",
                }
            )
        print(f"\nchannels in multiples of {multiple}\n")
        print(markdown_table(rows))
        print(f"ratio of ensemble to sum: {one[0] / total[0]:.3f} of time, ", end="")
        print(f"{one[1] / total[1]:.3f} of processor time")
        print(f"time to the ensemble's first step: {first_step:.1f} s")
        print(f"peak memory of the process by then: {memory:,.0f} MiB")
    rates = [peak_flops / seconds / 1e9 for seconds in peak]
    print(f"peak: {rates[0]:.0f} GFLOP/s, {rates[1]:.0f} a second of the processor")


if __name__ == "__main__":
    app.run(main)
