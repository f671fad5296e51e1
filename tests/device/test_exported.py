"""A manifest that several processes change, and files that are not what it says."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oekd_tf.core.locks import LockedError, locked_file
from oekd_tf.device import exported, manifest
from oekd_tf.device.exported import find_file, read_export, update_manifest, verified_path

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from oekd_tf.device.exported import update_manifest
folder, name, count = sys.argv[1:]
device = {"cpu": "c", "platform": "p", "litert": "2", "time": "t", "results": {}}
for number in range(int(count)):
    update_manifest(
        folder, lambda m: m.setdefault("devices", {}).update({f"{name} {number}": device}))
"""


@pytest.fixture
def export(tmp_path):
    shutil.copytree(ROOT / "tests" / "written_by_0_1" / "export", tmp_path / "export")
    return tmp_path / "export"


@pytest.mark.integration
def test_no_update_of_several_is_lost(export):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(export), name, "50"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for name in "abc"
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    assert len(read_export(export)["devices"]) == 150
    assert sorted(path.name for path in export.iterdir()) == [
        "manifest.json", "student_1", "student_2"
    ]  # fmt: skip


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(export, monkeypatch):
    monkeypatch.setattr(exported, "_PATIENCE_SECONDS", 0.1)
    start = time.monotonic()
    with (
        locked_file(export / manifest.LOCK),
        pytest.raises(LockedError, match=rf"locked by process {os.getpid()} on "),
    ):
        update_manifest(export, lambda found: None)
    assert time.monotonic() - start < 5
    update_manifest(export, lambda found: None)


def test_what_could_not_be_read_again_is_not_written(export):
    before = (export / "manifest.json").read_bytes()
    for change in (
        lambda found: found.update(devices={"pi": {}}),
        lambda found: found["students"][0].update(accuracy=float("nan")),
        lambda found: found["students"][0].update(name="../x"),
    ):
        with pytest.raises(ValueError, match=r"^(devices|students|no cpu)"):
            update_manifest(export, change)
        assert (export / "manifest.json").read_bytes() == before


def test_known_files(export):
    found = manifest.known_files(export)
    assert {"manifest.json", "student_1/labels.txt", "student_2/int8.tflite"} <= found
    (export / "manifest.json").write_text("{}")
    assert manifest.known_files(export) is None


@pytest.mark.parametrize("what", ["missing", "other", "link", "folder link", "pipe"])
def test_files_that_are_not_what_was_exported(export, tmp_path, what):
    file = find_file(read_export(export), "student_1", "int8")
    path = verified_path(export, file)
    if what == "folder link":
        shutil.move(export / "student_1", tmp_path / "elsewhere")
        (export / "student_1").symlink_to(tmp_path / "elsewhere")
    else:
        content = path.read_bytes()
        path.unlink()
        if what == "other":
            path.write_bytes(content[::-1])
        elif what == "link":
            (tmp_path / "private").write_bytes(content)
            path.symlink_to(tmp_path / "private")
        elif what == "pipe":
            os.mkfifo(path)
    with pytest.raises(ValueError, match=r"^student_1/int8 must be the file that was exported"):
        verified_path(export, file)


def test_a_file_of_another_student(export):
    found = read_export(export)
    one, other = (student["formats"] for student in found["students"])
    one["int8"] = other["int8"]
    (export / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"int8\.path must be in the folder of student_1, and is"):
        read_export(export)


def test_a_manifest_of_other_things(export):
    for text in ("[]", "{}", json.dumps({"students": []})):
        (export / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=r"manifest\.json must be an export's manifest\. Rec"):
            read_export(export)
