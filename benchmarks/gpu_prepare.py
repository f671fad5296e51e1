"""Prepares `benchmarks/gpu.py`, which runs where there is neither TensorFlow nor a network.

    python benchmarks/gpu_prepare.py --data_dir=/data

Writes two things into the folder .gpu, which git ignores: data.npz, a data set's JPEG files as they
are, and whl, wheels for CPython 3.12 on x86-64 of what Keras needs beside JAX. Both, and this
repository, are what must be carried to the other machine; the sizes are printed.
"""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from absl import app, flags

from oekd_tf.cli.parts import flags as command_line

_SOURCE = flags.DEFINE_string("source", "tiny_imagenet100", "Data set of TFDS, of JPEG files.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Data directory of TFDS.", required=True)
_OUTPUT = flags.DEFINE_string("output", ".gpu", "Folder to write.")
_EXAMPLES = flags.DEFINE_integer("examples", 0, "Images of each split; all with 0.")
_WHEELS = flags.DEFINE_boolean("wheels", True, "Whether to download the wheels.")

_PACKAGES = ("keras", "namex", "optree", "ml_collections", "msgspec")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def jpegs(builder, split: str) -> dict[str, np.ndarray]:
    """The files of a split in one array, where each ends, and the labels, from 0."""
    import tensorflow_datasets as tfds

    take = f"{split}[:{_EXAMPLES.value}]" if _EXAMPLES.value else split
    examples = builder.as_dataset(take, decoders={"image": tfds.decode.SkipDecoding()})
    files, labels = [], []
    for example in examples.as_numpy_iterator():
        files.append(example["image"])
        labels.append(example["label"])
    print(f"{split}: {len(files):,} images, {sum(map(len, files)) / 2**20:.1f} MiB")
    return {
        f"files_{split}": np.frombuffer(b"".join(files), np.uint8),
        f"ends_{split}": np.cumsum([len(file) for file in files]),
        f"y_{split}": np.array(labels),
    }


def main(argv: list[str]) -> None:
    del argv
    command_line.quiet_tensorflow()
    import tensorflow_datasets as tfds

    from oekd_tf.core.files import temporary_path

    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    builder = tfds.builder(_SOURCE.value, data_dir=_DATA_DIR.value)
    arrays = jpegs(builder, "train") | jpegs(builder, "test")
    # Where class 0 is a background without images.
    first = min(arrays["y_train"].min(), arrays["y_test"].min())
    arrays |= {name: arrays[name] - first for name in ("y_train", "y_test")}
    with temporary_path(output / "data.npz") as partial:
        # The headers of small JPEG files are alike, and shrink to a third.
        np.savez_compressed(partial, **arrays)
    if _WHEELS.value:
        platforms = [f"--platform={name}_x86_64" for name in _PLATFORMS]
        subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                "--only-binary=:all:", "--python-version=3.12", "--implementation=cp", *platforms,
                f"--dest={output / 'whl'}", *(f"{name}=={version(name)}" for name in _PACKAGES),
            ],
            check=True,
        )  # fmt: skip
    for path in sorted(output.rglob("*.*")):
        print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    app.run(main)
