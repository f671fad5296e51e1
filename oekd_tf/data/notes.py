"""What a user should know of a data set's files, in words."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from oekd_tf.data.folder import ImageFolder, Listing, group_numbers, split_name
from oekd_tf.data.survey import FileFacts


def refuse_unreadable(folder: ImageFolder, facts: Mapping[str, Sequence[FileFacts]]) -> None:
    """Raises a ValueError that names a file that cannot be read."""
    bad = [
        (listing.folder / name, fact.problem)
        for split, listing in folder.listings.items()
        for name, fact in zip(listing.names, facts[split], strict=True)
        if fact.problem
    ]
    if bad:
        more = f", and {len(bad) - 1} more files" if len(bad) > 1 else ""
        path = str(bad[0][0]).encode(errors="backslashreplace").decode()
        raise ValueError(
            "data_dir must hold pictures that can be read; remove or replace what cannot (oekd "
            f"check-data lists all). Received: {path}: {bad[0][1]}{more}"
        )


def notes_of(
    folder: ImageFolder, facts: Mapping[str, Sequence[FileFacts]], group_key: str = ""
) -> list[str]:
    """What a user should know of a folder's files.

    Args:
        folder: The folder.
        facts: Facts of its files, by split.
        group_key: Groups that should stay in one split, as in `group_numbers`.

    Returns:
        One line each.
    """
    notes = []
    if folder.left_out:
        kinds = ", ".join(f"{count:,} {name}" for name, count in folder.left_out.most_common())
        notes.append(f"left out, not of a format that is read: {kinds}")
    if folder.unused:
        notes.append(f"folders that are no splits were left out: {', '.join(folder.unused)}")
    names = folder.class_names
    for split, listing in folder.listings.items():
        counts = np.bincount(listing.labels, minlength=len(names))
        empty = [names[index] for index in np.flatnonzero(counts == 0)]
        if split != "train" and empty:
            more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
            notes.append(f"{split} has no pictures of {', '.join(empty[:5])}{more}")
    notes += duplicate_notes(folder.listings, {s: [f.key for f in facts[s]] for s in facts})
    if group_key:
        notes += _straddling(folder, group_key)
    return notes


def duplicate_notes(
    listings: Mapping[str, Listing], keys: Mapping[str, Sequence[bytes]]
) -> list[str]:
    """Lines about pictures of the same content in several splits or classes."""
    places: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for split in listings:
        for index, key in enumerate(keys[split]):
            places[key].append((split, index))
    shared: dict[tuple[str, str], list[str]] = defaultdict(list)
    two_labels = []
    for found in places.values():
        if len(found) == 1:
            continue
        named = [shown(listings[split], split, index) for split, index in found]
        splits = list(dict.fromkeys(split for split, _ in found))
        for other in splits[1:]:
            pair = next(name for name, (split, _) in zip(named, found, strict=True)
                        if split == other)  # fmt: skip
            shared[splits[0], other].append(f"{named[0]} and {pair}")
        labels = {int(listings[split].labels[index]) for split, index in found}
        if len(labels) > 1:
            two_labels.append(" and ".join(named[:3]))
    names = {split: split_title(listing, split) for split, listing in listings.items()}
    notes = [
        f"{_stand(pairs)} in both {names[one]} and {names[other]}, such as {pairs[0]}"
        for (one, other), pairs in shared.items()
    ]
    if two_labels:
        notes.append(f"{_stand(two_labels)} in several classes, such as {two_labels[0]}")
    return notes


def split_title(listing: Listing, split: str) -> str:
    """What a user calls a split: its folder, or its name where it has none of its own."""
    own = split_name(listing.folder.name) == split
    return listing.folder.name if own else split


def shown(listing: Listing, split: str, index: int) -> str:
    """Path of a file below the data's folder."""
    own = split_name(listing.folder.name) == split
    return f"{listing.folder.name}/{listing.names[index]}" if own else listing.names[index]


def _stand(found: Sequence[str]) -> str:
    return f"{len(found):,} pictures stand" if len(found) > 1 else "1 picture stands"


def _straddling(folder: ImageFolder, group_key: str) -> list[str]:
    """Lines about groups that are in several splits."""
    splits = list(folder.listings)
    names = [name for split in splits for name in folder.listings[split].names]
    where = [split for split in splits for _ in folder.listings[split].names]
    numbers, missed = group_numbers(names, group_key)
    notes = []
    if missed:
        notes.append(
            f"group_key does not match {missed:,} of {len(names):,} names; each is a group alone"
        )
    seen: dict[int, set[str]] = defaultdict(set)
    for number, split in zip(numbers.tolist(), where, strict=True):
        seen[number].add(split)
    torn = Counter(" and ".join(sorted(found)) for found in seen.values() if len(found) > 1)
    notes += [
        f"{count:,} group{'s are' if count > 1 else ' is'} in {where}"
        for where, count in torn.items()
    ]
    return notes
