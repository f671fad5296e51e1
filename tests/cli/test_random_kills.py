"""`oekd export` and `oekd bench`, killed at random moments: all of a result or nothing."""

import json
import random

import pytest
import small_runs
from random_kills import assert_whole_export, digests, kill, oekd, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch and the digests of its files."""
    folder = tmp_path_factory.mktemp("trained")
    done = small_runs.start(folder, "--config.epochs=1")
    assert done.returncode == 0, done.stderr
    return folder / "run", digests(folder / "run")


def kill_exports(trained, folder, formats, longest, *fields):
    """Twenty kills; after each five the same command, which clears up behind them."""
    workdir, before = trained
    output = folder / "exports" / "one"

    def command(processes):
        return oekd(
            "export", f"--workdir={workdir}", f"--output={output}", "--overwrite",
            f"--formats={formats}", "--set=export.max_accuracy_drop=1",
            "--set=export.max_class_drop=1", f"--set=export.processes={processes}",
            *(f"--set={field}" for field in fields),
        )  # fmt: skip

    moments, ended, exported = random.Random(0), 0, None
    for number in range(20):
        seconds = moments.uniform(0, longest)
        finished = kill(folder, command(number % 2), "exporting to", seconds)
        ended += finished
        if exported is None and not output.exists():
            assert not finished
        elif exported is None or digests(output) != exported:
            # It was killed after the new one had taken its place, perhaps before its picture.
            assert_whole_export(output)
            exported = digests(output)
        assert digests(workdir) == before
        if number % 5 == 4:
            done = run(folder, command(number % 2))
            assert done.returncode == 0, done.stderr
            assert [path.name for path in output.parent.iterdir()] == ["one"]
            assert_whole_export(output)
            exported = digests(output)
            assert (output / "trade_off.png").exists()
    assert digests(workdir) == before
    assert ended < 15, "most commands had ended before they were killed"


def test_export(trained, tmp_path):
    kill_exports(trained, tmp_path, "float32,int8,saved_model", 11)


def test_export_with_fine_tuning(trained, tmp_path):
    kill_exports(trained, tmp_path, "qat_int8,clustered_float32", 25, "fine_tuning.epochs=2")


def test_bench(trained, tmp_path):
    output, results = tmp_path / "exports" / "one", tmp_path / "results.json"
    done = run(
        tmp_path,
        oekd("export", f"--workdir={trained[0]}", f"--output={output}", "--formats=float32,int8",
             "--set=export.max_accuracy_drop=1", "--set=export.max_class_drop=1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = {f"student_{n}/{form}" for n in (1, 2) for form in ("float32", "int8")}
    moments, ended = random.Random(1), 0
    for number in range(20):
        command = oekd(
            "bench", f"--exports={output}", f"--device=board{number}", "--threads=1,2",
            "--runs=200", f"--output={results}",
        )  # fmt: skip
        ended += kill(tmp_path, command, "", moments.uniform(0.2, 1.6))
        devices = assert_whole_export(output).get("devices", {})
        assert all(device["results"].keys() == files for device in devices.values())
        if results.exists():
            (device,) = json.loads(results.read_text())["devices"].values()
            assert device["results"].keys() == files
        if number % 5 == 4:
            done = run(tmp_path, command)
            assert done.returncode == 0, done.stderr
            assert f"board{number}" in assert_whole_export(output)["devices"]
            assert {path.name for path in output.iterdir()} == {
                "manifest.json", "student_1", "student_2", "trade_off.png"
            }  # fmt: skip
            assert {p.name for p in tmp_path.iterdir()} == {"exports", "results.json"}
    assert ended < 15, "most commands had ended before they were killed"
