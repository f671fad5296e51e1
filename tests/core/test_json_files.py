"""Files of ours are read whole, or refused with the file and the field."""

import json
import os
import re
import time
from typing import Annotated, NotRequired, TypedDict

import pytest
from msgspec import Meta

from oekd_tf.core.array_files import read_arrays
from oekd_tf.core.json_files import read_json, validate
from oekd_tf.core.records import Measurements, Name, Sha256


class Inner(TypedDict):
    share: Annotated[float, Meta(ge=0, le=1)]


class Record(TypedDict):
    count: int
    by_name: dict[str, list[Inner]]
    more: NotRequired[str]


GOOD = {"count": 3, "by_name": {"a": [{"share": 0.5}], "b c": [{"share": 1}]}, "other": [1, {}]}


def read(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    return read_json(tmp_path / "record.json", Record, "a record")


def test_what_is_there_is_kept(tmp_path):
    """Fields of a later version too."""
    assert read(tmp_path, json.dumps(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON: Expecting property name"),
        ("", "no JSON: Expecting value"),
        ("[]", "all of it must be an object, and is []"),
        ('{"count": 3}', "no by_name"),
        ('{"count": true, "by_name": {}}', "count must be a whole number, and is True"),
        ('{"count": 3.0, "by_name": {}}', "count must be a whole number, and is 3.0"),
        ('{"count": NaN, "by_name": {}}', "count must be finite, and is nan"),
        ('{"count": 3, "by_name": {}, "new": [1, -1e999]}', "new[1] must be finite, and is -inf"),
        ('{"count": 3, "by_name": {}, "more": null}', "more must be text, and is None"),
        ('{"count": 3, "by_name": {"a": {}}}', "by_name.a must be a list, and is {}"),
        (
            '{"count": 3, "by_name": {"a": [], "b c": [{"share": 1}, {"share": 1.5}]}}',
            "by_name['b c'][1].share must be a number <= 1.0, and is 1.5",
        ),
        ('{"count": 3, "by_name": {"a": [{}]}}', "no share of by_name.a[0]"),
        ("[" * 100_000, "JSON of too many levels"),
        ('{"count": 1' + "0" * 5000 + "}", "no JSON: Exceeds the limit"),
    ],
)
def test_refusals(tmp_path, text, reason):
    start = re.escape(f"{tmp_path / 'record.json'} must be a record. Received: {reason}")
    with pytest.raises(ValueError, match=f"^{start}") as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none", Record, "a record")
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
    for path, what in (
        (tmp_path / "pipe", "a named pipe"), (tmp_path, "Is a directory"), ("/dev/zero", "a device")
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"Received: {what}$"):
            read_json(path, Record, "a record")
        with pytest.raises(ValueError, match=rf"Received: .*{what}"):
            read_arrays(path, "arrays", ValueError)
    assert time.monotonic() - start < 1
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="Received: a file of 1,099,511,627,776 bytes"):
        read_json(tmp_path / "large", Record, "a record")
    (tmp_path / "latin").write_bytes(b'{"count": "\xe9"}')
    with pytest.raises(ValueError, match="Received: no JSON: 'utf-8' codec can't decode"):
        read_json(tmp_path / "latin", Record, "a record")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "\x1b[2J", "a\u2028", "\ud800"])
def test_names(name):
    with pytest.raises(ValueError, match=r"a name without /, \\ and control characters"):
        validate(name, Name)
    validate("Größe 3 (µ)", Name)


def test_hashes():
    validate("0" * 64, Sha256)
    for text in ("0" * 63, "0" * 64 + "\n", "G" * 64):
        with pytest.raises(ValueError, match="a SHA-256, 64 hexadecimal digits"):
            validate(text, Sha256)


def test_names_of_keys():
    with pytest.raises(ValueError, match=r"each name in devices must be a name without control"):
        validate({"devices": {"a\nb": {}}}, Measurements)
