"""Image folders as a source of splits: what is in them is looked at before it is read."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from oekd_tf.core.errors import one_line
from oekd_tf.data.decoding import ImageDecoder
from oekd_tf.data.folder import (
    WHOLE,
    ImageFolder,
    Listing,
    content_groups,
    group_numbers,
    list_folder,
)
from oekd_tf.data.holdout import hold_out
from oekd_tf.data.notes import notes_of, refuse_unreadable
from oekd_tf.data.splits import MEMORY_LIMIT_BYTES, FileSplit, Split, decoded
from oekd_tf.data.survey import FileFacts, fingerprint, survey


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """An image folder whose files were looked at.

    Attributes:
        folder: What the folder holds.
        decoder: Decoder of the images.
        facts: Facts of each file, by split.
        notes: What a user should know of the files, in lines.
    """

    folder: ImageFolder
    decoder: ImageDecoder
    facts: dict[str, list[FileFacts]]
    notes: list[str]

    name = "image_folder"

    @property
    def class_names(self) -> list[str]:
        return self.folder.class_names

    @property
    def splits(self) -> list[str]:
        return list(self.folder.listings)

    def size(self, split: str, argument: str = "split") -> int:
        """Number of pictures of a split.

        Args:
            split: Name of the split.
            argument: Name of the split's argument, for errors.

        Raises:
            ValueError: There is no such split, or it is empty.
        """
        if split not in self.splits:
            raise ValueError(
                f"{argument} must be one of {', '.join(self.splits)}, in {self.folder.root}. "
                f"Received: {split!r}"
            )
        size = len(self.folder.listings[split].names)
        if not size:
            raise ValueError(
                f"{argument} must hold a picture. Received: {split!r} of {self.folder.root}, "
                "which holds none"
            )
        return size

    def read(self, split: str, cache: str = "auto") -> Split:
        """Opens a split; an example's index does not depend on the cache.

        Args:
            split: Name of the split.
            cache: "decoded" holds decoded images in memory; "auto" does so if they all have the
                size that they are resized to, up to 2 GiB; otherwise they are read in each epoch.
        """
        listing = self.folder.listings[split]
        files = FileSplit(np.array(listing.paths), listing.labels, self.decoder)
        if cache == "decoded" or (cache == "auto" and self.is_small(split)):
            return decoded(files)
        return files

    def is_small(self, split: str) -> bool:
        """Whether all images have the size of inputs, and fit into memory decoded."""
        target = self.decoder.image_shape[1::-1]
        same = all((facts.width, facts.height) == target for facts in self.facts[split])
        size = len(self.facts[split]) * int(np.prod(self.decoder.image_shape))
        return same and size <= MEMORY_LIMIT_BYTES

    def fingerprint(self, split: str) -> str:
        """A digest of the split's names, labels and contents."""
        listing = self.folder.listings[split]
        return fingerprint(listing.names, listing.labels, [f.key for f in self.facts[split]])

    def is_labelled(self, split: str) -> bool:
        """Whether the split has labels: those of a folder are its classes."""
        del split
        return True

    def labels_and_groups(self, split: str, key: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Class index and number of the group of each example, by index.

        Files of the same content are in one group, whatever the key; None if there are neither.
        """
        listing = self.folder.listings[split]
        return listing.labels, _groups(listing, self.facts[split], key)

    def files(self) -> dict[str, list[str]]:
        """Names of the files of each split, to open the folder as it is now later."""
        return {split: list(listing.names) for split, listing in self.folder.listings.items()}

    def find_damaged(self) -> str | None:
        """The first file that cannot be decoded and why, for a pipeline that failed."""
        for listing in self.folder.listings.values():
            found = survey(listing.paths, thorough=True)
            for name, facts in zip(listing.names, found, strict=True):
                if facts.problem:
                    return f"{listing.folder / name}: {facts.problem}"
        # What Pillow reads TensorFlow may refuse.
        for listing in self.folder.listings.values():
            for name, path in zip(listing.names, listing.paths, strict=True):
                try:
                    self.decoder.whole(tf.io.read_file(path))
                except tf.errors.OpError as error:
                    return f"{listing.folder / name}: {one_line(error.message)}"
        return None


def open_folder(
    root: str | Path,
    image_size: tuple[int, int] | None,
    central_crop: float = 0.875,
    *,
    class_names: Sequence[str] | None = None,
    files: Mapping[str, Sequence[str]] | None = None,
    more_splits: Sequence[str] = (),
    test_fraction: float = 0.1,
    split_seed: int = 0,
    group_key: str = "",
    log: Callable[[str], None] | None = None,
) -> FolderSource:
    """Opens an image folder, and looks at all its files.

    Args:
        root: The folder.
        image_size: (height, width) to resize images to; None if all have one size.
        central_crop: Share of the center crop, for images that differ in size.
        class_names: Names of the classes that must be there; those that are found if None.
        files: Names of the files to use, by split, from `FolderSource.files`; all if None.
        more_splits: Names of folders that are splits besides those that usually are.
        test_fraction: Share of a folder without splits that becomes its test split.
        split_seed: Random seed of that.
        group_key: Groups that stay in one split, as in `group_numbers`; "" for none.
        log: Called before many files are looked at.

    Returns:
        The source.

    Raises:
        ValueError: The folder, a file or an argument breaks its rule.
    """
    folder = list_folder(root, class_names, more_splits)
    if files is not None:
        folder = folder.keep(files)
    total = sum(len(listing.names) for listing in folder.listings.values())
    if log is not None and total > 10_000:
        log(f"looking at {total:,} pictures ...")
    facts = {split: survey(listing.paths) for split, listing in folder.listings.items()}
    refuse_unreadable(folder, facts)
    if files is None and WHOLE in folder.listings:
        folder, facts = _split(folder, facts[WHOLE], test_fraction, split_seed, group_key)
    if image_size is None:
        image_size = _one_size(folder, facts)
    decoder = ImageDecoder((int(image_size[0]), int(image_size[1]), 3), True, central_crop)
    return FolderSource(folder, decoder, facts, notes_of(folder, facts, group_key))


def _groups(listing: Listing, facts: Sequence[FileFacts], key: str) -> np.ndarray | None:
    groups = group_numbers(listing.names, key)[0] if key else None
    return content_groups([fact.key for fact in facts], groups)


def _split(
    folder: ImageFolder, facts: Sequence[FileFacts], fraction: float, seed: int, group_key: str
) -> tuple[ImageFolder, dict[str, list[FileFacts]]]:
    """Splits a folder without splits into training and test."""
    whole = folder.listings[WHOLE]
    train, test = hold_out(
        len(whole.names),
        whole.labels,
        fraction,
        # Not the seed itself: validation is held out by that.
        seed + 2**32,
        groups=_groups(whole, facts, group_key),
        groups_needed=bool(group_key),
    )
    parts = {"train": np.sort(train), "test": np.sort(test)}
    parts = {name: indices for name, indices in parts.items() if len(indices)}
    listings = {
        name: Listing(whole.folder, [whole.names[i] for i in indices], whole.labels[indices])
        for name, indices in parts.items()
    }
    split_facts = {name: [facts[i] for i in indices] for name, indices in parts.items()}
    return folder._replace(listings=listings), split_facts


def _one_size(folder: ImageFolder, facts: Mapping[str, Sequence[FileFacts]]) -> tuple[int, int]:
    sizes = Counter((fact.height, fact.width) for each in facts.values() for fact in each)
    if len(sizes) != 1:
        (common, count), *_ = sizes.most_common()
        raise ValueError(
            f"image_size must be (height, width) for {folder.root}, whose images differ in size. "
            f"Received: None, with {len(sizes)} sizes, {count:,} pictures of {common}"
        )
    return next(iter(sizes))
