"""Damaged files of every kind that this package writes: one line, never a traceback or a lie."""

import contextlib
import gzip
import hashlib
import io
import json
import random
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mutations import damaged_bytes, versions
from PIL import Image

from oekd_tf.cli import bench, classify, pick, selftest
from oekd_tf.core.array_files import read_arrays
from oekd_tf.core.json_files import digest
from oekd_tf.data import check
from oekd_tf.device.contract import read_contract
from oekd_tf.device.diagnosis import diagnose_inputs
from oekd_tf.device.exported import exported_files, find_file, read_export
from oekd_tf.device.golden import encoded
from oekd_tf.device.manifest import file_facts
from oekd_tf.device.predictions import read_labels
from oekd_tf.studies import collect, plan, report, results
from oekd_tf.studies.csv_files import runs_csv, summary_csv
from oekd_tf.studies.evaluate_run import read_curves
from oekd_tf.training import contract, restore
from oekd_tf.training import report as run_report
from oekd_tf.training.callbacks import checkpoint_files

ROOT = Path(__file__).parents[2]
OF_0_1 = ROOT / "tests" / "written_by_0_1"
QUICK, MANY = 40, 1600
# Pictures take a hundred times as long as the rest.
DRAWN = 25

CONTRACT = {
    "oekd_tf": "0.2.0", "data": "some", "class_names": [str(c) for c in range(10)],
    "image_shape": [28, 28, 1], "mean": [1.0], "std": [2.0], "class_counts": [3] * 10,
    "preparation": {"orientation": "exif", "crop": 0.9, "resize": "bilinear", "antialias": True},
    "splits": {name: {"examples": 3, "fingerprint": "a"} for name in ("train", "test")},
}  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """An export that was measured and has a cascade, a run, and a picture."""
    export = tmp_path / "export"
    shutil.copytree(OF_0_1 / "export", export)
    shutil.copytree(OF_0_1 / "run", tmp_path / "run")
    Image.new("L", (28, 28)).save(tmp_path / "image.png")
    manifest = read_export(export)
    times = {"median_ms": 1.0, "p90_ms": 2.0, "runs": 5}
    measured = {
        file.key: {
            "bytes": file.facts["bytes"], "sha256": file.facts["sha256"], "batch_size": 1,
            "peak_activation_bytes": 100, "threads": {"1": times, "4": times},
        }
        for file in exported_files(manifest)
    }  # fmt: skip
    device = {"cpu": "c", "platform": "p", "litert": "2", "time": "2026"}
    split = {
        "images": 4, "small_accuracy": 0.5, "large_accuracy": 0.5, "accuracy": 0.5,
        "mean_cost": 1.0, "share_asked": 0.5,
    }  # fmt: skip
    pair = [
        find_file(manifest, name, "int8").facts["sha256"] for name in ("student_2", "student_1")
    ]
    manifest |= {
        "devices": {"pi": {**device, "results": measured}},
        "cascades": {
            "student_2,student_1/int8": {
                "threshold": 0.5, "max_accuracy_drop": 0.0, "cost": "FLOPs", "small_cost": 1.0,
                "large_cost": 2.0, "sha256": pair, "validation": split, "test": split,
            }
        },
        "checked_on_images_of_class": [200] * 10,
        "contract": {**CONTRACT, "class_names": manifest["class_names"]},
    }  # fmt: skip
    write(export / "manifest.json", manifest)
    return tmp_path


def write(path, value):
    path.write_text(json.dumps(value))


def load(path):
    return json.loads(path.read_text())


def refused(function, *arguments):
    """Whether it was refused in one line; what it printed is thrown away."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            function(*arguments)
        except SystemExit as stop:
            line = str(stop.code)
        except (ValueError, OSError) as error:
            line = str(error)
        else:
            return False
    assert "\n" not in line
    # A rule of this package, not an error of Python's that says nothing to a user.
    assert re.search("must (be|have|hold|name|suit)|No file fits|Use oekd_tf 0.1|^1$", line), line
    return True


def take(export, path):
    """What `oekd bench --merge` does, but for the picture."""
    devices = bench.read_results(path)
    bench.update_manifest(export, lambda manifest: bench.merge(manifest, devices))


def try_manifest(place, rng, count):
    export, out = place / "export", place / "out"
    manifest = load(export / "manifest.json")
    genuine = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.stat().st_size
        for path in export.rglob("*.tflite")
    }
    write(place / "pi.json", {"devices": manifest["devices"]})
    flags = [f"--exports={export}", f"--output={out}", "--max_bytes=7kB", "--max_latency_ms=3"]
    cascade = [f"--exports={export}", "--cascade=student_2,student_1", str(place / "image.png")]
    model = [f"--model={export / 'student_1' / 'int8.tflite'}", str(place / "image.png")]
    for content, _ in versions(manifest, rng, count):
        (export / "manifest.json").write_bytes(content)
        if not refused(pick.main, flags):
            (file,) = out.glob("*.tflite")
            assert genuine[hashlib.sha256(file.read_bytes()).hexdigest()] <= 7000
            shutil.rmtree(out)
        refused(classify.main, cascade)
        refused(classify.main, model)
        assert (export / "manifest.json").read_bytes() == content
        if not refused(take, export, place / "pi.json"):
            read_export(export)


def try_measurements(place, rng, count):
    export, path = place / "export", place / "pi.json"
    before = (export / "manifest.json").read_bytes()
    value = {"devices": load(export / "manifest.json")["devices"]}
    for content, number in versions(value, rng, count):
        path.write_bytes(content)
        if refused(take, export, path):
            assert (export / "manifest.json").read_bytes() == before
        else:
            read_export(export)
            if number % DRAWN == 0:
                bench._draw(read_export(export), export)
            (export / "manifest.json").write_bytes(before)


def try_card(place, rng, count):
    pick.main([f"--exports={place / 'export'}", f"--output={place / 'out'}"])
    path = place / "out" / "card.json"
    (model,) = place.glob("out/*.tflite")
    for content, _ in versions(load(path), rng, count):
        path.write_bytes(content)
        refused(read_contract, model)
        flags = [f"--exports={place / 'export'}", f"--output={place / 'out'}"]
        refused(pick.main, flags)
        assert path.read_bytes() == content


def try_golden(place, rng, count):
    export = place / "export"
    manifest = read_export(export)
    shape, names = manifest["contract"]["image_shape"], manifest["class_names"]
    folder = export / "selftest"
    folder.mkdir()
    image = np.arange(int(np.prod(shape))).reshape(shape).astype(np.uint8)
    Image.fromarray(image.squeeze()).save(folder / "picture_1.png")
    facts = find_file(manifest, "student_2", "int8").facts
    value = {
        "contract": {**CONTRACT, "image_shape": shape, "class_names": names},
        "images": [{"file": "picture_1.png", "input": encoded(image), "label": "2"}],
        "files": {
            "student_2/int8": {
                "path": facts["path"], "sha256": facts["sha256"], "tolerance": 1e6,
                "logits": [[0.0] * len(names)],
            }
        },
    }  # fmt: skip
    for content, number in versions(value, rng, count):
        (folder / "golden.json").write_bytes(content)
        write(export / "manifest.json", {**manifest, "selftest": file_facts(folder, export)})
        refused(selftest.main, [f"--exports={export}"])
        if number % DRAWN == 0:
            refused(diagnose_inputs, export, {"picture_1.png": image.tolist()})
        refused(pick.main, [f"--exports={export}", f"--output={place / 'out'}"])
        shutil.rmtree(place / "out", ignore_errors=True)


def try_contract_inside(place, rng, count):
    lone = place / "lone.tflite"
    network = (place / "export" / "student_1" / "int8.tflite").read_bytes()
    for content, _ in versions(CONTRACT, rng, count):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr("contract.json", content)
        lone.write_bytes(network + archive.getvalue())
        refused(classify.main, [f"--model={lone}", str(place / "image.png")])
        lone.write_bytes(network + damaged_bytes(archive.getvalue(), rng))
        refused(classify.main, [f"--model={lone}", str(place / "image.png")])


def try_labels(place, rng, count):
    model = place / "export" / "student_1" / "int8.tflite"
    path = model.parent / "labels.txt"
    content = "".join(f"class {c}\n" for c in range(10)).encode()
    for _ in range(count):
        path.write_bytes(damaged_bytes(content, rng))
        if not refused(read_labels, None, model, 10):
            assert len(read_labels(None, model, 10)) == 10


def try_summary(place, rng, count):
    path = place / "run" / "summary.json"
    value = load(path)
    value["exports"] = str(place / "export")
    names = [student["name"] for student in value["students"]]
    scores = {
        "balanced_accuracy": 0.5, "worst_class": "a", "worst_recall": 0.2, "recall": [0.2, 0.8]
    }  # fmt: skip
    value["per_class"] = {
        "class_names": ["a", "b"], "train_examples": [3, 4], "test_examples": [5, 6],
        "networks": dict.fromkeys([*names, "teacher"], scores),
    }  # fmt: skip
    value["early_stopping"] = {
        "monitor": "val_loss", "best_value": 1.5, "best_epoch": 1, "stopped_epoch": 2,
        "planned_epochs": 3, "restored_epoch": 1,
    }  # fmt: skip

    def rows():
        summary = run_report.read_summary(path.parent)
        run_report.student_rows(summary, {}, run_report._manifest(summary))
        run_report.class_section(summary, path.parent)

    for content, number in versions(value, rng, count):
        path.write_bytes(content)
        refused(run_report.write_report if number % DRAWN == 0 else rows_of(rows), path.parent)


def rows_of(rows):
    return lambda _: rows()


def try_results(place, rng, count):
    value = load(ROOT / "docs" / "studies" / "demo" / "results.json")
    value["runs"] = [run for run in value["runs"] if run["seed"] < 2]
    for run in value["runs"]:
        run["curves"] = {name: values[:3] for name, values in run["curves"].items()}
    path = place / "results.json"

    def text(folder):
        found = results.read(folder / "results.json")
        report.markdown(found)
        summary_csv(report.methods(found))
        runs_csv(found["runs"])

    for content, number in versions(value, rng, count):
        path.write_bytes(content)
        refused(report.write_report if number % DRAWN == 0 else text, place)


def try_evaluation(place, rng, count):
    summary = load(place / "run" / "summary.json")
    names = [student["name"] for student in summary["students"]]
    value = {
        "config": {}, "summary": summary, "image_shape": [28, 28, 1], "num_classes": 10,
        "curves": {"epoch": [1, 2], "loss": [0.5, 0.4]}, "commit": None,
        "machine": {"processor": "p", "cores": 2}, "versions": {},
    }  # fmt: skip
    run = plan.Run("ensemble", 0, 0, {}, "seed_0", "seed_0")
    folder = place / "study" / run.folder
    folder.mkdir(parents=True)
    logits = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    arrays = dict.fromkeys((*names, "teacher"), logits)
    np.savez(folder / "test_logits.npz", labels=np.arange(20) % 10, **arrays)
    write(folder / "evaluation.json", value)
    assert collect.record(run, place / "study", run.folder)["test_images"] == 20
    for content, _ in versions(value, rng, count):
        (folder / "evaluation.json").write_bytes(content)
        refused(collect.record, run, place / "study", run.folder)
    write(folder / "evaluation.json", value)
    good = (folder / "test_logits.npz").read_bytes()
    for _ in range(count):
        (folder / "test_logits.npz").write_bytes(damaged_bytes(good, rng))
        refused(collect.record, run, place / "study", run.folder)


def try_config(place, rng, count):
    path = place / "run" / "config.json"
    for content, _ in versions(load(path), rng, count):
        path.write_bytes(content)
        refused(restore.read_config, path.parent)


def try_contract(place, rng, count):
    path = place / "run" / "contract.json"
    for content, _ in versions(CONTRACT, rng, count):
        path.write_bytes(content)
        if not refused(contract.read_contract, path.parent):
            found = contract.read_contract(path.parent)
            assert min(found["std"]) > 0
            assert len(found["class_names"]) >= 1
    write(path, CONTRACT)
    good = gzip.compress(json.dumps({"train": ["a.png", "b.png"], "test": ["c.png"]}).encode())
    for _ in range(count):
        (path.parent / "data_files.json.gz").write_bytes(damaged_bytes(good, rng))
        refused(contract.recorded, path.parent)


def try_checkpoint(place, rng, count):
    for folder in (place / "run" / "checkpoints").iterdir():
        path = folder / "checkpoint.json"
        state = {"name": folder.name, **load(path), "best": {"value": 0.5, "epoch": 1, "waited": 0}}
        state["best"]["waited"] = state["epochs"] - 1
        state["digest"] = digest(state)
        write(path, state)
        assert not checkpoint_files.find_damage(folder)
        for content, _ in versions(state, rng, count // 2):
            path.write_bytes(content)
            same = False
            with contextlib.suppress(ValueError):
                # Not as Python compares: True is no 1.
                same = json.dumps(json.loads(content)) == json.dumps(state)
            damage = checkpoint_files.find_damage(folder)
            assert bool(damage) != same, content
            assert "\n" not in damage


def try_metrics(place, rng, count):
    path = place / "run" / "metrics.csv"
    content = path.read_bytes()
    for _ in range(count):
        path.write_bytes(damaged_bytes(content, rng))
        if not refused(read_curves, path):
            assert all(np.isfinite(values).all() for values in read_curves(path).values())


def try_arrays(place, rng, count):
    path = place / "confusion.npz"
    np.savez_compressed(path, student_1=np.eye(3, dtype=int), teacher=np.eye(3, dtype=int))
    content = path.read_bytes()
    for _ in range(count):
        path.write_bytes(damaged_bytes(content, rng))
        refused(read_arrays, path, "arrays", ValueError)


def try_data_check(place, rng, count):
    value = {
        "name": "photos", "class_names": ["a"], "counts": {"train": [3]}, "formats": {"PNG": 3},
        "sizes": [[8, 8, 3]], "unreadable": [], "problems": [], "notes": [],
    }  # fmt: skip
    for content, _ in versions(value, rng, count):
        (place / "data_check.json").write_bytes(content)
        assert check._known_files(place) is None or json.loads(content)["name"] is not None


WAYS = [function for name, function in list(globals().items()) if name.startswith("try_")]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("try_"))
def test_some(way, place):
    way(place, random.Random(0), QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("try_"))
def test_many(way, place):
    way(place, random.Random(1), MANY)
