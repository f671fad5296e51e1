"""Loading of data sets by name, image folders and arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

from oekd_tf.core.choices import CACHES
from oekd_tf.data.arrays import check_arrays, check_no_empty_class
from oekd_tf.data.dataset import Data
from oekd_tf.data.holdout import hold_out
from oekd_tf.data.splits import ArraySplit, IndexedSplit, Split
from oekd_tf.data.tfds_source import open_tfds


def load(
    source: str | tuple | Mapping[str, tuple],
    *,
    data_dir: str | None = None,
    train_split: str = "train",
    test_split: str = "auto",
    image_key: str = "auto",
    label_key: str = "auto",
    image_size: tuple[int, int] | None = None,
    validation_fraction: float = 0.1,
    split_seed: int = 0,
    download: bool = True,
    max_examples: int | None = None,
    cache: str = "auto",
    central_crop: float = 0.875,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Data:
    """Opens a data set by name, a folder of images, or arrays.

    Args:
        source: A TFDS name ("cifar10", "svhn_cropped", "imagenet2012", ...); the embedded
            "fashion_mnist_mini"; "image_folder" for images at data_dir/<split>/<class>/<image>;
            or arrays: (images, labels), or {"train": (images, labels), "test": (images, labels)}.
        data_dir: TFDS data directory, or the image folder's root.
        train_split: TFDS split to train on.
        test_split: TFDS split to test on; "auto" is "test", or "validation" where "test" is
            missing or, as ImageNet's, without labels.
        image_key: Feature that holds the image; "auto" finds it.
        label_key: Feature that holds the label; "auto" finds it.
        image_size: (height, width) to resize images to; needed where their sizes vary.
        validation_fraction: Share of the training examples that is held out for validation,
            stratified by class if labels are in memory; 0 holds out none.
        split_seed: Random seed of that split and of the choice of `max_examples`; it differs from
            the training seed, so that runs of several seeds share both.
        download: Whether TFDS may download data sets.
        max_examples: Number of training examples to keep, for quick studies; all if None.
        cache: Storage of images between epochs: "decoded" in memory, "encoded" in memory, or
            "none", read from files in each epoch. "auto" decodes splits of images of one size up to
            2 GiB, and keeps others encoded if they fit into a quarter of the free memory.
        central_crop: Share of the center crop for evaluation, for images that differ in size; the
            usual value is 0.875.
        num_classes: Number of classes of arrays; the largest label + 1 if None.
        class_names: Names of the classes of arrays; numbers if None.

    Returns:
        The data set.

    Raises:
        ValueError: An argument breaks its rule, or the data do.

    Example:
        >>> data = oekd_tf.data.load("cifar10", validation_fraction=0.1)
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, data.image_shape, data.num_classes, mean=data.mean, std=data.std)
        >>> ensemble.fit(data.train(128, seed=0), validation_data=data.validation(128),
        ...              epochs=30, steps_per_epoch=data.steps_per_epoch(128))
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(
            f"validation_fraction must be at least 0 and below 1. Received: {validation_fraction}"
        )
    if max_examples is not None and max_examples < 1:
        raise ValueError(f"max_examples must be at least 1, or None. Received: {max_examples}")
    if cache not in CACHES:
        raise ValueError(f"cache must be one of {', '.join(CACHES)}. Received: {cache!r}")
    if isinstance(source, str):
        if num_classes is not None or class_names is not None:
            raise ValueError(
                f"num_classes and class_names are for arrays; {source} has its own. "
                f"Received: {num_classes} and {class_names}"
            )
        tfds_source = open_tfds(
            source, data_dir, image_key, label_key, image_size, download, central_crop
        )
        name, names = tfds_source.builder.name, tfds_source.class_names
        name = source if source == "image_folder" else name
        shape = tfds_source.decoder.image_shape
        tfds_source.size(train_split, "train_split")
        test_name = _test_name(tfds_source.builder, test_split)
        num_test = tfds_source.size(test_name, "test_split") if test_name else 0
        everything = tfds_source.read(train_split, cache)
        read_test = (lambda: tfds_source.read(test_name, cache)) if test_name else None
    else:
        name = "arrays"
        if image_size is not None:
            raise ValueError(
                f"image_size is for data sets by name; resize arrays beforehand. "
                f"Received: {image_size}"
            )
        everything, test, names = _array_splits(source, num_classes, class_names)
        shape = everything.arrays(1)[0].shape[1:]
        num_test, read_test = (test.size, lambda: test) if test else (0, None)
    train, validation = _split_off(everything, validation_fraction, split_seed, max_examples)
    if not train.size:
        raise ValueError(
            f"validation_fraction must leave an example to train on. Received: "
            f"{validation_fraction} of {everything.size}"
        )
    if isinstance(train, IndexedSplit):
        check_no_empty_class(train.labels, names)
    return Data(name, shape, names, train, validation, read_test, num_test)


def _test_name(builder: Any, split: str) -> str | None:
    if split != "auto":
        return split
    # ImageNet's test split has no labels.
    order = ("validation",) if builder.name.startswith("imagenet") else ("test", "validation")
    return next((name for name in order if name in builder.info.splits), None)


def _array_splits(
    source: Any, num_classes: int | None, class_names: Sequence[str] | None
) -> tuple[ArraySplit, ArraySplit | None, list[str]]:
    splits = source if isinstance(source, Mapping) else {"train": source}
    if "train" not in splits or set(splits) - {"train", "test"}:
        raise ValueError(
            "Arrays must be (images, labels), or a dict of them under 'train' and 'test'. "
            f"Received: {sorted(splits)}"
        )
    for key, value in splits.items():
        if not isinstance(value, Sequence) or len(value) != 2:
            raise ValueError(f"{key} must be (images, labels). Received: {type(value).__name__}")
    if class_names is not None:
        num_classes = len(class_names)
    images, labels = splits["train"]
    images, labels = check_arrays(images, labels, num_classes)
    if num_classes is None:
        num_classes = int(labels.max()) + 1
    names = list(class_names) if class_names is not None else [str(i) for i in range(num_classes)]
    if "test" not in splits:
        return ArraySplit(images, labels), None, names
    test_images, test_labels = splits["test"]
    test_images, test_labels = check_arrays(test_images, test_labels, num_classes)
    if test_images.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"Test images must have the training images' shape, {images.shape[1:]}. "
            f"Received: {test_images.shape[1:]}"
        )
    return ArraySplit(images, labels), ArraySplit(test_images, test_labels), names


def _split_off(
    everything: Split, fraction: float, seed: int, max_examples: int | None
) -> tuple[Split, Split | None]:
    labels = everything.labels if isinstance(everything, IndexedSplit) else None
    train, held_out = hold_out(everything.size, labels, fraction, seed, max_examples)
    validation = everything.select(held_out) if len(held_out) else None
    return everything.select(train), validation
