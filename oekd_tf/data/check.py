"""A look at a data set before training: a report, a table of classes, and pictures to look at."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.files import as_output, foreign_content, replaced
from oekd_tf.core.json_files import read_json
from oekd_tf.core.records import DataReport
from oekd_tf.core.tables import markdown_table
from oekd_tf.core.text import in_markdown
from oekd_tf.data import check_pictures
from oekd_tf.data.folder import WHOLE, Listing, group_numbers, list_folder
from oekd_tf.data.notes import duplicate_notes, notes_of
from oekd_tf.data.survey import FileFacts, survey
from oekd_tf.device.picture_headers import read_header
from oekd_tf.device.pictures import decode

FILE_NAME = "data_check.json"
NO_TEST = (
    "there is no test split: add a folder test or val, or put the classes directly below the "
    "folder, to have them split"
)

# Pictures of each class on the contact sheet, and classes on it at most.
_EXAMPLES = 8
_CLASSES_SHOWN = 60

# Pictures that brightness is measured on.
_BRIGHTNESS = 2000


@dataclasses.dataclass
class DataCheck:
    """What was found in a data set.

    Attributes:
        name: The folder or the name of the data set.
        class_names: Names of the classes.
        counts: Number of pictures of each class, by split.
        formats: Number of pictures of each format.
        sizes: Number of pictures of each (width, height).
        unreadable: Files that cannot be read, each with the reason.
        problems: What training refuses, one line each.
        notes: What a user should know, one line each.
        brightness: Mean grey level of a sample of the pictures, from 0 to 255.
        examples: For some classes a few upright pictures, for the contact sheet.
    """

    name: str
    class_names: list[str]
    counts: dict[str, list[int]]
    formats: Counter[str]
    sizes: Counter[tuple[int, int]]
    unreadable: list[str]
    problems: list[str]
    notes: list[str]
    brightness: list[float]
    examples: dict[str, list[np.ndarray]]

    def text(self) -> str:
        """The report as Markdown."""
        splits = list(self.counts)
        rows = [
            {"class": name, **{split: f"{self.counts[split][i]:,}" for split in splits}}
            for i, name in enumerate(self.class_names)
        ]
        rows.append({"class": "all", **{split: f"{sum(self.counts[split]):,}" for split in splits}})
        lines = [f"# {in_markdown(self.name)}", "", markdown_table(rows), ""]
        formats = ", ".join(
            f"{count:,} {in_markdown(name)}" for name, count in self.formats.most_common()
        )
        lines += [f"Formats: {formats}.", "", _sizes_in_words(self.sizes), ""]
        for title, found in (
            ("Training refuses this", self.problems),
            ("Files that cannot be read", self.unreadable),
            ("To know", self.notes),
        ):
            if found:
                shown = [f"- {in_markdown(line)}" for line in found[:20]]
                more = [f"- and {len(found) - 20:,} more"] if len(found) > 20 else []
                lines += [f"## {title}", "", *shown, *more, ""]
        lines += ["![examples of classes](examples.png)", "", "![brightness and size](spread.png)"]
        return "\n".join(lines) + "\n"


def check_data(
    data_dir: str | Path,
    source: str = "image_folder",
    output: str | Path | None = None,
    *,
    group_key: str = "",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Looks at all pictures of a data set, as training does before it starts, and further.

    Every picture is decoded. What training would refuse is listed rather than raised.

    Args:
        data_dir: The image folder, or the TFDS data directory.
        source: "image_folder", or the TFDS name of a prepared data set.
        output: Folder to write `report.md`, `examples.png`, `spread.png` and `data_check.json` to,
            atomically; None writes nothing.
        group_key: Groups that should stay in one split, as in `oekd_tf.data.load`.
        overwrite: Whether to replace an `output` of an earlier check.
        progress: Called with the number of pictures that were looked at, and of all.

    Returns:
        What was found.

    Raises:
        ValueError: There is no such data set, or its classes are not clear, or `output` exists.

    Example:
        >>> found = oekd_tf.data.check_data("photos", output="photos_check")
        >>> found.problems
        []
    """
    if output is not None:
        output = as_output(output)
        _refuse_output(output, Path(data_dir), overwrite)
    looked = _folder if source == "image_folder" else _tfds
    found = looked(str(data_dir), source, group_key, progress or (lambda done, total: None))
    if output is not None:
        _write(found, as_output(output), overwrite)
    return found


def _folder(
    data_dir: str, source: str, group_key: str, progress: Callable[[int, int], None]
) -> DataCheck:
    del source
    problems: list[str] = []
    folder = list_folder(data_dir, problems=problems)
    total = sum(len(listing.names) for listing in folder.listings.values())
    facts: dict[str, list[FileFacts]] = {}
    before = 0
    for split, listing in folder.listings.items():
        seen = before

        def tell(done: int, seen: int = seen) -> None:
            progress(seen + done, total)

        facts[split] = survey(listing.paths, thorough=True, progress=tell)
        before += len(listing.names)

    def read(split: str, index: int) -> bytes:
        return Path(folder.listings[split].folder, folder.listings[split].names[index]).read_bytes()

    unreadable = [
        f"{split if split != WHOLE else ''}/{name}: {fact.problem}".removeprefix("/")
        for split, listing in folder.listings.items()
        for name, fact in zip(listing.names, facts[split], strict=True)
        if fact.problem
    ]
    unreadable = [line.encode(errors="backslashreplace").decode() for line in unreadable]
    notes = notes_of(folder, facts, group_key)
    if group_key:
        names = [name for listing in folder.listings.values() for name in listing.names]
        sizes = np.bincount(group_numbers(names, group_key)[0])
        notes.insert(
            0,
            f"group_key gives {len(sizes):,} groups of {sizes.min():,} to {sizes.max():,} pictures",
        )
    if not {"test", "validation", WHOLE} & set(folder.listings):
        problems.append(NO_TEST)
    found = _found(data_dir, folder.class_names, folder.listings, facts, read, unreadable, notes)
    found.problems[:0] = problems
    return found


def _tfds(
    data_dir: str, source: str, group_key: str, progress: Callable[[int, int], None]
) -> DataCheck:
    from oekd_tf.data.tfds_source import open_tfds

    opened = open_tfds(source, data_dir or None, image_size=(32, 32), download=False)
    listings, facts, kept, unreadable = {}, {}, {}, []
    total, done = sum(opened.size(split) for split in opened.splits), 0
    for split in opened.splits:
        labels, found = [], []
        size = opened.size(split)
        for index, (encoded, label) in enumerate(opened.encoded(split)):
            header = read_header(encoded)
            key = hashlib.blake2b(encoded, digest_size=16).digest()
            problem = ""
            try:
                decode(encoded, 3)
            except ValueError as error:
                problem = str(error)
                unreadable.append(f"{split}, example {index}: {problem}")
            found.append(FileFacts(len(encoded), header.format, *header.size, key, problem))
            labels.append(label)
            if split == opened.splits[0] or index % max(1, size // _BRIGHTNESS) == 0:
                kept[split, index] = encoded
            if index % 500 == 0:
                progress(done + index, total)
        done += size
        names = [f"{split}/example {index}" for index in range(size)]
        listings[split] = Listing(Path(), names, np.array(labels, np.int32))
        facts[split] = found
    progress(total, total)
    notes = [
        *opened.notes, *duplicate_notes(listings, {s: [f.key for f in facts[s]] for s in facts}),
    ]  # fmt: skip
    if group_key:
        numbers = {s: set(opened.group_values(s, group_key)) for s in opened.splits}
        first, *others = opened.splits
        notes += [
            f"{len(numbers[first] & numbers[other]):,} groups are in both {first} and {other}"
            for other in others
            if numbers[first] & numbers[other]
        ]
    return _found(
        source, opened.class_names, listings, facts, lambda s, i: kept[s, i], unreadable, notes,
        lambda s, i: (s, i) in kept,
    )  # fmt: skip


def _found(
    name: str,
    class_names: list[str],
    listings: Mapping[str, Listing],
    facts: Mapping[str, Sequence[FileFacts]],
    read: Callable[[str, int], bytes],
    unreadable: list[str],
    notes: list[str],
    is_there: Callable[[str, int], bool] = lambda split, index: True,
) -> DataCheck:
    number = len(class_names)
    counts, problems = {}, []
    for split, listing in listings.items():
        inside = (listing.labels >= 0) & (listing.labels < number)
        counts[split] = np.bincount(listing.labels[inside], minlength=number).tolist()
        if not inside.all():
            problems.append(f"{split} has {(~inside).sum():,} labels that stand for no class")
    trained = "train" if "train" in listings else next(iter(listings))
    empty = [class_names[i] for i, count in enumerate(counts[trained]) if not count]
    if empty:
        problems.append(f"no training pictures of {', '.join(empty[:20])}")
    if unreadable:
        problems.append(f"{len(unreadable):,} files cannot be read")
    readable = [fact for each in facts.values() for fact in each if not fact.problem]
    listing = listings[trained]
    examples: dict[str, list[np.ndarray]] = {}
    for label in range(min(number, _CLASSES_SHOWN)):
        members = np.flatnonzero(listing.labels == label).tolist()
        good = [i for i in members if not facts[trained][i].problem and is_there(trained, i)]
        examples[class_names[label]] = [
            decode(read(trained, index), 3) for index in _spread(good, _EXAMPLES)
        ]
    places = [
        (split, index)
        for split, each in facts.items()
        for index, fact in enumerate(each)
        if not fact.problem and is_there(split, index)
    ]
    sample = _spread(places, _BRIGHTNESS)
    brightness = [float(decode(read(*place), 1).mean()) for place in sample]
    return DataCheck(
        name,
        list(class_names),
        counts,
        Counter(fact.format for fact in readable),
        Counter((fact.width, fact.height) for fact in readable),
        unreadable,
        problems,
        notes,
        brightness,
        examples,
    )


def _spread(values: list, count: int) -> list:
    """At most so many of the values, evenly from the first to the last."""
    if len(values) <= count:
        return values
    return [values[round(place)] for place in np.linspace(0, len(values) - 1, count)]


def _sizes_in_words(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return "Sizes: none."
    (width, height), count = sizes.most_common(1)[0]
    if len(sizes) == 1:
        return f"Sizes: all {width}×{height} pixels."
    sides = [np.repeat([size[axis] for size in sizes], list(sizes.values())) for axis in (0, 1)]
    (w0, w1, w2), (h0, h1, h2) = (
        (int(side.min()), int(np.median(side)), int(side.max())) for side in sides
    )
    return (
        f"Sizes: {len(sizes):,}; width {w0} to {w2} pixels, median {w1}; height {h0} to {h2}, "
        f"median {h1}; most often {width}×{height} ({count:,} pictures)."
    )


def _refuse_output(output: Path, data_dir: Path, overwrite: bool) -> None:
    if find_spec("matplotlib") is None:
        raise ValueError(
            "A report needs Matplotlib for its pictures: pip install 'oekd-tf[train]'. "
            "Received: an environment without it"
        )
    if output.resolve().is_relative_to(data_dir.resolve()):
        raise ValueError(
            "--output must not be within the data, which its pictures would become part of. "
            f"Received: {output}"
        )
    if output.exists() and not overwrite:
        raise ValueError(
            f"--output must be a folder that is not there yet, or --overwrite given. "
            f"Received: {output}, which exists"
        )
    if output.exists() and (found := foreign_content(output, _known_files)):
        raise ValueError(
            "Only a folder of an earlier check that holds nothing else can be replaced. "
            f"Received: {output}, {found}"
        )


def _known_files(folder: Path) -> set[str] | None:
    try:
        read_json(folder / FILE_NAME, DataReport, "the report of a check")
    except (OSError, ValueError):
        return None
    return {FILE_NAME, "report.md", "examples.png", "spread.png"}


def _write(found: DataCheck, output: Path, overwrite: bool) -> None:
    facts: dict[str, Any] = {
        field.name: getattr(found, field.name)
        for field in dataclasses.fields(found)
        if field.name not in ("examples", "brightness", "sizes")
    }
    facts["sizes"] = [[width, height, count] for (width, height), count in found.sizes.items()]
    with replaced(output, overwrite, _known_files) as folder:
        (folder / "report.md").write_text(found.text(), encoding="utf-8")
        (folder / FILE_NAME).write_text(json.dumps(facts, indent=2) + "\n")
        check_pictures.draw_examples(found.examples, folder / "examples.png")
        check_pictures.draw_spread(found.brightness, found.sizes, folder / "spread.png")
