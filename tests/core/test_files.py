"""A folder takes another's place whole, whatever ends the process that writes it."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oekd_tf.core import files as replacement
from oekd_tf.core import locks
from oekd_tf.core.files import (
    alone,
    as_output,
    foreign_content,
    remove,
    replaced,
    temporary_path,
    write_text,
)

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
        test_images=images, test_labels=np.zeros(16, int), progress=say, processes={processes})
except OSError as error:
    print("error:", error, flush=True)
"""


def start(there, limit=0, pause=0, processes=0):
    program = PROGRAM.format(
        root=str(ROOT), output=str(there), limit=limit, pause=pause, processes=processes
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def exported(tmp_path):
    """An export that is there already."""
    shutil.copytree(ROOT / "tests" / "written_by_0_1" / "export", tmp_path / "run")
    return tmp_path / "run"


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_full_disk(exported):
    """A limit on the size of files stands in for one: the same calls fail."""
    before = tree(exported)
    out, err = start(exported, limit=16_000).communicate(timeout=120)
    assert "error: " in out, err
    assert "must be writable. Received: " in out
    assert out.strip().splitlines()[-1].startswith("error: ")
    assert tree(exported) == before
    assert os.listdir(exported.parent) == ["run"]


@pytest.mark.parametrize("processes", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_kill_in_the_middle(exported, processes):
    before = tree(exported)
    process = start(exported, pause=60, processes=processes)
    first = process.stdout.readline()
    assert first.startswith("student_1 "), process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert tree(exported) == before
    left = sorted(path.name for path in exported.parent.iterdir() if path.name != "run")
    assert len(left) == 2
    assert left[0].startswith(".partial-")
    assert left[1] == ".run.lock"
    # The next export clears it away.
    with alone(exported), replaced(exported, overwrite=True) as folder:
        (folder / "a").write_text("new")
    assert os.listdir(exported.parent) == ["run"]


def test_a_running_exports_folder_is_not_cleared_away(there):
    with replaced(there, overwrite=True) as other:
        with replaced(there.parent / "other"):
            pass
        assert other.exists()
    del other


def test_a_running_export_of_the_same_place_is_not_cleared_away(there):
    """Also one of this very process, in another thread for instance."""
    with replaced(there, overwrite=True) as one:
        (one / "a").write_text("one")
        with replaced(there, overwrite=True) as two:
            (two / "a").write_text("two")
        assert content(there) == {"a": "two"}
        assert content(one) == {"a": "one"}
    assert content(there) == {"a": "one"}
    assert os.listdir(there.parent) == ["run"]


@pytest.mark.parametrize("of", ["a live process", "its thread"])
def test_what_a_process_of_a_number_in_use_left_is_cleared_away(there, of):
    """Numbers are used again, and a thread's is a number too: neither is the killed export."""
    done, started = threading.Event(), threading.Event()
    numbers = [os.getppid()]

    def wait():
        numbers.append(threading.get_native_id())
        started.set()
        done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    try:
        left = there.parent / f".partial-{numbers[of == 'its thread']}-run"
        (left / ".scratch").mkdir(parents=True)
        with replaced(there, overwrite=True):
            pass
        assert os.listdir(there.parent) == ["run"]
    finally:
        done.set()
        thread.join()


def test_only_what_is_of_the_same_place_is_cleared_away(there):
    others = [
        ".partial-1-my-run",
        ".partial-x-run",
        ".partial--run",
        ".old-1-runs",
        "partial-1-run",
    ]
    for name in others:
        (there.parent / name).mkdir()
    (there.parent / ".partial-1-run").write_text("a file of someone else")
    (there.parent / ".partial-2-run").symlink_to(there)
    with replaced(there, overwrite=True):
        pass
    assert {*os.listdir(there.parent)} == {"run", ".partial-1-run", ".partial-2-run", *others}


def test_what_was_moved_away_is_put_back(there):
    """Killed between two renames, where folders cannot change places in one step."""
    there.rename(there.parent / ".old-1-run")
    with pytest.raises(OSError, match="not empty"), replaced(there) as folder:
        (folder / "a").write_text("new")
    assert content(there) == {"manifest.json": "old", "mine.txt": "mine"}
    # With the new folder in its place it is of no use.
    (there.parent / ".old-2-run").mkdir()
    with replaced(there, overwrite=True):
        pass
    assert os.listdir(there.parent) == ["run"]


def test_without_locks_nothing_of_others_is_deleted(there, monkeypatch):
    def flock(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    other = there.parent / f".partial-{os.getpid()}-run"
    other.mkdir()
    with replaced(there, overwrite=True) as folder:
        (folder / "a").write_text("new")
    assert content(there) == {"a": "new"}
    assert {*os.listdir(there.parent)} == {"run", other.name}


class TestTemporaryPath:
    def test_the_name_and_so_the_suffix_are_kept(self, tmp_path):
        with temporary_path(tmp_path / "model.keras") as partial:
            assert partial.name == "model.keras"
            partial.write_text("new")
            assert not (tmp_path / "model.keras").exists()
        assert content(tmp_path) == {"model.keras": "new"}
        assert os.listdir(tmp_path) == ["model.keras"]

    def test_what_a_killed_process_left_is_cleared_away(self, tmp_path):
        program = (
            "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
            "from oekd_tf.core.files import temporary_path\n"
            "with temporary_path(sys.argv[2]) as partial:\n"
            "    partial.write_text('half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        path = tmp_path / "summary.json"
        killed = [sys.executable, "-c", program, str(ROOT), str(path)]
        assert subprocess.run(killed, check=False).returncode == -signal.SIGKILL
        (left,) = os.listdir(tmp_path)
        assert left.startswith(".partial-")
        write_text(path, "whole")
        assert os.listdir(tmp_path) == ["summary.json"]
        assert path.read_text() == "whole"

    def test_threads_write_the_same_file(self, tmp_path):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: write_text(tmp_path / "a", f"{n}" * 1000), range(64)))
        assert os.listdir(tmp_path) == ["a"]
        assert len({*(tmp_path / "a").read_text()}) <= 2

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        write_text(tmp_path / "a", "old")

        def fail():
            with temporary_path(tmp_path / "a") as partial:
                partial.write_text("new")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert (tmp_path / "a").read_text() == "old"
        assert os.listdir(tmp_path) == ["a"]

    def test_a_full_disk_names_the_file(self, tmp_path):
        with (
            pytest.raises(OSError, match=r"No space left on device: '.*/summary.json'$"),
            temporary_path(tmp_path / "summary.json"),
            open("/dev/full", "w") as full,
        ):
            full.write("no room")
        assert os.listdir(tmp_path) == []

    def test_a_link_is_written_through(self, tmp_path):
        (tmp_path / "a").write_text("old")
        (tmp_path / "link").symlink_to("a")
        write_text(tmp_path / "link", "new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "a").read_text() == "new"

    def test_a_pipe_is_not_replaced(self, tmp_path):
        """Nor is a device: as root, /dev/null would become a file."""
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match=r"must be a regular one.*a named pipe"):
            write_text(tmp_path / "pipe", "new")
        assert (tmp_path / "pipe").is_fifo()

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError), temporary_path(tmp_path / "no" / "a"):
            pass


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
    ("files", "found"),
    [
        ({}, None),
        ({"m": "ours", "x": "", "deep/y": ""}, None),
        ({"m": "ours", "whole/of/it": ""}, None),
        ({"m": "ours", ".DS_Store": ""}, None),
        ({"m": "ours", ".partial-0123abcd-m/m": ""}, None),
        ({"m": "of others", "x": ""}, "which this command did not write"),
        ({"x": ""}, "which this command did not write"),
        ({"m": "ours", "index.html": ""}, "which holds index.html"),
        ({"m": "ours", "deep/z": ""}, "which holds deep/z"),
        ({"m": "ours", ".git/HEAD": ""}, "which holds .git/HEAD"),
    ],
)
def test_only_our_folders_are_replaceable(tmp_path, files, found):
    def known(folder):
        mark = folder / "m"
        ours = mark.is_file() and mark.read_text() == "ours"
        return {"m", "x", "deep/y", "whole"} if ours else None

    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert foreign_content(folder, known) == found
    assert foreign_content(tmp_path / "nowhere", known) == "which is no folder"
    (tmp_path / "link").symlink_to(folder)
    assert foreign_content(tmp_path / "link", known) == "which is no folder"
    if found is None and files:
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / "link").symlink_to("/")
        assert foreign_content(folder, known) == "which holds deep/link"


def test_a_folder_of_others_that_came_meanwhile(tmp_path):
    def write():
        with replaced(tmp_path / "run", overwrite=True, known=lambda folder: {"a"}) as folder:
            (folder / "a").write_text("new")
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "mine.txt").write_text("mine")

    with pytest.raises(FileExistsError, match=r"must not be replaced.*which holds mine\.txt$"):
        write()
    assert content(tmp_path / "run") == {"mine.txt": "mine"}
    assert os.listdir(tmp_path) == ["run"]


def test_a_path_through_what_is_not_there(tmp_path):
    assert as_output(tmp_path / "nowhere" / ".." / "run") == tmp_path / "run"
    assert as_output("a/./b/") == Path("a/b")


def test_one_writer_of_a_folder_at_a_time(tmp_path):
    output = tmp_path / "deep" / "export"
    with alone(output), alone(output), ThreadPoolExecutor(1) as pool:

        def other():
            with alone(output):
                pass

        with pytest.raises(OSError, match=r"one process at a time.*a folder that process"):
            pool.submit(other).result()
    assert os.listdir(output.parent) == []
    other()


def test_remove(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    remove(tmp_path / "folder")
    remove(tmp_path / "folder")
    assert os.listdir(tmp_path) == []
