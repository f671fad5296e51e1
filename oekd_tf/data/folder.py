"""Image folders: which files they hold, of which class, and in which split."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.device.pictures import is_hidden, pictures_below

# Names of folders that are splits, by the name that they have here.
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
# The one listing of a folder whose classes are not below splits.
WHOLE = "all"


class Listing(NamedTuple):
    """The picture files of a split.

    Attributes:
        folder: The split's folder.
        names: Paths of the files below it, "<class>/..." with slashes.
        labels: Class index of each file, int32.
    """

    folder: Path
    names: list[str]
    labels: np.ndarray

    @property
    def paths(self) -> list[bytes]:
        """Paths of the files, as the file system stores them."""
        return [os.fsencode(self.folder / name) for name in self.names]


class ImageFolder(NamedTuple):
    """What an image folder holds.

    Attributes:
        root: The folder.
        class_names: Names of the classes.
        listings: Listings by split, named "train", "validation" and "test" or as their folders
            are; only `WHOLE` if classes stand directly below the root.
        left_out: Number of files of each extension that are no pictures that can be read.
        unused: Folders beside the splits that are none.
    """

    root: Path
    class_names: list[str]
    listings: dict[str, Listing]
    left_out: Counter[str]
    unused: list[str]

    def keep(self, names: Mapping[str, Sequence[str]]) -> "ImageFolder":
        """The folder as it was when its files were listed.

        Args:
            names: Names of the files that are kept, by split.

        Returns:
            The folder with these files only.

        Raises:
            ValueError: Some of them are not there any more.
        """
        kept = {}
        for split, wanted in names.items():
            nothing = Listing(self.root, [], np.zeros(0, np.int32))
            there = self.listings.get(split, self.listings.get(WHOLE, nothing))
            chosen = set(wanted)
            index = [i for i, name in enumerate(there.names) if name in chosen]
            if len(index) < len(chosen):
                gone = sorted(chosen.difference(there.names))
                raise ValueError(
                    f"data_dir must hold the pictures that the run was trained and tested on. "
                    f"Received: {self.root} without {len(gone)} of {len(chosen)} of {split}, "
                    f"such as {gone[0]}"
                )
            kept[split] = Listing(
                there.folder, [there.names[i] for i in index], there.labels[index]
            )
        return self._replace(listings=kept)


def split_name(name: str) -> str:
    """The name that a split has here: "val" and "valid" are "validation", and so on."""
    return next((split for split, names in _SPLIT_NAMES.items() if name.lower() in names), name)


def list_folder(
    root: str | Path,
    class_names: Sequence[str] | None = None,
    more_splits: Sequence[str] = (),
    problems: list[str] | None = None,
) -> ImageFolder:
    """Lists an image folder.

    Pictures are at <split>/<class>/... or, in a folder without splits, at <class>/..., at any
    depth. Hidden files and folders, and those of the system, are left out.

    Args:
        root: The folder.
        class_names: Names of the classes that must be there; those that are found if None.
        more_splits: Names of folders that are splits besides those that usually are.
        problems: List that takes what is wrong with the classes, in place of an error; None raises.

    Returns:
        What it holds.

    Raises:
        ValueError: It holds no pictures, or its classes are not clear.

    Example:
        >>> list_folder("photos").class_names
        ['cat', 'dog']
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(_rule(root, "no folder"))
    folders = _folders(root)
    names = {name: split_name(name) for name in folders}
    unused = []
    if "train" in names.values() or any(name in more_splits for name in names):
        splits: dict[str, Path] = {}
        for name, folder in folders.items():
            split = names[name]
            if split not in (*_SPLIT_NAMES, *more_splits):
                unused.append(name)
                continue
            if split in splits:
                raise ValueError(
                    f"data_dir must hold one folder a split. Received: {splits[split].name} and "
                    f"{name} in {root}"
                )
            splits[split] = folder
    else:
        splits = {WHOLE: root}
    order = [*_SPLIT_NAMES, *more_splits, WHOLE]
    splits = dict(sorted(splits.items(), key=lambda item: order.index(item[0])))
    left_out: Counter[str] = Counter()
    found: dict[str, dict[str, list[str]]] = {}
    for split, folder in splits.items():
        found[split] = {}
        for name, place in _folders(folder).items():
            _check_class_name(name, place)
            pictures, others = pictures_below(place)
            found[split][name] = [file.relative_to(folder).as_posix() for file in pictures]
            left_out += others
    if not any(files for classes in found.values() for files in classes.values()):
        raise ValueError(_rule(root, "without pictures"))
    there = sorted({name for classes in found.values() for name in classes})
    try:
        _refuse_two_spellings(there, splits)
    except ValueError as error:
        if problems is None:
            raise
        problems.append(str(error))
    if class_names is not None:
        if not set(class_names) <= set(there):
            raise ValueError(
                "data_dir must hold the classes that the run was trained on. Received: "
                f"{root}, {changes(class_names, there)}"
            )
        there = list(class_names)
    listings = {}
    for split, classes in found.items():
        files = [file for name in there for file in classes.get(name, ())]
        labels = [label for label, name in enumerate(there) for _ in classes.get(name, ())]
        listings[split] = Listing(splits[split], files, np.array(labels, np.int32))
    return ImageFolder(root, there, listings, left_out, unused)


def changes(before: Sequence[str], now: Sequence[str]) -> str:
    """How class names differ, in words.

    Example:
        >>> changes(["cat", "dog"], ["dog", "zebra"])
        'where cat is gone and zebra is new'
    """
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    parts = [f"{', '.join(gone[:5])} is gone"] if gone else []
    parts += [f"{', '.join(new[:5])} is new"] if new else []
    return f"where {' and '.join(parts)}" if parts else "where they have another order"


def group_numbers(names: Sequence[str], pattern: str) -> tuple[np.ndarray, int]:
    """The group of each file by its name.

    Args:
        names: Paths of the files, "<class>/...".
        pattern: Regular expression that is searched in the name, with the group's name in
            parentheses; or "folder", for the folder that a file is in.

    Returns:
        Number of each file's group, and how many files the pattern does not match: each of
        these is a group of its own.

    Raises:
        ValueError: It is no regular expression with parentheses, or matches no file.

    Example:
        >>> group_numbers(["stop/00001_00002.ppm", "stop/00001_00003.ppm"], r"(.*)_")[0]
        array([0, 0])
    """
    if pattern == "folder":
        pattern = r"^(.*)/"
    try:
        search = re.compile(pattern).search
        if not re.compile(pattern).groups:
            raise re.error("no parentheses")
    except re.error as error:
        raise ValueError(
            "group_key of an image folder must be 'folder' or a regular expression with the group "
            f"in parentheses. Received: {pattern!r}: {error}"
        ) from None
    matches = [search(name) for name in names]
    missed = sum(match is None for match in matches)
    if missed == len(names):
        raise ValueError(
            f"group_key must match names of files. Received: {pattern!r}, which matches none of "
            f"{len(names)}, such as {names[0] if names else 'none'}"
        )
    keys = [
        ("name", name) if match is None else ("group", *match.groups())
        for name, match in zip(names, matches, strict=True)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys]), missed


def content_groups(keys: Sequence[bytes], groups: np.ndarray | None = None) -> np.ndarray | None:
    """Groups in which files of the same content are together.

    Args:
        keys: Key of each file's content.
        groups: Number of each file's group, which stay together too; None if each is alone.

    Returns:
        Number of each file's group; `groups` if no two files are the same.

    Example:
        >>> content_groups([b"a", b"b", b"a"])
        array([0, 1, 0])
    """
    numbers = np.unique(np.array(keys), return_inverse=True)[1]
    if groups is None:
        return numbers if numbers.max(initial=-1) + 1 < len(keys) else None
    # A group takes in those that it shares a content with, and they what they share.
    leader = list(range(int(groups.max(initial=-1)) + 1))

    def lead(group: int) -> int:
        while leader[group] != group:
            leader[group] = leader[leader[group]]
            group = leader[group]
        return group

    first: dict[int, int] = {}
    for group, number in zip(groups.tolist(), numbers.tolist(), strict=True):
        leader[lead(group)] = lead(first.setdefault(number, group))
    return np.array([lead(group) for group in groups.tolist()])


def _folders(folder: Path) -> dict[str, Path]:
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not is_hidden(e.name))
    return {name: folder / name for name in names}


def _check_class_name(name: str, place: Path) -> None:
    unreadable = any(0xD800 <= ord(c) < 0xE000 for c in name)
    if unreadable or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise ValueError(
            f"Names of classes must be one line of UTF-8. Received: the folder {os.fspath(place)!a}"
        )


def _refuse_two_spellings(names: Sequence[str], splits: Mapping[str, Path]) -> None:
    spellings: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold().strip()
        if key in spellings:
            where = [
                f"{each!a} in {', '.join(s for s, f in splits.items() if (f / each).is_dir())}"
                for each in (spellings[key], name)
            ]
            raise ValueError(f"A class must have one name. Received: folders {' and '.join(where)}")
        spellings[key] = name


def _rule(root: Path, received: str) -> str:
    return (
        "data_dir must be a folder of images as <split>/<class>/<image> or <class>/<image>. "
        f"Received: {root}, {received}"
    )
