"""The generated reference: nothing public is missing, and nothing else is used in the documents."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import oekd_tf
from oekd_tf import cli
from oekd_tf.config import FIELDS

ROOT = Path(__file__).parents[1]
# Its classes are found by their files.
_METHODS = ("oekd_tf.methods",)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_name_is_where_the_page_says(reference):
    found = reference.public_names()
    assert {name for name in oekd_tf.__all__ if name not in found} == {
        "OnlineEnsemble", "feature_extractor", "widths_for", "comparison",
    }  # fmt: skip
    for entries in found.values():
        assert entries
        for public, place in entries.items():
            assert resolve(public) is at(place), public


def test_methods_that_no_list_has_are_there(reference):
    names = reference.public_names()["methods"]
    assert names["oekd_tf.methods.OEKD"] == "oekd_tf.methods.oekd.OEKD"
    assert len(names) >= len(oekd_tf.methods.__all__) + len(oekd_tf.methods.names())


def test_pages_have_all_of_it(reference):
    pages = reference.pages()
    for entries in reference.public_names().values():
        for public, place in entries.items():
            (page,) = [text for text in pages.values() if f'heading: "{public}"' in text]
            assert f"::: {place}\n" in page
    for path, field in FIELDS.items():
        row = next(line for line in pages["config.md"].splitlines() if f"| `{path}` " in line)
        assert field.meaning in row.replace("\\|", "|")
    for name in cli.names():
        assert f"## oekd {name}\n" in pages["commands.md"]
    assert "--workdir: Folder of the run" in pages["commands.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_the_documents_are_public(reference, page):
    known = {name for entries in reference.public_names().values() for name in entries}
    known |= {f"oekd_tf.{name}" for name in oekd_tf.__all__}
    behind = {module for modules in reference._FURTHER.values() for module in modules}
    for name in sorted(set(re.findall(r"\boekd_tf(?:\.[A-Za-z_]\w*)+", page.read_text()))):
        if name.startswith("oekd_tf.cli") or any(name.startswith(module) for module in behind):
            assert resolve(name) is not None
            continue
        parts = name.split(".")
        inside = [".".join(parts[:length]) for length in range(2, len(parts) + 1)]
        public = [one for one in inside if one in known]
        assert public, f"{name} is in no page of the reference"
        assert resolve(name) is not None
        rest = parts[len(public[-1].split(".")) :]
        listed = getattr(resolve(public[-1]), "__all__", None)
        # Of a module that lists its names only those; of a class its attributes.
        assert not rest or listed is None or rest[0] in listed or public[-1] in _METHODS, name


def resolve(name):
    """The object of a dotted name."""
    parts = name.split(".")
    thing = oekd_tf
    for place, part in enumerate(parts[1:], start=2):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            thing = importlib.import_module(".".join(parts[:place]))
    return thing


def at(place):
    """What a module of the package defines, or the module."""
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError:
        module, _, name = place.rpartition(".")
        return getattr(importlib.import_module(module), name)
