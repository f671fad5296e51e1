"""Error texts on the page of errors are those of the package."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ERRORS = re.findall(r"^\*\*`(.+?)`\*\*", PAGE, re.MULTILINE)


def texts():
    """All strings of the package, one after the other in a file, with … for what is filled in."""
    found = []
    for path in (ROOT / "oekd_tf").rglob("*.py"):
        inside = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                inside.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                inside.append(node.value)
        found.append("\n".join(inside))
    return found


FILES = texts()


def test_there_are_some_thirty():
    assert len(ERRORS) >= 30
    assert len(set(ERRORS)) == len(ERRORS)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error[:40])
def test_a_file_of_the_package_says_so(error):
    parts = [part for part in re.split("…", error) if len(part.strip(" .,;:()'")) > 3]
    assert parts
    # A rule and what follows it are strings of their own at times.
    halves = [half for part in parts for half in re.split(r"(?<=\. )(?=Received: )", part)]
    halves = [half.strip() for half in halves if half.strip() not in ("Received:", "")]
    assert any(all(half in text for half in halves) for text in FILES), halves


def test_every_line_has_an_answer():
    for line in PAGE.splitlines():
        if line.startswith("**`"):
            assert len(line.partition("`** — ")[2]) > 20, line
