"""Names of users where they are shown."""

import doctest

import pytest

from oekd_tf.core import text
from oekd_tf.core.tables import markdown_table


def test_examples():
    assert doctest.testmod(text).failed == 0


@pytest.mark.parametrize(
    "plain",
    ["student_1", "T-shirt/top", "97.3 [-1.2, +3.4]", "58.41 ± 0.63", "95 % interval", "*", "a & b",
     "Größe", "C:3 (x)", "-1.20", "ms, pi4", "a ~ b", "no baseline"],
)  # fmt: skip
def test_what_is_no_mark_stays(plain):
    assert text.in_markdown(plain) == plain


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"),
        ("[x](http://evil)", r"[x\](http://evil)"),
        ("![x](http://evil)", r"\![x\](http://evil)"),
        ("**bold** _it_ `code`", r"\*\*bold\*\* \_it\_ \`code\`"),
        ("# title", r"\# title"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("cat\ndog\x1b[31m", r"cat\\ndog\\x1b[31m"),
    ],
)
def test_marks_are_escaped(name, shown):
    assert text.in_markdown(name) == shown


def test_a_table_stays_a_table():
    lines = markdown_table([{"class": "a|b\nc", "%": "1"}, {"class": "<b>", "%": "2"}]).splitlines()
    assert len(lines) == 4
    assert all(line.count("|") - line.count(r"\|") == 3 for line in lines)
    assert len({len(line) for line in lines}) == 1


def test_one_line_a_name():
    names = ["cat", "dog\nor wolf", "a\u2028b", "\ud800", "c\rd", "e\x85"]
    lines = text.as_lines(names).encode().decode().splitlines()
    assert len(lines) == len(names)
    assert lines[:2] == ["cat", r"dog\nor wolf"]
