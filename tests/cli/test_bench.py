"""Latencies, and how they get into a manifest."""

import copy
import json
import os

import pytest

from oekd_tf.cli import bench
from oekd_tf.device import latency, measurements
from oekd_tf.device.exported import read_export

QUICK = ("--runs=3", "--threads=1")


def run(export, *flags):
    bench.main([f"--exports={export}", *QUICK, *flags])
    return read_export(export)


class TestBinary:
    def test_results_are_in_the_manifest(self, export, capsys):
        before = read_export(export)
        manifest = run(export, "--device=here", "--threads=1,2")
        device = manifest.pop("devices")["here"]
        assert manifest == before
        assert set(device) == {"cpu", "platform", "litert", "time", "results"}
        assert set(device["results"]) == {
            f"student_{i}/{form}" for i in (1, 2) for form in ("float32", "int8")
        }
        facts = before["students"][0]["formats"]["int8"]
        found = device["results"]["student_1/int8"]
        assert (found["bytes"], found["sha256"]) == (facts["bytes"], facts["sha256"])
        assert found["batch_size"] == 1
        assert found["peak_activation_bytes"] > 28 * 28
        for threads in ("1", "2"):
            times = found["threads"][threads]
            assert 0 < times["median_ms"] <= times["p90_ms"]
            assert times["runs"] == 3
        shown = capsys.readouterr().out
        assert "| student_2/float32 |" in shown
        assert "turn 3 of 3" in shown
        assert (export / "trade_off.png").read_bytes().startswith(b"\x89PNG")

    def test_a_second_run_updates_and_leaves_the_rest(self, export):
        first = run(export, "--device=a")["devices"]["a"]
        run(export, "--device=b", "--students=student_2")
        devices = run(export, "--device=a", "--threads=2", "--formats=int8", "--runs=4")["devices"]
        assert set(devices["b"]["results"]) == {"student_2/float32", "student_2/int8"}
        again = devices["a"]["results"]
        assert again["student_1/float32"] == first["results"]["student_1/float32"]
        one = first["results"]["student_1/int8"]["threads"]["1"]
        assert again["student_1/int8"]["threads"]["1"] == one
        assert again["student_1/int8"]["threads"]["2"]["runs"] == 4

    def test_output_can_be_merged_elsewhere(self, export, exported, tmp_path):
        results = tmp_path / "home" / "pi.json"
        manifest = run(export, "--device=pi", f"--output={results}")
        (export / "manifest.json").write_text((exported / "manifest.json").read_text())
        bench.main([f"--exports={export}", f"--merge={results}"])
        assert read_export(export) == manifest

    def test_merge_refuses_other_files(self, export, tmp_path, fails):
        results = tmp_path / "pi.json"
        run(export, "--device=pi", f"--output={results}")
        before = (export / "manifest.json").read_text()
        found = json.loads(results.read_text())
        other = copy.deepcopy(found)
        other["devices"]["pi"]["results"]["student_1/int8"]["sha256"] = "0" * 64
        results.write_text(json.dumps(other))
        line = fails(bench.main, f"--exports={export}", f"--merge={results}")
        assert "student_1/int8 has SHA-256" in line
        assert "Received: 00000" in line
        found["devices"]["pi"]["results"]["student_9/int8"] = found["devices"]["pi"]["results"][
            "student_1/int8"
        ]
        results.write_text(json.dumps(found))
        line = fails(bench.main, f"--exports={export}", f"--merge={results}")
        assert "Received: student_9/int8 on pi" in line
        results.write_text("[]")
        line = fails(bench.main, f"--exports={export}", f"--merge={results}")
        assert "--output wrote. Received" in line
        assert (export / "manifest.json").read_text() == before

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--formats=int9"], "--formats must be among saved_model, .* Received: int9"),
            (["--students=a,student_1"], "--students must be among student_1, .* Received: a$"),
            (["--formats=saved_model"], "TFLite format.* Received: none"),
            (["--threads=0"], "--threads: must be a whole number above 0. Received: '0'"),
            (["--runs=many"], "--runs: must be a whole number above 0. Received: 'many'"),
            (["--run=3"], "unrecognized arguments: --run=3"),
        ],
    )
    def test_refusals(self, exported, fails, flags, message):
        import re

        assert re.search(message, fails(bench.main, f"--exports={exported}", *flags))

    def test_merge_of_nothing(self, export, tmp_path, fails):
        run(export, "--device=pi", f"--output={tmp_path / 'pi.json'}")
        found = json.loads((tmp_path / "pi.json").read_text())
        found["devices"]["pi"]["results"] = {}
        (tmp_path / "pi.json").write_text(json.dumps(found))
        line = fails(bench.main, f"--exports={export}", f"--merge={tmp_path / 'pi.json'}")
        assert line.endswith("Received: no results of pi")

    def test_output_over_something_else(self, export, tmp_path, fails):
        mine = tmp_path / "mine.json"
        mine.write_text("{}")
        os.mkfifo(tmp_path / "pipe")
        for path in (mine, export / "manifest.json", tmp_path / "pipe", export):
            line = fails(bench.main, f"--exports={export}", f"--output={path}")
            assert f"Received: {path}, which is of something else" in line
        assert mine.read_text() == "{}"
        read_export(export)
        for _ in range(2):
            run(export, "--device=pi", f"--output={tmp_path / 'pi.json'}")

    def test_a_changed_file_is_not_measured(self, export, fails):
        path = export / "student_2" / "int8.tflite"
        path.write_bytes(path.read_bytes() + b"\0")
        line = fails(bench.main, f"--exports={export}", *QUICK)
        assert "must be the file that was exported" in line
        path.unlink()
        assert "there is no" in fails(bench.main, f"--exports={export}", *QUICK)
        assert "devices" not in read_export(export)

    def test_no_export(self, tmp_path, fails):
        assert "must hold manifest.json" in fails(bench.main, f"--exports={tmp_path}")
        (tmp_path / "manifest.json").write_text("{}")
        assert "must be an export's" in fails(bench.main, f"--exports={tmp_path}")


class TestMeasure:
    def test_takes_turns(self, exported, monkeypatch):
        """Every file and thread count has its turn before any has its second."""
        order = []
        opened = latency.TfliteModel

        def recorded(path, threads):
            order.append((path.parent.name, threads))
            return opened(path, threads)

        monkeypatch.setattr(latency, "TfliteModel", recorded)
        models = {str(i): exported / f"student_{i}" / "int8.tflite" for i in (1, 2)}
        found = latency.measure(models, [1, 2], runs=13, progress=lambda line: None)
        turn = [("student_1", 1), ("student_1", 2), ("student_2", 1), ("student_2", 2)]
        assert order == turn * 10
        assert {times.runs for each in found.values() for times in each.values()} == {13}

    def test_fastest_turn(self, exported):
        models = {str(i): exported / f"student_{i}" / "int8.tflite" for i in (1, 2)}
        found = latency.fastest_turns(models, threads=2, turns=3)
        assert list(found) == ["1", "2"]
        # Undisturbed, so not above the median of all runs by much.
        median = latency.measure({"1": models["1"]}, [2], progress=lambda line: None)["1"][2]
        assert 0 < found["1"] < 3 * median.median_ms

    def test_summary(self):
        seconds = [0.001 * number for number in range(1, 11)]
        assert latency.summarize(seconds[::-1]) == (5.5, 9.0, 10)
        assert latency.summarize([0.002]) == (2.0, 2.0, 1)

    @pytest.mark.parametrize(
        ("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])]
    )
    def test_thread_counts(self, cores, counts):
        assert latency.thread_counts(cores) == counts


def test_a_result_of_another_file_does_not_count(export):
    manifest = run(export, "--device=a")
    from oekd_tf.device.exported import find_file

    file = find_file(manifest, "student_1", "int8")
    assert measurements.median_ms(manifest, file, "a", 1) > 0
    assert measurements.median_ms(manifest, file, "a", 2) is None
    assert measurements.median_ms(manifest, file, "b", 1) is None
    file.facts["sha256"] = "0"
    assert measurements.median_ms(manifest, file, "a", 1) is None
