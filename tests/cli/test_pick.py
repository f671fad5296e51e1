"""The best file under limits, and its delivery."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from oekd_tf.cli import bench, pick
from oekd_tf.cli.parts import device_flags as command_line
from oekd_tf.device import TfliteModel
from oekd_tf.device.exported import read_export
from oekd_tf.device.selection import Candidate, best, misses, nearest


def candidate(name, accuracy, size, milliseconds=None):
    values = {"min_accuracy": accuracy, "max_bytes": size}
    if milliseconds is not None:
        values["max_latency_ms"] = milliseconds
    return Candidate(name, values)


class TestBest:
    MANY = (
        candidate("big", 0.9, 1000, 5.0),
        candidate("slow", 0.8, 100, 9.0),
        candidate("fast", 0.8, 120, 2.0),
        candidate("small", 0.6, 10, 1.0),
    )

    @pytest.mark.parametrize(
        ("limits", "name"),
        [
            ({}, "big"),
            ({"max_bytes": 1000}, "big"),
            ({"max_bytes": 999}, "slow"),
            ({"max_bytes": 999, "max_latency_ms": 20}, "fast"),
            ({"max_bytes": 99}, "small"),
            ({"max_latency_ms": 4.99}, "fast"),
            ({"max_latency_ms": 5.0, "min_accuracy": 0.9}, "big"),
        ],
    )
    def test_under_limits(self, limits, name):
        assert best(self.MANY, limits).file == name

    def test_without_latencies_the_smaller_of_equals(self):
        many = [candidate("large", 0.8, 120), candidate("small", 0.8, 100)]
        assert best(many, {}).file == "small"

    def test_none_fits(self):
        limits = {"max_bytes": 90, "min_accuracy": 0.75}
        assert best(self.MANY, limits) is None
        # slow: 10/90 too large; small: 0.15/0.75 too inaccurate.
        found = nearest(self.MANY, limits)
        assert found.file == "slow"
        (miss,) = misses(found, limits)
        assert str(miss) == "max_bytes by 11.1% (100 bytes, limit 90 bytes)"
        assert nearest(self.MANY, {"max_bytes": 5, "min_accuracy": 0.7}).file == "small"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("100000", 100_000), ("100kB", 100_000), ("1.5MB", 1_500_000), ("64KiB", 65_536),
        ("2 mib", 2**21), (".5kb", 500), ("7B", 7),
    ],
)  # fmt: skip
def test_sizes(text, count):
    assert command_line.byte_count(text) == count


class TestBinary:
    def pick(self, export, *flags):
        pick.main([f"--exports={export}", *flags])

    def test_copies_the_file_with_its_card(self, export, data, capsys):
        self.pick(export, "--max_bytes=50kB", "--formats=int8")
        output = export.parent / "run_picked"
        assert {path.name for path in output.iterdir()} == {
            "int8.tflite", "labels.txt", "card.json", "CARD.md", "selftest",
        }  # fmt: skip
        manifest = read_export(export)
        chosen = max(manifest["students"], key=lambda s: s["formats"]["int8"]["accuracy"])
        content = (output / "int8.tflite").read_bytes()
        assert content == (export / chosen["name"] / "int8.tflite").read_bytes()
        card = json.loads((output / "card.json").read_text())
        assert card["student"]["name"] == chosen["name"]
        assert card["student"]["parameters"] == chosen["parameters"]
        assert card["format"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert card["format"]["path"] == "int8.tflite"
        assert card["format"]["accuracy"] == chosen["formats"]["int8"]["accuracy"]
        assert card["limits"] == {"max_bytes": 50_000}
        assert card["source"]["made_by"] == manifest["made_by"]
        assert (output / "labels.txt").read_text().splitlines() == data.class_names
        assert card["contract"] == manifest["contract"] == data.contract
        text = (output / "CARD.md").read_text()
        assert (
            "- an input is 28×28, grey, raw pixels from 0 to 255: a picture is turned upright "
            "(EXIF) and the whole of it resized (bilinear, antialiased)\n"
            "- trained on fashion_mnist_mini: 1,500 train, 600 validation, 2,000 test images\n"
        ) in text
        assert card["format"]["sha256"] in text
        assert "value = 1 × (stored + 128)" in text
        shown = capsys.readouterr().out
        assert shown.startswith(f"{chosen['name']}/int8: test accuracy ")
        assert str(output / "int8.tflite") in shown

    def test_a_folder_is_copied_too(self, export, tmp_path):
        output = tmp_path / "a" / "b"
        self.pick(export, "--formats=saved_model", f"--output={output}")
        assert (output / "saved_model" / "saved_model.pb").is_file()

    def test_latency_limit(self, export, tmp_path, fails, capsys):
        flag = f"--exports={export}"
        assert "Run oekd bench first" in fails(pick.main, flag, "--max_latency_ms=9")
        bench.main([flag, "--device=a", "--runs=3", "--threads=1"])
        manifest = read_export(export)
        results = manifest["devices"]["a"]["results"]
        # As if one file were fast, so that the machine's other work does not decide.
        for key, found in results.items():
            found["threads"]["1"]["median_ms"] = 0.5 if key == "student_2/float32" else 5.0
        (export / "manifest.json").write_text(json.dumps(manifest))
        self.pick(export, "--max_latency_ms=1")
        card = json.loads((export.parent / "run_picked" / "card.json").read_text())
        assert (card["student"]["name"], card["format"]["name"]) == ("student_2", "float32")
        assert card["devices"]["a"]["results"]["threads"]["1"]["median_ms"] == 0.5
        assert "0.500 ms on a" in capsys.readouterr().out
        line = fails(pick.main, flag, "--max_latency_ms=1", "--threads=2")
        assert "--device=a --threads=2" in line
        line = fails(pick.main, flag, "--max_latency_ms=0.25", "--students=student_2")
        assert "The nearest is student_2/float32" in line
        assert "max_latency_ms by 100.0% (0.500 ms, limit 0.250 ms)" in line
        bench.main([flag, "--device=b", "--runs=1", "--threads=1", "--formats=int8"])
        line = fails(pick.main, flag, "--max_latency_ms=1")
        assert "--device must be one that was measured, of a, b. Received: none" in line
        line = fails(pick.main, flag, "--max_latency_ms=1", "--device=c")
        assert "Received: c" in line
        self.pick(export, "--max_latency_ms=1e6", "--device=b", f"--output={tmp_path / 'b'}")
        assert (tmp_path / "b" / "int8.tflite").exists()

    def test_activation_limit(self, export, fails):
        line = fails(pick.main, f"--exports={export}", "--max_activation_bytes=1")
        assert "The nearest is student_2/int8" in line
        self.pick(export, "--max_activation_bytes=2kB")
        assert (export.parent / "run_picked" / "int8.tflite").exists()
        line = fails(
            pick.main, f"--exports={export}", "--max_activation_bytes=1", "--formats=saved_model"
        )
        assert "applies to TFLite files" in line

    def test_nothing_fits(self, export, fails):
        line = fails(pick.main, f"--exports={export}", "--max_bytes=100", "--min_accuracy=99%")
        assert line.startswith("No file fits the limits. The nearest is student_2/int8, test acc")
        assert "it misses max_bytes by " in line
        assert " and min_accuracy by " in line
        assert not (export.parent / "run_picked").exists()

    def test_a_changed_file_is_not_delivered(self, export, fails):
        path = export / "student_2" / "int8.tflite"
        path.write_bytes(path.read_bytes() + b"\0")
        flags = f"--exports={export}", "--students=student_2", "--formats=int8"
        assert "must be the file that was exported" in fails(pick.main, *flags)
        assert [path.name for path in export.parent.iterdir()] == ["run"]

    def test_sizes_come_from_the_disk(self, export, fails):
        path = export / "manifest.json"
        manifest = json.loads(path.read_text())
        for student in manifest["students"]:
            for facts in student["formats"].values():
                facts["bytes"] = 100
        path.write_text(json.dumps(manifest))
        line = fails(pick.main, f"--exports={export}", "--max_bytes=1kB")
        assert re.search(r"must be the file that was exported\. Received: .* bytes, not 100", line)

    def test_what_was_deleted_is_left_out(self, export, capsys, fails):
        shutil.rmtree(export / "student_1" / "saved_model")
        (export / "student_1" / "float32.tflite").unlink()
        self.pick(export, "--formats=saved_model,float32")
        assert "student_1/float32 is not there any more, and left out" in capsys.readouterr().err
        shutil.rmtree(export / "student_2")
        line = fails(pick.main, f"--exports={export}", "--students=student_2")
        assert "The export must hold its files" in line

    @pytest.mark.parametrize("field", ["path", "link", "linked folder"])
    def test_a_path_that_leads_out_is_refused(self, export, tmp_path, fails, field):
        """A private file must not be carried into the folder that is shipped."""
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "int8.tflite").write_text("a private key")
        manifest = json.loads((export / "manifest.json").read_text())
        facts = manifest["students"][0]["formats"]
        flags = [f"--exports={export}", "--students=student_1", "--formats=int8"]
        if field == "path":
            for path in (str(secret / "int8.tflite"), "../../secret/int8.tflite", "a/../b", "."):
                facts["int8"]["path"] = path
                (export / "manifest.json").write_text(json.dumps(manifest))
                for command in (pick, bench):
                    assert "path must be below the manifest's folder" in fails(command.main, *flags)
            return
        if field == "link":
            (export / "student_1" / "int8.tflite").unlink()
            (export / "student_1" / "int8.tflite").symlink_to(secret / "int8.tflite")
        else:
            (export / "student_1" / "saved_model" / "assets.extra").symlink_to(secret)
            flags[-1] = "--formats=saved_model"
        line = fails(pick.main, *flags)
        assert re.search(r"must be the file that was exported\. Received: .* is a link", line)
        assert not (export.parent / "run_picked").exists()

    def test_a_path_through_what_is_not_there(self, export, fails):
        web = export.parent / "web"
        web.mkdir()
        (web / "index.html").write_text("mine")
        output = export.parent / "nowhere" / ".." / "web"
        line = fails(pick.main, f"--exports={export}", f"--output={output}", "--overwrite")
        assert "which this command did not write" in line
        assert (web / "index.html").read_text() == "mine"
        assert not (export.parent / "nowhere").exists()

    def test_what_is_there_stays_unless_overwritten(self, export, fails):
        output = export.parent / "run_picked"
        output.mkdir()
        (output / "mine.txt").write_text("mine")
        line = fails(pick.main, f"--exports={export}")
        assert re.search(r"--output must be .*Received: .*run_picked, which exists", line)
        assert [path.name for path in output.iterdir()] == ["mine.txt"]
        line = fails(pick.main, f"--exports={export}", "--overwrite")
        assert "Only a folder that was picked and holds nothing else, or is empty" in line
        # A file of this name marks no folder of ours, and what is beside one of ours is kept.
        (output / "card.json").write_text("{}")
        assert "did not write" in fails(pick.main, f"--exports={export}", "--overwrite")
        assert sorted(path.name for path in output.iterdir()) == ["card.json", "mine.txt"]
        shutil.rmtree(output)
        self.pick(export)
        (output / "mine.txt").write_text("mine")
        line = fails(pick.main, f"--exports={export}", "--overwrite")
        assert "run_picked, which holds mine.txt" in line
        (output / "mine.txt").unlink()
        self.pick(export, "--overwrite", "--formats=float32")
        assert (output / "float32.tflite").exists()
        for place in (export, export.parent):
            line = fails(pick.main, f"--exports={export}", f"--output={place}", "--overwrite")
            assert "must not be where the export is" in line
        assert read_export(export)

    def test_picked_file_runs(self, export, data):
        self.pick(export, "--formats=float32")
        images, labels = data.test_arrays(300)
        card = json.loads((export.parent / "run_picked" / "card.json").read_text())
        model = TfliteModel(export.parent / "run_picked" / "float32.tflite")
        accuracy = np.mean(model.logits(images).argmax(-1) == labels)
        assert accuracy == pytest.approx(card["format"]["accuracy"])
        assert accuracy > 0.3

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            ("--max_bytes=many", "--max_bytes: must be a size .* Received: 'many'"),
            ("--max_bytes=0", "Received: '0'"),
            ("--max_bytes=1e5", "Received: '1e5'"),
            ("--min_accuracy=80", "--min_accuracy: must be from 0 to 1.* Received: '80'"),
            ("--min_accuracy=nan", "Received: 'nan'"),
            ("--max_latency_ms=-1", "--max_latency_ms: must be a number above 0. Received: '-1'"),
            ("--formats=", "--formats must be among .* Received: none"),
        ],
    )
    def test_refusals(self, exported, fails, flag, message):
        assert re.search(message, fails(pick.main, f"--exports={exported}", flag))
