"""Classes in the summary and the report of a run."""

import json

import numpy as np
import pytest
from PIL import Image
from small_runs import small_config

from oekd_tf import training
from oekd_tf.training import report
from oekd_tf.training.confusion import draw_confusion
from oekd_tf.training.workdir import run_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "small"
    return workdir, training.train(small_config(), workdir, lambda line: None)


@pytest.mark.integration
class TestRun:
    def test_against_the_restored_model(self, run):
        workdir, summary = run
        _, data, ensemble = training.restore_run(workdir)
        images, labels = data.test_arrays()
        outputs = ensemble.predict(images, verbose=0)
        found = summary["per_class"]
        assert found["class_names"] == data.class_names
        assert found["test_examples"] == [200] * 10
        assert found["train_examples"] == data.class_counts.tolist()
        assert sum(found["train_examples"]) == 128
        assert list(found["networks"]) == ["student_1", "student_2", "teacher"]
        for name, scores in found["networks"].items():
            hits = outputs[name].argmax(-1) == labels
            recall = [hits[labels == c].mean() for c in range(10)]
            assert scores["recall"] == pytest.approx(recall, abs=2e-6)
            assert scores["balanced_accuracy"] == pytest.approx(np.mean(recall), abs=2e-6)
            assert scores["worst_recall"] == pytest.approx(min(recall), abs=2e-6)
            assert scores["worst_class"] == data.class_names[int(np.argmin(recall))]
        with np.load(workdir / "confusion.npz") as arrays:
            assert arrays["teacher"].sum() == 2000

    def test_report(self, run):
        workdir, summary = run
        text = (workdir / "report.md").read_text()
        assert "## Classes" in text
        assert "| balanced accuracy % |" in text
        assert "Training images of a class: " in text
        one = summary["per_class"]["networks"]["student_2"]
        assert one["worst_class"] in text
        assert (workdir / "confusion.png").read_bytes()[:4] == b"\x89PNG"
        assert text.count("| Sneaker") == 1

    def test_a_student_alone(self, run):
        summary = training.train(small_config(only_student=2), run[0], lambda line: None)
        assert list(summary["per_class"]["networks"]) == ["student_2"]
        assert (run_folder(run[0], 2) / "confusion.npz").exists()

    @pytest.mark.slow
    def test_replicas(self, tmp_path):
        config = small_config(epochs=1, strategy="mirrored", logical_cpus=2)
        summary = training.train(config, tmp_path / "run", lambda line: None)
        assert summary["replicas"] == 2
        balanced = summary["per_class"]["networks"]["teacher"]["balanced_accuracy"]
        # All classes have 200 test images.
        assert balanced == pytest.approx(summary["teacher_test_accuracy"], abs=1e-3)


def summary_of(classes, teacher=0.5):
    networks = {}
    for name, low in (("student_1", 0.4), ("student_2", 0.2), ("teacher", 0.3)):
        recall = np.linspace(low, 1, classes).tolist()
        networks[name] = {
            "balanced_accuracy": float(np.mean(recall)), "worst_class": "0", "worst_recall": low,
            "recall": recall,
        }  # fmt: skip
    student = {"width": 1.0, "parameters": 100, "flops": 10}
    return {
        "name": "hand", "seed": 0, "epochs": 1, "steps": 1, "replicas": 1, "train_seconds": 1.0,
        "data": "some", "test_logs": {}, "versions": {},
        "students": [
            {"name": "student_1", **student, "test_accuracy": 0.6},
            {"name": "student_2", **student, "test_accuracy": 0.4},
        ],
        "teacher_test_accuracy": teacher,
        "per_class": {
            "class_names": [str(c) for c in range(classes)], "train_examples": None,
            "test_examples": [7] * classes, "networks": networks,
        },
    }  # fmt: skip


def written(tmp_path, summary):
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    said = report.write_report(tmp_path)
    return (tmp_path / "report.md").read_text(), said


def test_a_teacher_behind_student_1_is_remarked(tmp_path):
    remark = "**It is less accurate than student 1** (60.00%)"
    text, said = written(tmp_path, summary_of(3, teacher=0.5))
    assert remark in text
    assert remark in said
    assert "less accurate" not in written(tmp_path, summary_of(3, teacher=0.61))[0]


def test_many_classes(tmp_path):
    text, _ = written(tmp_path, summary_of(300))
    assert "The 100 of 300 classes that student_2 does worst at by recall" in text
    assert "training images" not in text
    assert "| 99 " in text
    assert "| 100 " not in text


def test_a_summary_of_before(tmp_path):
    summary = summary_of(3)
    del summary["per_class"]
    assert "## Classes" not in written(tmp_path, summary)[0]


@pytest.mark.parametrize("count", [2, 10, 43, 100, 1000])
def test_picture(tmp_path, rng, count):
    matrix = rng.integers(0, 3, (count, count)) + 50 * np.eye(count, dtype=int)
    matrix[1] = 0
    matrices = {"student_1": matrix, "student_3": matrix, "teacher": matrix}
    names = [f"a long name of class {c}" for c in range(count)]
    draw_confusion(matrices, names, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        # A cell has pixels to be seen by.
        assert picture.width > 2 * count
        assert picture.height > count
