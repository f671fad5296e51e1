"""A folder takes another's place whole, whatever ends the process that writes it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from oekd_tf.core import files as replacement
from oekd_tf.core.files import is_replaceable, remove, replaced

ROOT = Path(__file__).parents[2]


def content(folder):
    return {p.name: p.read_text() for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.fixture
def there(tmp_path):
    """A folder that is there already."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "manifest.json").write_text("old")
    (folder / "mine.txt").write_text("mine")
    return folder


def test_new(tmp_path):
    with replaced(tmp_path / "deep" / "run") as folder:
        (folder / "a").write_text("new")
        assert not (tmp_path / "deep" / "run").exists()
    assert content(tmp_path / "deep" / "run") == {"a": "new"}
    assert os.listdir(tmp_path / "deep") == ["run"]


def test_overwrites_at_once(there):
    with replaced(there, overwrite=True) as folder:
        (folder / "a").write_text("new")
        assert content(there)["mine.txt"] == "mine"
    assert content(there) == {"a": "new"}
    assert os.listdir(there.parent) == ["run"]


def test_failure_leaves_what_was_there(there):
    def fail():
        with replaced(there, overwrite=True) as folder:
            (folder / "a").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert content(there) == {"manifest.json": "old", "mine.txt": "mine"}
    assert os.listdir(there.parent) == ["run"]


def test_existing_folder_is_not_replaced_unasked(there):
    with pytest.raises(OSError, match="not empty"), replaced(there) as folder:
        (folder / "a").write_text("new")
    assert content(there) == {"manifest.json": "old", "mine.txt": "mine"}


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match=r"file must be writable. Received"),
        replaced(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_read_only_folder(there, tmp_path):
    """As a user who may not write there."""
    tmp_path.chmod(0o555)
    os.chmod(tmp_path.parent, 0o755)
    program = textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {str(ROOT)!r})
        from oekd_tf.core.files import replaced
        os.setuid(65534)
        try:
            with replaced({str(there)!r}, overwrite=True):
                print("written")
        except OSError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if "Permission denied" not in done.stdout and done.returncode:
        pytest.skip(f"nobody cannot run Python here: {done.stderr.strip().splitlines()[-1]}")
    assert "must be writable. Received: [Errno 13] Permission denied" in done.stdout
    assert content(there) == {"manifest.json": "old", "mine.txt": "mine"}


PROGRAM = """
import os, sys, resource, time
sys.path.insert(0, {root!r})
sys.path.insert(0, {root!r} + "/tests")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
from networks import small_ensemble
from oekd_tf.export import export_students
ensemble = small_ensemble()
images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
limit = {limit}
if limit:
    # Writes beyond this many bytes of a file fail, as on a full disk.
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
def say(line):
    print(line, flush=True)
    time.sleep({pause})
try:
    export_students(
        ensemble, {output!r}, formats=("saved_model", "float32"), overwrite=True,
        test_images=images, test_labels=np.zeros(16, int), progress=say)
except OSError as error:
    print("error:", error, flush=True)
"""


def start(there, limit=0, pause=0):
    program = PROGRAM.format(root=str(ROOT), output=str(there), limit=limit, pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_full_disk(there):
    """A limit on the size of files stands in for one: the same calls fail."""
    out, err = start(there, limit=16_000).communicate(timeout=120)
    assert "error: " in out, err
    assert "must be writable. Received: " in out
    assert out.strip().splitlines()[-1].startswith("error: ")
    assert content(there) == {"manifest.json": "old", "mine.txt": "mine"}
    assert os.listdir(there.parent) == ["run"]


def test_kill_in_the_middle(there):
    process = start(there, pause=60)
    first = process.stdout.readline()
    assert first.startswith("student_1 "), process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert content(there) == {"manifest.json": "old", "mine.txt": "mine"}
    left = [path.name for path in there.parent.iterdir() if path.name != "run"]
    assert len(left) == 1
    assert left[0].startswith(".partial-")
    # The next export clears it away.
    with replaced(there, overwrite=True) as folder:
        (folder / "a").write_text("new")
    assert os.listdir(there.parent) == ["run"]


def test_a_running_exports_folder_is_not_cleared_away(there):
    with replaced(there, overwrite=True) as other:
        with replaced(there.parent / "other"):
            pass
        assert other.exists()
    del other


def test_what_a_killed_process_of_the_same_number_left_is_cleared_away(there):
    """As in a container, where each start has the same."""
    (there.parent / f".partial-{os.getpid()}-run").mkdir()
    with replaced(there, overwrite=True) as folder:
        (folder / "a").write_text("new")
    assert os.listdir(there.parent) == ["run"]


def test_without_exchange_what_was_there_comes_back(there, monkeypatch):
    """As on a file system where two folders cannot change places in one step."""
    monkeypatch.setattr(replacement, "_exchange", lambda first, second: False)
    with replaced(there, overwrite=True) as folder:
        (folder / "a").write_text("new")
    assert content(there) == {"a": "new"}

    def lose():
        with replaced(there, overwrite=True) as folder:
            folder.rmdir()

    with pytest.raises(OSError, match="No such file"):
        lose()
    assert content(there) == {"a": "new"}
    assert os.listdir(there.parent) == ["run"]


@pytest.mark.parametrize(
    ("files", "mark", "ours"),
    [([], "m", True), (["m", "x"], "m", True), (["x"], "m", False)],
)
def test_only_our_folders_are_replaceable(tmp_path, files, mark, ours):
    for name in files:
        (tmp_path / name).write_text("")
    assert is_replaceable(tmp_path, mark) is ours
    assert not is_replaceable(tmp_path / "nowhere", mark)


def test_remove(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    remove(tmp_path / "folder")
    remove(tmp_path / "folder")
    assert os.listdir(tmp_path) == []
