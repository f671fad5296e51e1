import contextlib
import json
import re

import keras
import numpy as np
import pytest

from oekd_tf.core.errors import CheckpointError
from oekd_tf.training.callbacks import Checkpoints, MetricsCsv, checkpoint_files
from oekd_tf.training.callbacks.checkpoint_files import Position
from oekd_tf.training.callbacks.metrics_csv import read_metrics
from oekd_tf.training.callbacks.preemption import metric_totals, set_metric_totals
from oekd_tf.training.callbacks.progress import summary


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


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
        assert names == ["epoch_00006", "epoch_00007"]

    def test_a_half_written_one_is_no_checkpoint(self, tmp_path):
        fit(small_model(), 1, [Checkpoints(tmp_path)])
        (tmp_path / "epoch_00001").rename(tmp_path / ".partial-1-epoch_00002")
        fit(small_model(), 1, [Checkpoints(tmp_path)])
        assert Checkpoints(tmp_path).restore(small_model()) == 1

    @pytest.mark.parametrize(
        ("harm", "reason"),
        [
            (lambda folder: flip(folder / "arrays.npz"), "has other content than was"),
            (lambda folder: cut(folder / "arrays.npz"), r"has [\d,]+ bytes, not [\d,]+"),
            (lambda folder: (folder / "arrays.npz").unlink(), "is missing"),
            (lambda folder: cut(folder / "checkpoint.json"), "checkpoint.json cannot be read"),
            (lambda folder: (folder / "checkpoint.json").unlink(), "cannot be read"),
        ],
    )
    def test_a_damaged_one_is_named_and_the_one_before_used(self, tmp_path, capsys, harm, reason):
        model = small_model()
        fit(model, 2, [Checkpoints(tmp_path)])
        harm(tmp_path / "epoch_00002")
        assert Checkpoints(tmp_path).restore(small_model()) == 1
        (line,) = capsys.readouterr().out.splitlines()
        assert str(tmp_path / "epoch_00002") in line
        assert re.search(reason, line)

        harm(tmp_path / "epoch_00001")
        with pytest.raises(
            CheckpointError,
            match=r"^All 2 checkpoints in .* are damaged; cannot resume\. Delete .* to start over",
        ):
            Checkpoints(tmp_path).restore(small_model())

        # The repeated epoch takes the damaged one's place.
        fit(model, 1, [Checkpoints(tmp_path)])
        assert Checkpoints(tmp_path).restore(small_model()) == 1

    def test_no_bit_of_the_state_can_be_another(self, tmp_path):
        """A position that is off by one bit would skip epochs, or repeat them."""
        fit(small_model(), 3, [Checkpoints(tmp_path)])
        path = tmp_path / "epoch_00003" / "checkpoint.json"
        content = path.read_bytes()
        for place in range(len(content)):
            for bit in range(8):
                changed = bytearray(content)
                changed[place] ^= 1 << bit
                path.write_bytes(changed)
                with contextlib.suppress(ValueError):
                    # What means the same is the same: other white space.
                    if json.loads(changed) == json.loads(content):
                        continue
                assert checkpoint_files.find_damage(path.parent), changed[place - 20 : place + 20]
        path.write_bytes(content)
        assert not checkpoint_files.find_damage(path.parent)

    @pytest.mark.parametrize("value", ["3", "-1", "1e30", "2.7", "NaN", "true", '"1"', "1e999"])
    @pytest.mark.parametrize("digest", [True, False])
    def test_positions_that_are_none(self, tmp_path, capsys, value, digest):
        """Without a digest, as version 0.1 wrote them, too."""
        fit(small_model(), 2, [Checkpoints(tmp_path)])
        path = tmp_path / "epoch_00002" / "checkpoint.json"
        state = json.loads(path.read_text())
        if not digest:
            del state["digest"], state["name"]
        for field in ("epochs", "steps"):
            changed = json.dumps({**state, field: "HERE"}).replace('"HERE"', value)
            path.write_text(changed)
            assert Checkpoints(tmp_path).restore(small_model()) == 1
            assert "is damaged (checkpoint.json cannot be read: " in capsys.readouterr().out

    def test_checkpoints_that_changed_places(self, tmp_path, capsys):
        fit(small_model(), 2, [Checkpoints(tmp_path)])
        (tmp_path / "epoch_00001").rename(tmp_path / "x")
        (tmp_path / "epoch_00002").rename(tmp_path / "epoch_00001")
        (tmp_path / "x").rename(tmp_path / "epoch_00002")
        with pytest.raises(CheckpointError, match="All 2 checkpoints"):
            Checkpoints(tmp_path).restore(small_model())
        assert "it must be of epoch_00002, and is of epoch_00001" in capsys.readouterr().out

    def test_more_than_the_run_has(self, tmp_path, capsys):
        fit(small_model(), 2, [Checkpoints(tmp_path)])
        position = Checkpoints(tmp_path).restore_position(small_model(), epochs=1, steps=4)
        assert position.epochs == 1
        assert "epoch_00002 is damaged (it is of 2 epochs, of 1)" in capsys.readouterr().out

    def test_another_networks(self, tmp_path):
        fit(small_model(), 1, [Checkpoints(tmp_path)])
        other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
        other.compile("adam", loss="mse")
        with pytest.raises(CheckpointError, match=r"of this network and .*epoch.* not \(3, 2\)"):
            Checkpoints(tmp_path).restore(other)

    def test_one_within_an_epoch(self, tmp_path):
        model = small_model()
        fit(model, 1, [])
        checkpoints = Checkpoints(tmp_path)
        checkpoints.set_model(model)
        totals = metric_totals(model)
        checkpoints.save(Position(4, 7, metrics=totals))
        fit(model, 1, [])
        found = Checkpoints(tmp_path).restore_position(model)
        assert (found.epochs, found.steps) == (4, 7)
        assert found.seconds >= 0
        set_metric_totals(model, found.metrics)
        for one, other in zip(metric_totals(model), totals, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_read_only(self, tmp_path):
        fit(small_model(), 1, [Checkpoints(tmp_path / "none", read_only=True)])
        assert not (tmp_path / "none").exists()

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
