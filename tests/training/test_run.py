"""Runs from a config to files, in this process and as a user starts them."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import small_config

import oekd_tf
from oekd_tf import config as config_module
from oekd_tf import training
from oekd_tf.training import build as model_building
from oekd_tf.training.workdir import run_folder

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run: its workdir, summary and what was said."""
    workdir = tmp_path_factory.mktemp("run") / "small"
    said = []
    summary = training.train(small_config(), workdir, said.append)
    return workdir, summary, said


@pytest.mark.parametrize("only_student", [0, 2])
@pytest.mark.slow
def test_soft_labels_train_the_ensemble_and_its_baselines(tmp_path, only_student):
    config = small_config(
        epochs=1,
        only_student=only_student,
        data__augmentation=("random_resized_crop", "flip", "color_jitter"),
        data__mixup=0.2,
        data__cutmix=1.0,
        data__label_smoothing=0.1,
    )
    summary = training.train(config, tmp_path, lambda line: None)
    assert 0 <= summary["students"][-1]["test_accuracy"] <= 1
    (row,) = read_csv(run_folder(tmp_path, only_student) / "metrics.csv")
    # Cross-entropy against smoothed and mixed labels is never near 0.
    assert float(row["loss"]) > 0.3
    assert np.isfinite(float(row["val_loss"]))


class TestRun:
    def test_what_it_leaves(self, run):
        workdir, summary, _ = run
        names = {path.name for path in workdir.iterdir()}
        assert {"config.json", "metrics.csv", "tensorboard", "checkpoints", "summary.json"} < names
        assert {"report.md", "accuracy.png"} < names
        assert not any(".partial" in name for name in names)
        written = config_module.from_json((workdir / "config.json").read_text())
        assert config_module.first_difference(written, small_config()) is None
        assert written.method.arguments.distillation_weight == 2.0
        assert json.loads((workdir / "summary.json").read_text()) == summary
        assert (workdir / "accuracy.png").read_bytes()[:4] == b"\x89PNG"
        assert list((workdir / "tensorboard" / "train").iterdir())

    def test_metrics(self, run):
        rows = read_csv(run[0] / "metrics.csv")
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]
        for name in ("loss", "distillation_loss", "student_2_accuracy", "val_teacher_accuracy"):
            assert all(np.isfinite(float(row[name])) for row in rows)
        assert float(rows[-1]["loss"]) < float(rows[0]["loss"])

    def test_summary_against_the_restored_model(self, run):
        workdir, summary, _ = run
        _, data, ensemble = training.restore_run(workdir)
        images, labels = data.test_arrays()
        for entry, student in zip(summary["students"], ensemble.students, strict=True):
            predicted = student.predict(images, verbose=0).argmax(-1)
            assert entry["test_accuracy"] == pytest.approx((predicted == labels).mean())
        assert [entry["width"] for entry in summary["students"]] == [1.0, 0.25]
        assert summary["steps"] == 12

    def test_report(self, run):
        text = (run[0] / "report.md").read_text()
        first = run[1]["students"][0]
        assert f"{first['parameters']:,}" in text
        assert f"{100 * first['test_accuracy']:.2f}" in text
        assert "accuracy.png" in text
        assert "alone" not in text.split("Ensemble teacher")[0]
        assert "| student_2 |" in run[2][-1]

    def test_a_finished_run_is_not_trained_again(self, run):
        said = []
        before = (run[0] / "metrics.csv").stat().st_mtime_ns
        assert training.train(small_config(), run[0], said.append) == run[1]
        assert "is already finished. Choose another --workdir" in said[0]
        assert (run[0] / "metrics.csv").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_report_says_by_which_method_and_who_the_teacher_is(run, tmp_path):
    config = small_config(epochs=1, method__name="offline")
    config.method.arguments = {"teacher": str(run[0]), "temperature": 3.0}
    summary = training.train(config, tmp_path / "run", lambda line: None)
    teacher = run[1]["students"][0]["test_accuracy"]
    assert summary["teacher_test_accuracy"] == pytest.approx(teacher, abs=1e-6)
    text = (tmp_path / "run" / "report.md").read_text()
    assert "Method: offline (offline distillation), teacher=" in text
    assert "temperature=3.0. Data: " in text
    assert f"Fixed teacher: {teacher:.2%}." in text
    text = (run[0] / "report.md").read_text()
    assert "Method: oekd (online ensemble distillation). Data: " in text
    assert "Ensemble teacher (all students together): " in text


def test_a_stopped_run_goes_on_to_the_same_end(run, tmp_path):
    # What a run that was killed in its second epoch leaves.
    workdir = tmp_path / "small"
    shutil.copytree(run[0], workdir)
    for name in ("summary.json", "report.md", "accuracy.png"):
        (workdir / name).unlink()
    for epoch in (2, 3):
        shutil.rmtree(workdir / "checkpoints" / f"epoch_{epoch:05d}")
    said = []
    summary = training.train(small_config(), workdir, said.append)
    assert "resuming after epoch 1 of 3" in said
    for entry, expected in zip(summary["students"], run[1]["students"], strict=True):
        assert entry["test_accuracy"] == pytest.approx(expected["test_accuracy"], abs=0.01)
    _, _, one = training.restore_run(run[0])
    _, _, other = training.restore_run(workdir)
    assert int(other.optimizer.iterations) == 12
    for a, b in zip(one.variables, other.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-4, err_msg=a.path)
    rows, expected = (read_csv(w / "metrics.csv") for w in (workdir, run[0]))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for row, other_row in zip(rows, expected, strict=True):
        for name in row:
            assert float(row[name]) == pytest.approx(float(other_row[name]), rel=1e-3, abs=0.02)


@pytest.mark.slow
def test_baseline_is_the_ensembles_student_trained_by_itself(run, tmp_path):
    workdir = tmp_path / "small"
    shutil.copytree(run[0], workdir)
    said = []
    summary = training.train(small_config(only_student=2), workdir, said.append)
    assert summary["steps"] == run[1]["steps"]
    (alone,) = summary["students"]
    together = run[1]["students"][1]
    for name in ("name", "width", "parameters", "flops"):
        assert alone[name] == together[name]
    gain = 100 * (together["test_accuracy"] / alone["test_accuracy"] - 1)
    assert f"{gain:+.2f}" in said[-1]
    assert "gain %" in (workdir / "report.md").read_text()

    # In the run of the ensemble, too.
    both = small_config(baselines=(-1,), note="Nine of ten gain.")
    said, other = [], tmp_path / "both"
    assert training.train(both, other, said.append)["note"] == "Nine of ten gain."
    assert "training student 2 alone, for its gain ..." in said
    folder = "baseline_student_2"
    one, two = (training.restore_run(w / folder)[2] for w in (workdir, other))
    for a, b in zip(one.variables, two.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-4, err_msg=a.path)
    table = said[-1].splitlines()
    assert ["student_2" in line for line in table if "student_" in line] == [False, True]
    assert "gain %" in table[1]
    assert "Nine of ten gain." in table
    assert "\n\nNine of ten gain.\n\n" in (other / "report.md").read_text()
    # Started again, nothing is trained; nor is a finished baseline by itself.
    said.clear()
    training.train(both, other, said.append)
    training.train(small_config(only_student=2), other, said.append)
    assert not any("epoch" in line for line in said)

    # The same network with the same initial weights.
    data = training.load_data(small_config())
    strategy = tf.distribute.get_strategy()
    student = training.build_model(small_config(only_student=2), data, strategy)
    ensemble = training.build_model(small_config(), data, strategy)
    for a, b in zip(student.weights, ensemble.students[1].weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert type(student.optimizer) is type(ensemble.optimizer)


class TestRefusals:
    def test_config_that_contradicts_the_workdir(self, run):
        with pytest.raises(config_module.ConfigError, match=r"was made with config\.seed=0, not 1"):
            training.train(small_config(seed=1), run[0])

    def test_nan(self, tmp_path):
        config = small_config(optimizer__name="sgd", optimizer__learning_rate=1e20)
        with pytest.raises(oekd_tf.callbacks.NonFiniteLossError, match=r"(nan|inf).* at step \d"):
            training.train(config, tmp_path / "nan", lambda line: None)
        assert not (tmp_path / "nan" / "summary.json").exists()

    def test_existing_export_before_training(self, tmp_path):
        (tmp_path / "exports").mkdir()
        config = small_config(
            export__formats=("float32",), export__output=str(tmp_path / "exports")
        )
        with pytest.raises(config_module.ConfigError, match=r"config\.export\.output must be"):
            training.train(config, tmp_path / "run", lambda line: None)
        assert not (tmp_path / "run" / "metrics.csv").exists()

    def test_batch_larger_than_the_data(self, tmp_path):
        with pytest.raises(ValueError, match=r"batch_size must be from 1 to .* 128"):
            training.train(small_config(batch_size=200), tmp_path / "run", lambda line: None)
        # A refused config leaves nothing that would stand in the way of the mended one.
        assert not (tmp_path / "run").exists()

    def test_no_test_split(self, tmp_path):
        for name in ("a", "b"):
            folder = tmp_path / "images" / "train" / name
            folder.mkdir(parents=True)
            for index in range(40):
                keras.utils.save_img(folder / f"{index}.png", np.full((8, 8, 3), index, np.uint8))
        config = small_config(data__source="image_folder", data__image_size=(8, 8))
        config.data.data_dir = str(tmp_path / "images")
        with pytest.raises(config_module.ConfigError, match=r"config\.data\.test_split must be"):
            training.train(config, tmp_path / "run", lambda line: None)

    def test_no_run_to_restore(self, tmp_path):
        with pytest.raises(config_module.ConfigError, match=r"must hold a run's config\.json"):
            training.restore_run(tmp_path)


class TestOptimizers:
    @pytest.mark.parametrize(
        ("name", "kind"), [("adam", oekd_tf.optimizers.Adam), ("sgd", oekd_tf.optimizers.SGD)]
    )
    def test_l2(self, name, kind):
        config = small_config(optimizer__name=name, optimizer__l2=1e-4)
        optimizer = model_building.make_optimizer(config, 10)
        assert type(optimizer) is kind
        assert optimizer.l2 == 1e-4
        assert optimizer.weight_decay is None

    def test_adamw(self):
        config = small_config(optimizer__name="adamw", optimizer__weight_decay=0.05)
        assert model_building.make_optimizer(config, 10).weight_decay == 0.05

    def test_paper_schedule_in_epochs(self):
        config = small_config(epochs=350, schedule__name="step", schedule__step_epochs=(200, 300))
        rate = model_building.make_optimizer(config, 10)._learning_rate
        values = [float(rate(step)) for step in (0, 1999, 2000, 2999, 3000)]
        np.testing.assert_allclose(values, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5], rtol=1e-5)

    def test_cosine_with_warmup_in_epochs(self):
        config = small_config(epochs=10, schedule__name="cosine", schedule__warmup_epochs=2.0)
        rate = model_building.make_optimizer(config, 10)._learning_rate
        values = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
        np.testing.assert_allclose(values, [0, 5e-4, 1e-3, 5e-4, 0], atol=1e-8)


def start(*arguments, cwd, module="oekd_tf.train"):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


SMALL = (
    "--config.epochs=1",
    "--config.schedule.name=constant",
    "--config.batch_size=32",
    "--config.data.max_examples=128",
    "--config.ensemble.widths=(1.0, 0.25)",
    "--config.export.max_accuracy_drop=0.5",
)


class TestBinary:
    def test_trains_exports_and_says_so(self, tmp_path):
        done = start("--config.export.calibration_images=50", *SMALL, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "| student_2 |  0.25 |" in done.stdout
        assert "int8 kB" in done.stdout
        assert (tmp_path / "runs" / "demo" / "accuracy.png").exists()
        manifest = oekd_tf.export.read_manifest(tmp_path / "savedmodels" / "demo")
        assert manifest["calibration_images"] == 50
        assert manifest["made_by"]["config"]["epochs"] == 1
        assert [student["width"] for student in manifest["students"]] == [1.0, 0.25]

    @pytest.mark.slow
    def test_exports_a_finished_run_again(self, tmp_path):
        done = start("--config.export.formats=('float32',)", *SMALL, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        again = start(
            f"--workdir={tmp_path / 'runs' / 'demo'}",
            "--output=other",
            "--formats=float32,qat_int8",
            "--set=fine_tuning.epochs=1",
            "--set=export.max_accuracy_drop=1",
            "--set=fine_tuning.learning_rate=0.0001",
            cwd=tmp_path,
            module="oekd_tf.export",
        )
        assert again.returncode == 0, again.stderr
        assert again.stderr == ""
        assert "fine-tuning qat: epoch 1/1 loss " in again.stdout
        assert "| student_2 | qat_int8 |" in again.stdout
        files = {p.name for p in (tmp_path / "other" / "student_2").iterdir()}
        assert files == {"float32.tflite", "qat_int8.tflite", "labels.txt"}
        assert (tmp_path / "other" / "trade_off.png").stat().st_size > 10_000

    @pytest.mark.slow
    def test_two_replicas(self, tmp_path):
        done = start(
            *SMALL, "--config.strategy=mirrored", "--config.logical_cpus=2",
            "--config.export.formats=('float32',)", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        summary = json.loads((tmp_path / "runs" / "demo" / "summary.json").read_text())
        assert summary["replicas"] == 2
        assert (tmp_path / "savedmodels" / "demo" / "student_2" / "float32.tflite").exists()

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            (
                "--config.loss.temperature=0.0",
                "config.method.arguments.temperature must be above 0 and at most 1000000. Rec",
            ),
            (
                "--config.schedule.nmae=2.0",
                "error: Unknown config field schedule.nmae. Did you mean schedule.name? "
                "--helpfields lists all. Received: --config.schedule.nmae=2.0",
            ),
            (
                "--config.method.arguments.tempreture=2.0",
                "config.method.arguments must suit 'oekd'",
            ),
            ("--config.epochs=many", "many"),
            ("--config.data.source=no_such_set", "must be known to TFDS"),
            ("--config=none.py", "none.py"),
            ("stray", "Only flags are allowed. Received: 'stray'"),
        ],
    )
    def test_refusals(self, tmp_path, flag, message):
        done = start(flag, "--config.data.download=false", cwd=tmp_path)
        assert done.returncode not in (0, None)
        assert message in done.stderr
        assert not (tmp_path / "runs" / "demo" / "metrics.csv").exists()


@pytest.mark.slow
def test_mixed_precision_run(tmp_path):
    config = small_config(precision="mixed_float16", epochs=1)
    summary = training.train(config, tmp_path / "run", lambda line: None)
    assert summary["students"][1]["test_accuracy"] > 0
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
def test_a_student_alone_has_a_scaled_loss_under_mixed_precision(tmp_path):
    config = small_config(precision="mixed_float16", epochs=1, only_student=2)
    training.train(config, tmp_path / "run", lambda line: None)
    (path,) = (tmp_path / "run").rglob("arrays.npz")
    with np.load(path) as arrays:
        # The loss scale that Keras begins with is a variable of the optimizer.
        assert any(arrays[name].shape == () and arrays[name] == 2**15 for name in arrays.files)
    (path,) = (tmp_path / "run").rglob("student.keras")
    assert keras.models.load_model(path).output_shape == (None, 10)
