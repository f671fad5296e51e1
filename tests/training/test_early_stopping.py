"""A run that ends early with its best epoch, also one that is killed on the way."""

import csv
import json
import signal
from pathlib import Path

import keras
import networks  # noqa: F401 (registers the network that is loaded)
import numpy as np
import pytest
import small_runs

from oekd_tf import config as c
from oekd_tf.core.errors import CheckpointError, ConfigError
from oekd_tf.core.paper import OEKD_ARGUMENTS
from oekd_tf.training import restore_run

MONITOR = "val_student_1_accuracy"
FLAGS = (
    "--config.epochs=9", f"--config.early_stopping.monitor={MONITOR}",
    "--config.early_stopping.patience=2",
    # With the paper's loss student 1 is at its best before the end.
    *(f"--config.method.arguments.{name}={value}" for name, value in OEKD_ARGUMENTS.items()),
)  # fmt: skip


def start(folder, *more, **point):
    return small_runs.start(folder, *FLAGS, *more, **point)


def values(folder):
    rows = csv.DictReader((folder / "run" / "metrics.csv").read_text().splitlines())
    return [float(row[MONITOR]) for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    done = start(folder)
    assert done.returncode == 0, done.stderr
    return folder


def best_folder(folder):
    (path,) = (folder / "run" / "best").iterdir()
    return path


@pytest.mark.integration
class TestRun:
    def test_it_ends_early_with_the_best_epoch(self, uninterrupted):
        found = values(uninterrupted)
        best = int(np.argmax(found)) + 1
        # The values are of this seed: neither the first epoch nor the last is the best.
        assert 1 < best == len(found) - 2 < 7
        summary = json.loads((uninterrupted / "run" / "summary.json").read_text())
        assert summary["early_stopping"] == {
            "monitor": MONITOR, "best_value": max(found), "best_epoch": best,
            "stopped_epoch": best + 2, "planned_epochs": 9, "restored_epoch": best,
        }  # fmt: skip
        assert summary["epochs"] == best + 2
        assert summary["steps"] == 8 * (best + 2)
        report = (uninterrupted / "run" / "report.md").read_text()
        assert f"Test accuracy with the weights of epoch {best} (stopped after epoch " in report
        assert best_folder(uninterrupted).name == f"epoch_{best:05}"

    def test_what_is_restored_saved_and_reported_is_the_best_epoch(self, uninterrupted):
        run = uninterrupted / "run"
        _, data, model = restore_run(run)
        stored = small_runs.weights(best_folder(uninterrupted)).values()
        for variable, array in zip(model.weights, stored, strict=False):
            np.testing.assert_array_equal(variable.numpy(), array)
        last = small_runs.weights(max((run / "checkpoints").iterdir())).values()
        changed = zip(model.trainable_weights, last, strict=False)
        assert any(np.any(v.numpy() != a) for v, a in changed if v.shape == a.shape)
        logs = json.loads((run / "summary.json").read_text())["test_logs"]
        again = model.evaluate(data.test(16), verbose=0, return_dict=True)
        assert again["student_1_accuracy"] == pytest.approx(logs["student_1_accuracy"], abs=1e-6)
        saved = keras.models.load_model(run / "ensemble.keras")
        images = data.test_arrays(16)[0]
        np.testing.assert_allclose(saved(images)["teacher"], model(images)["teacher"], atol=1e-5)

    @pytest.mark.slow
    def test_kills_and_stops(self, uninterrupted, tmp_path):
        def stopped(point, count, code):
            done = start(tmp_path, point=point, count=count)
            assert done.returncode == code, (point, done.stdout, done.stderr)
            return done.stdout

        kill, terminate = -signal.SIGKILL, 128 + signal.SIGTERM
        # The best weights of epoch 2 are written; no checkpoint says so yet.
        stopped("before_the_checkpoint", 4, kill)
        names = {path.name for path in (tmp_path / "run" / "best").iterdir()}
        assert names == {"epoch_00001", "epoch_00002"}
        # Within the best weights of epoch 2, after one check of the old ones and of a checkpoint.
        stopped("within_the_checkpoint", 3, kill)
        stopped("step", 3, terminate)
        stopped("validation", 1, terminate)
        stopped("step", 19, terminate)
        best = int(np.argmax(values(uninterrupted))) + 1
        done = len(values(tmp_path))
        stopped("epoch_end", best + 2 - done, terminate)
        # All epochs are trained; the run itself is not finished.
        assert not (tmp_path / "run" / "summary.json").exists()
        said = stopped("none", 0, 0)
        assert f"weights of epoch {best} are evaluated, saved and exported" in said
        assert "tracing" not in said
        small_runs.assert_same(small_runs.left(tmp_path), small_runs.left(uninterrupted))
        one, other = (small_runs.weights(best_folder(f)) for f in (tmp_path, uninterrupted))
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])
        assert best_folder(tmp_path).name == best_folder(uninterrupted).name

    @pytest.mark.slow
    def test_rare_checkpoints(self, uninterrupted, tmp_path):
        assert start(tmp_path, "--config.checkpoint_every=4").returncode == 0
        small_runs.assert_same(small_runs.left(tmp_path), small_runs.left(uninterrupted))
        assert best_folder(tmp_path).name == best_folder(uninterrupted).name

    @pytest.mark.slow
    def test_last_epoch_kept(self, uninterrupted, tmp_path):
        assert start(tmp_path, "--config.early_stopping.restore_best=False").returncode == 0
        assert values(tmp_path) == values(uninterrupted)
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert summary["early_stopping"]["restored_epoch"] == summary["epochs"]
        _, _, model = restore_run(tmp_path / "run")
        newest = max((tmp_path / "run" / "checkpoints").iterdir())
        stored = small_runs.weights(newest).values()
        for variable, array in zip(model.weights, stored, strict=False):
            np.testing.assert_array_equal(variable.numpy(), array)

    @pytest.mark.slow
    def test_a_student_alone(self, tmp_path):
        assert start(tmp_path, "--config.only_student=2").returncode == 0
        folder = tmp_path / "run" / "baseline_student_2"
        early = json.loads((folder / "summary.json").read_text())["early_stopping"]
        assert early["monitor"] == "val_accuracy"
        _, _, model = restore_run(folder)
        (best,) = (folder / "best").iterdir()
        stored = small_runs.weights(best).values()
        for variable, array in zip(model.weights, stored, strict=False):
            np.testing.assert_array_equal(variable.numpy(), array)

    @pytest.mark.slow
    def test_damaged_weights(self, uninterrupted, tmp_path):
        import shutil

        run = tmp_path / "run"
        shutil.copytree(uninterrupted / "run", run)
        (path,) = (run / "best").iterdir()
        (path / "arrays.npz").write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match=r"best epoch's checkpoint .* has 7 bytes, not"):
            restore_run(run)
        (run / "summary.json").unlink()
        done = start(tmp_path)
        assert done.returncode == 1
        assert "error: The best epoch's checkpoint must be as it was written" in done.stderr


def config(**fields):
    return small_runs.small_config(**fields)


class TestConfig:
    def test_off_by_default(self):
        assert c.default_config().early_stopping.monitor == ""

    @pytest.mark.parametrize("log", ["val_loss", "val_distillation_loss", "val_student_2_accuracy"])
    def test_logs(self, log):
        c.check(config(early_stopping__monitor=log))
        c.check(config(early_stopping__monitor=log, only_student=1))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"early_stopping__monitor": "val_student_3_accuracy"}, "monitor must be '' or one of"),
            ({"early_stopping__monitor": "val_accuracy"}, "val_teacher_accuracy. Received: 'val_a"),
            (
                {"early_stopping__monitor": "val_loss", "data__validation_fraction": 0.0},
                r"validation_fraction must be above 0 .* test split. Received: 0 with 'val_loss'$",
            ),
            ({"early_stopping__monitor": "val_loss", "method__name": "x"}, "method.name"),
        ],
    )
    def test_refused(self, fields, message):
        with pytest.raises(ConfigError, match=message) as caught:
            c.check(config(**fields))
        assert "\n" not in str(caught.value)

    def test_a_fraction_that_holds_out_none(self, tmp_path):
        from oekd_tf.training import train

        few = config(early_stopping__monitor="val_loss", data__validation_fraction=1e-5)
        with pytest.raises(ConfigError, match=r"must hold out an image for .*Received: 1e-05$"):
            train(few, tmp_path / "run")
        assert not Path(tmp_path / "run").exists()
