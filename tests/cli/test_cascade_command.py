"""The threshold of an export's cascade, from a run's own validation split."""

import json

import numpy as np
import pytest
from PIL import Image

from oekd_tf.cli import bench, classify
from oekd_tf.cli.cascade import _drop_lines
from oekd_tf.cli.cascade import main as find_threshold
from oekd_tf.config import default_config, to_json
from oekd_tf.core.files import write_text
from oekd_tf.device import TfliteModel
from oekd_tf.device.cascade import PairedDrop, choose_threshold, evaluate_cascade
from oekd_tf.device.exported import read_export

PAIR = "--cascade=student_2,student_1"


@pytest.fixture
def workdir(tmp_path):
    config = default_config()
    config.data.max_examples = 1500
    write_text(tmp_path / "run" / "config.json", to_json(config))
    return tmp_path / "run"


def find(export, workdir, *flags):
    find_threshold([f"--exports={export}", f"--workdir={workdir}", PAIR, *flags])
    return read_export(export)


def logits(export, images, form):
    paths = [export / name / f"{form}.tflite" for name in ("student_2", "student_1")]
    return [TfliteModel(path).logits(images) for path in paths]


def test_threshold_is_of_validation_and_figures_of_test(export, workdir, data, capsys):
    before = read_export(export)
    manifest = find(export, workdir, "--max_accuracy_drop=2%")
    found = manifest.pop("cascades")
    assert manifest == before
    (entry,) = found.values()
    assert list(found) == ["student_2,student_1/int8"]
    costs = [student["flops"] for student in before["students"]][::-1]
    assert (entry["small_cost"], entry["large_cost"], entry["cost"]) == (*costs, "FLOPs")
    images, labels = data.validation_arrays()
    chosen = choose_threshold(*logits(export, images, "int8"), labels, *costs, 0.02)
    assert entry["threshold"] == pytest.approx(chosen.threshold)
    assert 0 < chosen.share_asked < 1
    assert entry["validation"]["accuracy"] == pytest.approx(chosen.accuracy)
    images, labels = data.test_arrays()
    small, large = logits(export, images, "int8")
    on_test = evaluate_cascade(chosen.threshold, small, large, labels, *costs)
    assert entry["test"]["images"] == len(labels) == data.num_test
    assert entry["test"]["accuracy"] == pytest.approx(on_test.accuracy)
    assert entry["test"]["mean_cost"] == pytest.approx(on_test.mean_cost)
    assert entry["test"]["large_accuracy"] == pytest.approx(np.mean(large.argmax(-1) == labels))
    assert entry["sha256"] == [s["formats"]["int8"]["sha256"] for s in before["students"][::-1]]
    shown = capsys.readouterr().out
    (row,) = [line for line in shown.splitlines() if line.startswith("| cascade ")]
    validation, test = (f"{100 * entry[split]['accuracy']:.2f}" for split in ("validation", "test"))
    assert row.split()[3:6:2] == [validation, test]
    cascade_right = entry["test"]["accuracy"] * len(labels)
    lost, won = (entry["test"][name] for name in ("lost", "won"))
    assert cascade_right == pytest.approx(np.sum(large.argmax(-1) == labels) - lost + won)
    drop = 100 * entry["test"]["drop"]
    assert f"test: a drop of {drop:.2f} points, 95 % interval [" in shown
    promised = 100 * (entry["validation"]["large_accuracy"] - entry["validation"]["accuracy"])
    assert f"validation promises a drop of {promised:.2f} points from student_1 alone" in shown
    assert "of 2.00 allowed" in shown
    assert "asks student_1 where the top probability is below" in shown


def test_another_runs_data_are_refused(export, workdir, fails):
    config = default_config()
    config.data.max_examples = 1500
    config.data.split_seed = 1
    write_text(workdir / "config.json", to_json(config))
    flags = f"--exports={export}", f"--workdir={workdir}", PAIR
    assert "--workdir must be the run that the export is from" in fails(find_threshold, *flags)


def test_latency_as_cost_and_classify_with_it(export, workdir, data, tmp_path, fails, capsys):
    flags = f"--exports={export}", f"--workdir={workdir}", PAIR, "--device=a"
    assert "Run oekd bench first" in fails(find_threshold, *flags)
    bench.main([f"--exports={export}", "--device=a", "--threads=1", "--runs=2"])
    manifest = read_export(export)
    results = manifest["devices"]["a"]["results"]
    for key, found in results.items():
        found["threads"]["1"]["median_ms"] = 1.5 if "student_1" in key else 0.5
    (export / "manifest.json").write_text(json.dumps(manifest))
    find(export, workdir)
    manifest = find(export, workdir, "--device=a", "--format=float32")
    assert list(manifest["cascades"]) == ["student_2,student_1/int8", "student_2,student_1/float32"]
    entry = manifest["cascades"]["student_2,student_1/float32"]
    assert (entry["small_cost"], entry["large_cost"]) == (0.5, 1.5)
    assert entry["cost"] == "ms on a, threads: 1"
    test = entry["test"]
    assert test["mean_cost"] == pytest.approx(0.5 + 1.5 * test["share_asked"])
    line = fails(find_threshold, *flags, "--threads=2")
    assert "No latency of student_2/int8 was measured on a with --threads=2" in line
    Image.fromarray(data.test_arrays(1)[0][0, ..., 0]).save(tmp_path / "image.png")
    capsys.readouterr()
    classify.main([f"--exports={export}", PAIR, "--json", str(tmp_path / "image.png")])
    assert json.loads(capsys.readouterr().out)["model"] in ("student_1", "student_2")


def test_a_leak_is_remarked():
    kept = PairedDrop(lost=3, won=1, drop=0.004, low=-0.004, high=0.01)
    results = {"test": {"images": 2000}}
    lost = PairedDrop(lost=33, won=7, drop=0.013, low=0.0069, high=0.018)
    *_, remark = _drop_lines("student_1", 0.005, {"validation": kept, "test": lost}, results)
    assert remark.startswith("Remark: the test drop is clearly larger than allowed.")
    assert "split by group" in remark
    lines = _drop_lines("student_1", 0.01, {"validation": kept, "test": lost}, results)
    assert lines == [
        "validation promises a drop of 0.40 points from student_1 alone, of 1.00 allowed",
        "test: a drop of 1.30 points, 95 % interval [0.69, 1.80]; of 2,000 images 33 lost, 7 won",
        "Remark: the test drop is larger than allowed, which may be chance.",
    ]


def test_refusals(export, workdir, tmp_path, fails):
    given = f"--exports={export}", f"--workdir={workdir}"
    assert "the student that costs less first" in fails(
        find_threshold, *given, "--cascade=student_1,student_2"
    )
    assert "two students" in fails(find_threshold, *given, "--cascade=student_1,student_1")
    assert "must hold student_7 as int8" in fails(
        find_threshold, *given, "--cascade=student_7,student_1"
    )
    line = fails(find_threshold, *given, PAIR, "--format=saved_model")
    assert "must be a TFLite format. Received: saved_model" in line
    line = fails(find_threshold, given[0], f"--workdir={tmp_path}", PAIR)
    assert "must hold a run's config.json" in line
    config = default_config()
    config.data.validation_fraction = 0.0
    write_text(workdir / "config.json", to_json(config))
    assert "needs a validation split" in fails(find_threshold, *given, PAIR)
    assert "cascades" not in read_export(export)
