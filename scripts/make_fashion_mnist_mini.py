"""Makes the embedded data set `fashion_mnist_mini` from Debian's `dataset-fashion-mnist`.

    apt-get install dataset-fashion-mnist
    python scripts/make_fashion_mnist_mini.py

6,000 training and 2,000 test images, balanced, drawn from the sets of the same name with a fixed
seed, as TFDS writes them. Running it again gives the same bytes.
"""

import gzip
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

SOURCE = Path("/usr/share/datasets/fashion-mnist")
TARGET = Path(__file__).parents[1] / "oekd_tf/data/datasets/fashion_mnist_mini/1.0.0"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PER_CLASS = {"train": ("train", 600), "test": ("t10k", 200)}


def read_idx(path: Path) -> np.ndarray:
    """An array in the IDX format of MNIST."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def examples(prefix: str, per_class: int) -> tf.data.Dataset:
    """Images of all classes alike, in random order."""
    rng = np.random.default_rng(0)
    images = read_idx(SOURCE / f"{prefix}-images-idx3-ubyte.gz")[..., None]
    labels = read_idx(SOURCE / f"{prefix}-labels-idx1-ubyte.gz")
    chosen = [rng.choice(np.flatnonzero(labels == c), per_class, False) for c in range(10)]
    order = rng.permutation(np.concatenate(chosen))
    arrays = {"image": images[order], "label": labels[order].astype(np.int64)}
    return tf.data.Dataset.from_tensor_slices(arrays)


def sort_features(path: Path) -> None:
    """Rewrites records with their features in order; TFDS's own order changes from run to run."""
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            example = tf.train.Example.FromString(record)
            writer.write(example.SerializeToString(deterministic=True))


def main() -> None:
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
    )
    with tempfile.TemporaryDirectory(dir=TARGET.parents[1]) as folder:
        builder = tfds.dataset_builders.store_as_tfds_dataset(
            name="fashion_mnist_mini",
            version="1.0.0",
            features=features,
            split_datasets={s: examples(*which) for s, which in PER_CLASS.items()},
            description="6,000 training and 2,000 test images of Fashion-MNIST, balanced.",
            homepage="https://github.com/zalandoresearch/fashion-mnist",
            data_dir=folder,
        )
        for path in Path(builder.data_dir).glob("*.tfrecord-*"):
            sort_features(path)
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.move(builder.data_dir, TARGET)
    size = sum(path.stat().st_size for path in TARGET.iterdir())
    print(f"{TARGET}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
