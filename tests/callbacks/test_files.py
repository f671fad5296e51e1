import keras
import numpy as np
import pytest

from oekd_tf.callbacks import Checkpoints, MetricsCsv
from oekd_tf.callbacks.metrics_csv import read_metrics
from oekd_tf.callbacks.progress import summary


def small_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, epochs, callbacks, initial_epoch=0):
    x = np.ones((4, 3), "float32")
    model.fit(
        x, x[:, :2], epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=callbacks
    )


class TestCheckpoints:
    def test_restores_weights_and_optimizer(self, tmp_path):
        model = small_model()
        checkpoints = Checkpoints(tmp_path, kept=2)
        fit(model, 3, [checkpoints])
        other = small_model()
        assert Checkpoints(tmp_path).restore(other) == 3
        assert int(other.optimizer.iterations) == 3
        for a, b in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        for a, b in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())

    def test_keeps_the_newest_and_always_the_last_epoch(self, tmp_path):
        fit(small_model(), 7, [Checkpoints(tmp_path, every=3, kept=2)])
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["epoch_00006.weights.h5", "epoch_00007.weights.h5"]

    def test_a_half_written_file_is_no_checkpoint(self, tmp_path):
        fit(small_model(), 1, [Checkpoints(tmp_path)])
        (tmp_path / ".partial-1-epoch_00002.weights.h5").write_bytes(b"half")
        assert Checkpoints(tmp_path).restore(small_model()) == 1

    def test_nothing_to_restore(self, tmp_path):
        assert Checkpoints(tmp_path / "none").restore(small_model()) == 0

    @pytest.mark.parametrize("argument", ["every", "kept"])
    def test_refusals(self, tmp_path, argument):
        with pytest.raises(ValueError, match=rf"{argument} must be at least 1\. Received: 0"):
            Checkpoints(tmp_path, **{argument: 0})


class TestMetricsCsv:
    def test_epochs_that_are_repeated_stand_once(self, tmp_path):
        path = tmp_path / "metrics.csv"
        fit(small_model(), 3, [MetricsCsv(path)])
        before = read_metrics(path)
        fit(small_model(), 5, [MetricsCsv(path)], initial_epoch=2)
        after = read_metrics(path)
        assert [row["epoch"] for row in after] == ["1", "2", "3", "4", "5"]
        assert after[:2] == before[:2]
        assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_summary():
    logs = {"loss": 3.2114, "student_1_accuracy": 0.81, "teacher_accuracy": 1.0, "val_loss": 3.0}
    assert summary(logs) == "loss 3.211 acc 1 .81 teacher 1.00"
    assert summary({"loss": 1.0, "accuracy": 0.5}) == "loss 1.000 acc .50"
    assert summary({}) == ""
