"""Loading of data sets by name, image folders and arrays."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from oekd_tf.core.choices import CACHES
from oekd_tf.core.labels import count_classes
from oekd_tf.data.arrays import array_fingerprint, check_arrays, check_labels, check_no_empty_class
from oekd_tf.data.dataset import Data
from oekd_tf.data.folder import split_name
from oekd_tf.data.folder_source import FolderSource, open_folder
from oekd_tf.data.holdout import hold_out
from oekd_tf.data.long_tail import thinned
from oekd_tf.data.recorded import Recorded
from oekd_tf.data.splits import ArraySplit, IndexedSplit, Split
from oekd_tf.data.tfds_source import TfdsSource, is_image_size, open_tfds

IMAGE_FOLDER = "image_folder"

# Largest test split whose labels are read before training.
_LABELS_READ = 20_000


class _Tail(NamedTuple):
    """How many training examples each class keeps, as of `thinned`."""

    imbalance: float = 1.0
    per_class: int | None = None


def load(
    source: str | tuple | Mapping[str, tuple],
    *,
    data_dir: str | None = None,
    train_split: str = "train",
    validation_split: str = "auto",
    test_split: str = "auto",
    image_key: str = "auto",
    label_key: str = "auto",
    image_size: tuple[int, int] | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    group_key: str = "",
    download: bool = True,
    max_examples: int | None = None,
    examples_per_class: int | None = None,
    imbalance: float = 1.0,
    cache: str = "auto",
    central_crop: float = 0.875,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    groups: Sequence[Any] | None = None,
    recorded: Recorded | None = None,
    log: Callable[[str], None] | None = None,
) -> Data:
    """Opens a data set by name, a folder of images, or arrays.

    Args:
        source: A TFDS name ("cifar10", "svhn_cropped", "imagenet2012", ...); the embedded
            "fashion_mnist_mini"; "image_folder" for images at data_dir/<split>/<class>/...
            or, without splits, data_dir/<class>/..., at any depth;
            or arrays: (images, labels), or {"train": (images, labels), "test": (images, labels)}.
        data_dir: TFDS data directory, or the image folder's root.
        train_split: Split to train on, in TFDS also a slice of one.
        validation_split: Split to validate on; "auto" is the data set's own "validation" (in
            folders also "val" or "valid") where it is not tested on, and else "hold_out", which
            holds out a part of the training examples.
        test_split: Split to test on; "auto" is "test", or "validation" where "test" is missing or
            without labels.
        image_key: Feature that holds the image; "auto" finds it.
        label_key: Feature that holds the label; "auto" finds it.
        image_size: (height, width) to resize images to; needed where their sizes vary.
        validation_fraction: Share of the training examples that is held out for validation,
            stratified by class if labels are in memory; 0 holds out none.
        test_fraction: Share of an image folder without splits that becomes its test split,
            stratified by class.
        split_seed: Random seed of these splits and of the choice of `max_examples`; it differs
            from the training seed, so that runs of several seeds share them.
        group_key: What keeps examples together in one split where a part is held out, such as the
            frames of one track or the pictures of one patient: a feature of a TFDS data set; of an
            image folder "folder", or a regular expression that is searched in
            "<class>/<path below>", with the group in parentheses. "" for none.
        download: Whether TFDS may download data sets.
        max_examples: Number of training examples to keep, for quick studies; all if None.
        examples_per_class: Most training examples of a class to keep, of these; all if None.
        imbalance: How many times as many training examples the first class keeps as the last, with
            an exponential profile between them; 1 keeps all.
        cache: Storage of images between epochs: "decoded" in memory, "encoded" in memory, or
            "none", read from files in each epoch. "auto" decodes splits of images of one size up to
            2 GiB, and keeps others encoded if they fit into a quarter of the free memory.
        central_crop: Share of the center crop for evaluation, for images that differ in size; the
            usual value is 0.875.
        num_classes: Number of classes of arrays; the largest label + 1 if None.
        class_names: Names of the classes of arrays; numbers if None.
        groups: Group of each training example of arrays, as `group_key` is for others.
        recorded: What a run has recorded of its data; the data set is then opened as it was when
            the run began. A run gives it.
        log: Called before something that takes long.

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
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction must be at least 0 and below 1. Received: {test_fraction}")
    if isinstance(source, str):
        if num_classes is not None or class_names is not None or groups is not None:
            raise ValueError(
                f"num_classes, class_names and groups are for arrays; {source} has its own. "
                f"Received: {num_classes}, {class_names} and {groups}"
            )
        opened = _opened(
            source, data_dir, image_key, label_key, image_size, download, central_crop,
            (train_split, validation_split, test_split), test_fraction, split_seed, group_key,
            recorded, log,
        )  # fmt: skip
        return _from_source(
            opened, train_split, validation_split, test_split, validation_fraction, split_seed,
            group_key, max_examples, _Tail(imbalance, examples_per_class), cache,
        )  # fmt: skip
    if image_size is not None:
        raise ValueError(
            f"image_size is for data sets by name; resize arrays beforehand. Received: {image_size}"
        )
    if group_key:
        raise ValueError(
            f"group_key is for data sets by name; arrays have groups. Received: {group_key!r}"
        )
    everything, test, names = _array_splits(source, num_classes, class_names)
    if groups is not None and len(groups) != everything.size:
        raise ValueError(
            f"groups must be one value a training example, {everything.size}. "
            f"Received: {len(groups)}"
        )
    numbers = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    train, validation = _split_off(
        everything, validation_fraction, split_seed, max_examples,
        _Tail(imbalance, examples_per_class), everything.labels, numbers,
    )  # fmt: skip
    check_no_empty_class(train.labels, names)
    return Data(
        "arrays",
        everything.arrays(1)[0].shape[1:],
        names,
        train,
        validation,
        (lambda: test) if test else None,
        test.size if test else 0,
        fingerprints={
            name: functools.partial(_fingerprint_of, split)
            for name, split in (("train", train), ("validation", validation), ("test", test))
            if split is not None
        },
    )


def _opened(
    source: str,
    data_dir: str | None,
    image_key: str,
    label_key: str,
    image_size: tuple[int, int] | None,
    download: bool,
    central_crop: float,
    splits: tuple[str, ...],
    test_fraction: float,
    split_seed: int,
    group_key: str,
    recorded: Recorded | None,
    log: Callable[[str], None] | None,
) -> TfdsSource | FolderSource:
    if image_size is not None and not is_image_size(image_size):
        raise ValueError(
            f"image_size must be (height, width), both at least 1. Received: {image_size}"
        )
    if not 0 < central_crop <= 1:
        raise ValueError(f"central_crop must be above 0 and at most 1. Received: {central_crop}")
    if source != IMAGE_FOLDER:
        return open_tfds(source, data_dir, image_key, label_key, image_size, download, central_crop)
    if not data_dir:
        raise ValueError(
            "data_dir must be a folder of images as <split>/<class>/<image> or <class>/<image>. "
            f"Received: {data_dir}"
        )
    return open_folder(
        data_dir,
        image_size,
        central_crop,
        class_names=recorded.class_names if recorded else None,
        files=recorded.files if recorded else None,
        more_splits=[split_name(name) for name in splits if name not in ("auto", "hold_out")],
        test_fraction=test_fraction,
        split_seed=split_seed,
        group_key=group_key,
        log=log,
    )


def _from_source(
    source: TfdsSource | FolderSource,
    train_split: str,
    validation_split: str,
    test_split: str,
    validation_fraction: float,
    split_seed: int,
    group_key: str,
    max_examples: int | None,
    tail: _Tail,
    cache: str,
) -> Data:
    if isinstance(source, FolderSource):
        train_split, validation_split, test_split = map(
            split_name, (train_split, validation_split, test_split)
        )
    source.size(train_split, "train_split")
    test_name = _test_name(source, test_split)
    num_test = source.size(test_name) if test_name else 0
    own = _validation_name(source, validation_split, test_name)
    everything = source.read(train_split, cache)
    labels = everything.labels if isinstance(everything, IndexedSplit) else None
    groups = None
    if group_key or isinstance(source, FolderSource):
        labels, groups = source.labels_and_groups(train_split, group_key)
    train, validation = _split_off(
        everything, 0.0 if own else validation_fraction, split_seed, max_examples, tail, labels,
        groups,
        groups_needed=bool(group_key),
    )  # fmt: skip
    if isinstance(train, IndexedSplit):
        check_labels(train.labels, source.class_names, train_split)
        check_no_empty_class(train.labels, source.class_names)
    if own:
        validation = source.read(own, cache)
        if isinstance(validation, IndexedSplit):
            check_labels(validation.labels, source.class_names, own)
    if test_name and num_test <= _LABELS_READ and isinstance(source, TfdsSource):
        check_labels(source.labels_and_groups(test_name)[0], source.class_names, test_name)
    whole = functools.cache(source.fingerprint)
    fingerprints = {"train": lambda: _part(whole(train_split), everything, train)}
    if own:
        fingerprints["validation"] = lambda: whole(own)
    elif validation is not None:
        held_out = validation
        fingerprints["validation"] = lambda: _part(whole(train_split), everything, held_out)
    if test_name:
        fingerprints["test"] = lambda: whole(test_name)
    return Data(
        source.name,
        source.decoder.image_shape,
        source.class_names,
        train,
        validation,
        (lambda: source.read(test_name, cache)) if test_name else None,
        num_test,
        preparation=source.decoder.preparation(),
        fingerprints=fingerprints,
        all_for_statistics=source.is_small(train_split),
        files=source.files(),
        notes=getattr(source, "notes", ()),
        find_damaged=getattr(source, "find_damaged", None),
        read_rows=(
            functools.partial(source.rows, train_split) if isinstance(source, TfdsSource) else None
        ),
    )


def _test_name(source: Any, split: str) -> str | None:
    if split != "auto":
        source.size(split, "test_split")
        if not source.is_labelled(split):
            raise ValueError(
                f"test_split must have labels. Received: {split!r} of {source.name}, which has none"
            )
        return split
    # ImageNet's test split has no labels.
    order = ("validation",) if source.name.startswith("imagenet") else ("test", "validation")
    there = (name for name in order if name in source.splits and source.size(name))
    return next((name for name in there if source.is_labelled(name)), None)


def _validation_name(source: Any, split: str, test_name: str | None) -> str | None:
    """The data set's own split to validate on; None for one that is held out."""
    if split == "hold_out":
        return None
    if split != "auto":
        source.size(split, "validation_split")
        return split
    known = "validation" in source.splits and test_name != "validation"
    return "validation" if known and source.is_labelled("validation") else None


def _part(whole: str, everything: Split, part: Split) -> str:
    """The fingerprint of a part of a split."""
    if part.size == everything.total:
        return whole
    return hashlib.blake2b(whole.encode() + part.indices.tobytes(), digest_size=16).hexdigest()


def _fingerprint_of(split: Any) -> str:
    return array_fingerprint(*split.arrays())


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
        num_classes = count_classes(labels)
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
    everything: Split,
    fraction: float,
    seed: int,
    max_examples: int | None,
    tail: _Tail,
    labels: np.ndarray | None,
    groups: np.ndarray | None,
    groups_needed: bool = True,
) -> tuple[Any, Split | None]:
    train, held_out = hold_out(
        everything.size, labels, fraction, seed, max_examples, groups, groups_needed
    )
    if not len(train):
        raise ValueError(
            f"validation_fraction must leave an example to train on. Received: "
            f"{fraction} of {everything.size}"
        )
    if tail != _Tail():
        if labels is None:
            raise ValueError(
                "imbalance and examples_per_class must be left out for images "
                f"{everything.held}: they need cache='decoded', or an image folder. "
                f"Received: {tail.imbalance} and {tail.per_class}"
            )
        train = thinned(train, labels, tail.imbalance, tail.per_class)
    validation = everything.select(held_out) if len(held_out) else None
    return everything.select(train), validation
