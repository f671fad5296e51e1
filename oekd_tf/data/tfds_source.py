"""Reads TFDS data sets, the embedded one and image folders, by feature name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from oekd_tf.data.splits import ArraySplit, Split, StreamSplit

EMBEDDED = "fashion_mnist_mini"
IMAGE_FOLDER = "image_folder"

# A decoded split up to this size is held in memory and shuffled as a whole.
MEMORY_LIMIT_BYTES = 2 * 2**30


class TfdsSource(NamedTuple):
    """A prepared data set and how to read it.

    Attributes:
        builder: The TFDS builder.
        image_key: Feature that holds the image.
        label_key: Feature that holds the label.
        image_shape: (height, width, channels) after resizing.
        class_names: One a class.
    """

    builder: Any
    image_key: str
    label_key: str
    image_shape: tuple[int, int, int]
    class_names: list[str]

    def read(self, split: str, in_memory: bool | str = "auto") -> Split:
        """The examples of a split.

        Args:
            split: Its name, as TFDS has it: "train", "train[:50%]".
            in_memory: Whether to hold it in memory; by its size if "auto".

        Returns:
            An `ArraySplit` or a `StreamSplit`.
        """
        total = self.size(split)
        examples = self._encoded(split)
        if in_memory == "auto":
            in_memory = total * int(np.prod(self.image_shape)) <= MEMORY_LIMIT_BYTES
        if not in_memory:
            return StreamSplit(examples, total, self._decode, self.image_shape)
        images = np.empty((total, *self.image_shape), np.uint8)
        labels = np.empty(total, np.int32)
        start = 0
        decoded = examples.map(lambda image, label: (self._decode(image), label), tf.data.AUTOTUNE)
        for image, label in decoded.batch(512).prefetch(2).as_numpy_iterator():
            images[start : start + len(label)] = image
            labels[start : start + len(label)] = label
            start += len(label)
        return ArraySplit(images, labels)

    def size(self, split: str) -> int:
        """The number of examples of a split.

        Raises:
            ValueError: There is no such split.
        """
        try:
            return int(self.builder.info.splits[split].num_examples)
        except (KeyError, ValueError) as error:
            names = ", ".join(self.builder.info.splits)
            raise ValueError(
                f"A split of {self.builder.name} must be one of {names}, or a slice of one. "
                f"Received: {split!r}"
            ) from error

    def _encoded(self, split: str) -> tf.data.Dataset:
        import tensorflow_datasets as tfds

        raw = self.builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={self.image_key: tfds.decode.SkipDecoding()},
        )
        return raw.map(
            lambda example: (example[self.image_key], tf.cast(example[self.label_key], tf.int32))
        )

    def _decode(self, encoded: tf.Tensor) -> tf.Tensor:
        image = self.builder.info.features[self.image_key].decode_example(encoded)
        if tuple(image.shape) != self.image_shape:
            resized = tf.image.resize(image, self.image_shape[:2], antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
        return tf.ensure_shape(image, self.image_shape)


def open_tfds(
    name: str,
    data_dir: str | None = None,
    image_key: str = "auto",
    label_key: str = "auto",
    image_size: tuple[int, int] | None = None,
    download: bool = True,
) -> TfdsSource:
    """Opens a data set; fetches it if that is wanted and needed.

    Args:
        name: A TFDS name, `EMBEDDED`, or `IMAGE_FOLDER`.
        data_dir: TFDS data directory; for `IMAGE_FOLDER` its root.
        image_key: Feature that holds the image; the only one there is if "auto".
        label_key: Feature that holds the label; the only one there is if "auto".
        image_size: (height, width) to resize to; as they are if None.
        download: Whether to let TFDS prepare what is not there.

    Returns:
        The source.

    Raises:
        ValueError: There is no such data set or feature, or image sizes vary and none is given.
    """
    import tensorflow_datasets as tfds

    builder = _builder(tfds, name, data_dir, download)
    features = builder.info.features
    image_key = _feature(features, tfds.features.Image, image_key, "image", name)
    label_key = _feature(features, tfds.features.ClassLabel, label_key, "label", name)
    shape = features[image_key].shape
    if image_size is None and None in shape[:2]:
        raise ValueError(
            f"image_size must be (height, width) for {name}, whose images differ in size. "
            "Received: None"
        )
    if image_size is not None and not _is_size(image_size):
        raise ValueError(
            f"image_size must be (height, width), both at least 1. Received: {image_size}"
        )
    height, width = image_size or shape[:2]
    return TfdsSource(
        builder,
        image_key,
        label_key,
        (int(height), int(width), int(shape[2] or 3)),
        list(features[label_key].names),
    )


def _builder(tfds: Any, name: str, data_dir: str | None, download: bool) -> Any:
    if name in (EMBEDDED, f"{EMBEDDED}:1.0.0") and data_dir is None:
        package = Path(__file__).parent.parent
        return tfds.builder_from_directory(package / "datasets" / EMBEDDED / "1.0.0")
    if name == IMAGE_FOLDER:
        root = Path(data_dir or "")
        if not data_dir or not any(root.glob("*/*/*")):
            raise ValueError(
                "data_dir must be a folder of images as <split>/<class>/<image>. "
                f"Received: {data_dir}"
            )
        return tfds.ImageFolder(str(root))
    where = data_dir or "TFDS's data directory"
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared() and download:
            builder.download_and_prepare()
    except Exception as error:  # TFDS raises what its many readers and the network raise.
        raise ValueError(
            f"A data set must be known to TFDS, or be prepared in {where}: {_first_line(error)}. "
            f"Received: {name!r}"
        ) from error
    if not builder.is_prepared():
        option = f" --data_dir={data_dir}" if data_dir else ""
        raise ValueError(
            f"A data set must be prepared before it is read: run `tfds build {name}{option}`, or "
            f"allow the download. Received: {name!r}, which is not in {where}"
        )
    return builder


def _feature(features: Any, kind: type, key: str, preferred: str, name: str) -> str:
    found = sorted(k for k, feature in features.items() if isinstance(feature, kind))
    if key == "auto":
        if len(found) == 1:
            return found[0]
        if preferred in found:
            return preferred
    elif key in found:
        return key
    raise ValueError(
        f"{preferred}_key must name one of the {kind.__name__} features of {name}: "
        f"{', '.join(found) or 'there are none'}. Received: {key!r}"
    )


def _is_size(size: Any) -> bool:
    return isinstance(size, Sequence) and len(size) == 2 and min(size) >= 1


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
