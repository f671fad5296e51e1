"""Reading of TFDS data sets and the embedded data set."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.decoding import ImageDecoder
from oekd_tf.data.splits import MEMORY_LIMIT_BYTES, Split, StreamSplit, decoded
from oekd_tf.device.pictures import is_hidden

EMBEDDED = "fashion_mnist_mini"

# Bytes at the start and at the end of a shard that its fingerprint is made of.
_PART = 16 * 1024

# Examples at the start of a split whose labels are looked at.
_LOOKED_AT = 100

# Share of the free memory that an encoded split may take.
_ENCODED_SHARE = 0.25

# Of labels in 32 bits; -1 is TFDS's sign for no label.
_RANGE = (-1, 2**31 - 1)

# Number of consecutive examples of each shard when shards are interleaved.
_SHARD_BLOCK = 16


class TfdsSource(NamedTuple):
    """A prepared data set.

    Attributes:
        builder: The TFDS builder.
        image_key: Feature that holds the image.
        label_key: Feature that holds the label.
        decoder: Decoder of the images.
        all_names: Names of the data set's labels.
    """

    builder: Any
    image_key: str
    label_key: str
    decoder: ImageDecoder
    all_names: list[str]

    @property
    def name(self) -> str:
        return self.builder.name

    @property
    def class_names(self) -> list[str]:
        """Names of the classes: of all labels but those that a system's files became."""
        return [name for name in self.all_names if not is_hidden(name)]

    @property
    def notes(self) -> list[str]:
        """What a user should know of the data set, one line each."""
        left_out = [name for name in self.all_names if is_hidden(name)]
        return [f"no classes, and left out: {', '.join(left_out)}"] if left_out else []

    @property
    def splits(self) -> list[str]:
        return list(self.builder.info.splits)

    def read(self, split: str, cache: str = "auto") -> Split:
        """Opens a split; an example's index does not depend on the cache.

        Args:
            split: Name of the split in TFDS, for instance "train" or "train[:50%]".
            cache: "decoded" holds decoded images in memory, "encoded" holds encoded ones, "none"
                reads them in each epoch; "auto" chooses the first that fits, but never "decoded"
                for images that differ in size.

        Returns:
            The split.
        """
        total = self.size(split)
        source = self._stream(split, total)
        if cache == "auto":
            cache = self._cache_that_fits(split)
        if cache == "decoded":
            return decoded(source)
        return self._encoded(split, source) if cache == "encoded" else source

    def is_small(self, split: str) -> bool:
        """Whether all images have one size, and fit into memory decoded."""
        size = self.size(split) * int(np.prod(self.decoder.image_shape))
        # Random crops of images that differ in size use more than the center crop.
        return size <= MEMORY_LIMIT_BYTES and not self.decoder.varying

    def fingerprint(self, split: str) -> str:
        """A digest of the split's name and of its shards."""
        digest = hashlib.blake2b(split.encode(), digest_size=16)
        for shard in self.builder.info.splits[split].file_instructions:
            path = str(shard.filename)
            size = tf.io.gfile.stat(path).length
            digest.update(f"{Path(path).name} {size} {shard.skip} {shard.take}".encode())
            # Not Python's own files: shards may lie in a bucket.
            with tf.io.gfile.GFile(path, "rb") as file:
                digest.update(file.read(_PART))
                file.seek(max(0, size - _PART))
                digest.update(file.read())
        return digest.hexdigest()

    def is_labelled(self, split: str) -> bool:
        """Whether the split's first examples have labels: TFDS gives -1 where there is none."""
        first = self._stream(split, self.size(split)).ordered().take(_LOOKED_AT)
        labels = [int(label) for _, _, label in first.as_numpy_iterator()]
        return any(label >= 0 for label in labels)

    def labels_and_groups(self, split: str, key: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Labels and groups of a split, whose images are read but not decoded.

        Args:
            split: Name of the split.
            key: Feature that holds the group; "" for none.

        Returns:
            Class index and number of the group of each example, by index.

        Raises:
            ValueError: There is no such feature, or it is no scalar.
        """
        if key:
            self._check_group_key(key)
        pairs = self._in_order(split).map(
            lambda e: (e[self.label_key], e[key] if key else e[self.label_key])
        )
        labels, groups = [], []
        for some_labels, some_groups in pairs.batch(4096).as_numpy_iterator():
            labels.append(some_labels)
            groups.append(some_groups)
        found = np.unique(np.concatenate(groups), return_inverse=True)[1]
        indices = _as_indices(_fitting(np.concatenate(labels)), self._table())
        return indices.astype(np.int32), found

    def encoded(self, split: str) -> Iterator[tuple[bytes, int]]:
        """The encoded image and the label of each example, by index."""
        table = self._table()
        for example in self._in_order(split).as_numpy_iterator():
            yield example[self.image_key], int(_as_indices(example[self.label_key], table))

    def group_values(self, split: str, key: str) -> list[Any]:
        """The group of each example, by index; `key` as in `labels_and_groups`."""
        self._check_group_key(key)
        return [example[key] for example in self._in_order(split).as_numpy_iterator()]

    def rows(self, split: str, key: str) -> np.ndarray:
        """A feature of one number of values, such as logits, by index.

        Args:
            split: Name of the split.
            key: Name of the feature.

        Returns:
            (examples, values), float32.

        Raises:
            ValueError: There is no such feature.
        """
        features = self.builder.info.features
        there = sorted(k for k, f in features.items() if f.shape and len(f.shape) == 1)
        if key not in there:
            raise ValueError(
                "teacher_logits must name a feature that is a vector: "
                f"{', '.join(there) or 'there is none'}. Received: {key!r}"
            )
        batches = self._in_order(split).map(lambda e: e[key]).batch(4096)
        return np.concatenate([*batches.as_numpy_iterator()]).astype(np.float32)

    def files(self) -> None:
        """None: a prepared data set does not grow."""

    def size(self, split: str, argument: str = "split") -> int:
        """Number of examples of a split.

        Args:
            split: Name of the split, as in `read`.
            argument: Name of the split's argument, for errors.

        Raises:
            ValueError: There is no such split, or it is empty.
        """
        splits = self.builder.info.splits
        try:
            size = int(splits[split].num_examples)
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{argument} must be one of {', '.join(splits)}, or a slice of one, in "
                f"{self.builder.name}. Received: {split!r}"
            ) from error
        if size < 1:
            raise ValueError(
                f"{argument} must hold an example of {self.builder.name}. Received: {split!r}, "
                "which holds none"
            )
        return size

    def _cache_that_fits(self, split: str) -> str:
        if self.is_small(split):
            return "decoded"
        shards = self.builder.info.splits[split].file_instructions
        size = sum(
            Path(shard.filename).stat().st_size * _count(shard) / shard.examples_in_shard
            for shard in shards
        )
        return "encoded" if size <= _ENCODED_SHARE * psutil.virtual_memory().available else "none"

    def _check_group_key(self, key: str) -> None:
        features = self.builder.info.features
        scalars = sorted(k for k, f in features.items() if f.shape == () and k != self.label_key)
        if key not in scalars:
            raise ValueError(
                f"group_key must name a feature of one value: {', '.join(scalars) or 'none'}. "
                f"Received: {key!r}"
            )

    def _in_order(self, split: str) -> tf.data.Dataset:
        """The examples with their images encoded, by index."""
        info = self.builder.info
        if info.file_format.value != "tfrecord":
            return self._as_dataset(split)
        records = None
        for shard in info.splits[split].file_instructions:
            part = tf.data.TFRecordDataset(str(shard.filename)).skip(shard.skip)
            part = part.take(_count(shard))
            records = part if records is None else records.concatenate(part)
        assert records is not None, "A split has a shard"
        decoders = self._skip_decoding()
        return records.map(lambda r: info.features.deserialize_example(r, decoders=decoders))

    def _stream(self, split: str, total: int) -> StreamSplit:
        if self.builder.info.file_format.value != "tfrecord":
            # TFDS reads other formats by itself; its shards cannot be read one by one.
            return StreamSplit(lambda order, _: self._all(split), 1, total, self.decoder)
        shards = self.builder.info.splits[split].file_instructions
        names = tf.constant([str(shard.filename) for shard in shards])
        skips = tf.constant([shard.skip for shard in shards], tf.int64)
        takes, starts = _extents(shards)

        def read_shard(number: Tensor) -> tf.data.Dataset:
            records = tf.data.TFRecordDataset(names[number])
            records = records.skip(skips[number]).take(takes[number])
            return records.enumerate(starts[number])

        def read(order: Tensor, at_a_time: int) -> tf.data.Dataset:
            records = _in_turns(order, read_shard, at_a_time)
            return records.map(lambda index, record: (index, *self._parse(record)))

        return StreamSplit(read, len(shards), total, self.decoder)

    def _encoded(self, split: str, source: StreamSplit) -> StreamSplit:
        images = np.empty(source.total, object)
        labels = np.empty(source.total, np.int32)
        for indices, encoded, classes in source.ordered().batch(1024).as_numpy_iterator():
            images[indices] = encoded
            labels[indices] = classes
        images, labels = tf.constant(images), tf.constant(labels)
        takes, starts = tf.constant([source.total], tf.int64), tf.constant([0], tf.int64)
        if source.num_shards > 1:
            takes, starts = _extents(self.builder.info.splits[split].file_instructions)

        def read_shard(number: Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(starts[number], starts[number] + takes[number])

        def read(order: Tensor, at_a_time: int) -> tf.data.Dataset:
            indices = _in_turns(order, read_shard, at_a_time)
            return indices.map(lambda i: (i, tf.gather(images, i), tf.gather(labels, i)))

        held = "encoded, in memory"
        return StreamSplit(read, source.num_shards, source.total, self.decoder, held)

    def _parse(self, record: Tensor) -> tuple[Tensor, Tensor]:
        return self._image_and_label(
            self.builder.info.features.deserialize_example(record, decoders=self._skip_decoding())
        )

    def _all(self, split: str) -> tf.data.Dataset:
        numbered = self._as_dataset(split).enumerate()
        return numbered.map(lambda index, example: (index, *self._image_and_label(example)))

    def _as_dataset(self, split: str) -> tf.data.Dataset:
        return self.builder.as_dataset(
            split=split, shuffle_files=False, decoders=self._skip_decoding()
        )

    def _skip_decoding(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        return {self.image_key: tfds.decode.SkipDecoding()}

    def _image_and_label(self, example: dict) -> tuple[Tensor, Tensor]:
        label = tf.clip_by_value(tf.cast(example[self.label_key], tf.int64), *_RANGE)
        if (table := self._table()) is not None:
            known = tf.clip_by_value(label, -1, len(table) - 2)
            label = tf.where(known == label, tf.gather(table, known + 1), label)
        return example[self.image_key], tf.cast(label, tf.int32)

    def _table(self) -> np.ndarray | None:
        """Index of each label from -1 on; None where labels are indices already."""
        kept = np.array([not is_hidden(name) for name in self.all_names])
        if kept.all():
            return None
        return np.concatenate([[-1], np.where(kept, np.cumsum(kept) - 1, -1)])


def _as_indices(labels: np.ndarray, table: np.ndarray | None) -> np.ndarray:
    """The data set's labels as indices of classes; what stands for no class is -1."""
    if table is None:
        return labels
    known = np.clip(labels, -1, len(table) - 2)
    return np.where(known == labels, table[known + 1], labels)


def _fitting(labels: np.ndarray) -> np.ndarray:
    # A label that 32 bits do not hold stays one that is refused, not another class.
    return np.clip(labels, *_RANGE)


def _extents(shards: list) -> tuple[Tensor, Tensor]:
    """Number of examples of each shard, and the index of its first example."""
    takes = tf.constant([_count(shard) for shard in shards], tf.int64)
    return takes, tf.cumsum(takes, exclusive=True)


def _in_turns(
    order: Tensor, read_shard: Callable[[Tensor], tf.data.Dataset], at_a_time: int
) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(order).interleave(
        read_shard,
        cycle_length=at_a_time,
        block_length=_SHARD_BLOCK,
        num_parallel_calls=at_a_time,
        deterministic=True,
    )


def _count(shard: Any) -> int:
    return shard.take if shard.take >= 0 else shard.examples_in_shard - shard.skip


def open_tfds(
    name: str,
    data_dir: str | None = None,
    image_key: str = "auto",
    label_key: str = "auto",
    image_size: tuple[int, int] | None = None,
    download: bool = True,
    central_crop: float = 0.875,
) -> TfdsSource:
    """Opens a data set, and prepares it if need be.

    Args:
        name: TFDS name of the data set, or `EMBEDDED`.
        data_dir: TFDS data directory.
        image_key: Feature that holds the image; "auto" finds it.
        label_key: Feature that holds the label; "auto" finds it.
        image_size: (height, width) to resize images to; None keeps their size.
        download: Whether TFDS may download and prepare the data set.
        central_crop: Share of the center crop, for images that differ in size.

    Returns:
        The data set.

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
    if image_size is not None and not is_image_size(image_size):
        raise ValueError(
            f"image_size must be (height, width), both at least 1. Received: {image_size}"
        )
    if not 0 < central_crop <= 1:
        raise ValueError(f"central_crop must be above 0 and at most 1. Received: {central_crop}")
    height, width = image_size or shape[:2]
    image_shape = (int(height), int(width), int(shape[2] or 3))
    return TfdsSource(
        builder,
        image_key,
        label_key,
        ImageDecoder(image_shape, None in shape[:2], central_crop),
        list(features[label_key].names),
    )


def _builder(tfds: Any, name: str, data_dir: str | None, download: bool) -> Any:
    if name in (EMBEDDED, f"{EMBEDDED}:1.0.0") and data_dir is None:
        package = Path(__file__).parent.parent
        return tfds.builder_from_directory(package / "data" / "datasets" / EMBEDDED / "1.0.0")
    where = data_dir or "TFDS's data directory"
    failure = ""
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # Readers of TFDS raise many classes.
        if Path(name).is_dir():
            raise ValueError(
                "source must be 'image_folder' for a folder of pictures, and data_dir its path. "
                f"Received: {name!r}"
            ) from error
        raise ValueError(
            f"source must be known to TFDS, or be prepared in {where}: {_first_line(error)}. "
            f"Received: {name!r}"
        ) from error
    if not builder.is_prepared() and download:
        try:
            builder.download_and_prepare()
        except Exception as error:  # Errors of network, disk and data sets.
            failure = f", and could not be fetched: {_first_line(error)}"
    if not builder.is_prepared():
        option = f" --data_dir={data_dir}" if data_dir else ""
        raise ValueError(
            f"source must be prepared before it is read: run `tfds build {name}{option}`, or "
            f"allow the download. Received: {name!r}, which is not in {where}{failure}"
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


def is_image_size(size: Any) -> bool:
    return isinstance(size, Sequence) and len(size) == 2 and min(size) >= 1


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
