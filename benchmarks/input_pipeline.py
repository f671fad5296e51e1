"""Images a second from the input pipeline, and the share of a training step spent waiting for it.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --nosteps

For images of CIFAR's size (random pixels) and for JPEG files of 500×375 (smooth pictures with
noise, about 60 kB as ImageNet's are about 110 kB) that become 224×224. The share of waiting
compares training steps that draw from the pipeline with steps on a batch that is there already; the
two take turns in one process.
"""

import io
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from oekd_tf.cli.parts import flags as command_line

_PHOTOS = flags.DEFINE_integer("photos", 512, "JPEG files that are written for the measurement.")
_BATCHES = flags.DEFINE_integer("batches", 20, "Measured batches of each pipeline.")
_STEPS = flags.DEFINE_boolean("steps", True, "Measure training steps too.")

HEAVY = ("random_resized_crop", "flip", "color_jitter", "rand_augment")


def write_photos(folder: Path, count: int) -> None:
    """Writes an image folder: two classes of smooth pictures with noise, 375×500."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.BICUBIC), float)
        picture = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=85)
        path = folder / "train" / str(number % 2) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())


def images_per_second(batches, batch_size: int, count: int) -> float:
    """Throughput after two batches that fill the pipeline."""
    iterator = iter(batches)
    for _ in range(2):
        next(iterator)
    start = time.perf_counter()
    for _ in range(count):
        next(iterator)
    return count * batch_size / (time.perf_counter() - start)


def seconds_a_step(ensemble, batches, count: int) -> tuple[float, float]:
    """Median seconds of a step that draws from the pipeline, and of one on a batch at hand."""
    import tensorflow as tf

    drawn = iter(batches)
    fixed = iter(tf.data.Dataset.from_tensors(next(drawn)).repeat())
    ensemble.make_train_function()
    seconds = {id(drawn): [], id(fixed): []}
    for step in range(2 * count + 2):
        iterator = (drawn, fixed)[step % 2]
        start = time.perf_counter()
        float(ensemble.train_function(iterator)["loss"])
        if step >= 2:
            seconds[id(iterator)].append(time.perf_counter() - start)
    return float(np.median(seconds[id(drawn)])), float(np.median(seconds[id(fixed)]))


def main(argv: list[str]) -> None:
    del argv
    command_line.quiet_tensorflow()
    import oekd_tf
    from oekd_tf import config as config_module
    from oekd_tf import training
    from oekd_tf.core.tables import markdown_table

    training.set_runtime(config_module.default_config())
    rng = np.random.default_rng(0)
    small = oekd_tf.data.load(
        (rng.integers(0, 256, (20_000, 32, 32, 3), np.uint8), np.arange(20_000) % 10),
        validation_fraction=0.0,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), _PHOTOS.value)
        photos = oekd_tf.data.load(
            "image_folder",
            data_dir=folder,
            image_size=(224, 224),
            validation_fraction=0.0,
            cache="none",
        )
        pipelines = [
            ("32×32, in memory", small, 128, ("pad_crop", "flip"), {}),
            ("32×32, in memory", small, 128, ("pad_crop", "flip", "color_jitter"), {}),
            ("224×224 from JPEG", photos, 64, ("random_resized_crop", "flip"), {}),
            ("224×224 from JPEG", photos, 64, HEAVY, {"mixup": 0.2, "cutmix": 1.0}),
        ]
        rows = []
        for name, data, batch_size, augmentation, mixing in pipelines:
            batches = data.train(batch_size, seed=0, augmentation=augmentation, **mixing)
            speed = images_per_second(batches, batch_size, _BATCHES.value)
            what = ", ".join([*augmentation, *mixing])
            rows.append({"input": name, "augmentation": what, "images/s": f"{speed:,.0f}"})
        print(markdown_table(rows))
        if not _STEPS.value:
            return
        networks = [
            (oekd_tf.backbones.CifarResNet(20), *pipelines[0][1:]),
            (oekd_tf.backbones.MobileNetV2(), photos, 16, *pipelines[2][3:]),
            (oekd_tf.backbones.MobileNetV2(), photos, 16, *pipelines[3][3:]),
        ]
        rows = []
        for backbone, data, batch_size, augmentation, mixing in networks:
            ensemble = oekd_tf.OnlineEnsemble(backbone, data.image_shape, data.num_classes)
            ensemble.compile(oekd_tf.optimizers.Adam())
            batches = data.train(batch_size, seed=0, augmentation=augmentation, **mixing)
            drawn, fixed = seconds_a_step(ensemble, batches, count=4)
            rows.append(
                {
                    "five students of": type(backbone).__name__,
                    "input": f"{data.image_shape[0]}×{data.image_shape[1]}, batch {batch_size}",
                    "augmentation": ", ".join([*augmentation, *mixing]),
                    "step, ms": f"{1000 * drawn:.0f}",
                    "on a batch at hand, ms": f"{1000 * fixed:.0f}",
                    "waiting, %": f"{100 * max(0.0, 1 - fixed / drawn):.1f}",
                }
            )
        print(markdown_table(rows))


if __name__ == "__main__":
    app.run(main)
