"""Time to an ensemble's first training step under JAX: on the clock, and the processor's.

    KERAS_BACKEND=jax python benchmarks/jax_start_up.py
    KERAS_BACKEND=jax JAX_COMPILATION_CACHE_DIR=/tmp/jax python benchmarks/jax_start_up.py

The first step holds its compilation, the second shows what a step is. With a folder of compiled
steps run it twice: the first time fills the folder.
"""

import time

import numpy as np
from absl import app, flags

_DEPTH = flags.DEFINE_integer("depth", 20, "Of the CIFAR ResNet.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images a step.")
_CLASSES = flags.DEFINE_integer("classes", 100, "Number of classes.")


def main(argv: list[str]) -> None:
    del argv
    last = [time.perf_counter(), time.process_time()]
    rows = []

    def lap(part: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        wall, work = (f"{b - a:.1f}" for a, b in zip(last, now, strict=True))
        rows.append({"part": part, "time, s": wall, "processor, s": work})
        last[:] = now

    import keras

    import oekd_tf
    from oekd_tf.core.tables import markdown_table

    if keras.backend.backend() != "jax":
        raise app.UsageError(f"KERAS_BACKEND must be jax. Received: {keras.backend.backend()}")
    lap("imports")
    size = (_IMAGE_SIZE.value, _IMAGE_SIZE.value, 3)
    ensemble = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(_DEPTH.value), size, _CLASSES.value
    )
    lap("network")
    ensemble.compile(oekd_tf.optimizers.Adam())
    lap("optimizer")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (_BATCH_SIZE.value, *size), dtype=np.uint8)
    labels = rng.integers(0, _CLASSES.value, _BATCH_SIZE.value)
    for part in ("first step", "second step"):
        ensemble.train_on_batch(images, labels)
        lap(part)
    print(markdown_table(rows))


if __name__ == "__main__":
    app.run(main)
