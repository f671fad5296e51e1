"""The callback of the best epoch, in user code."""

import keras
import numpy as np
import pytest
from networks import small_ensemble

from oekd_tf.callbacks import BestEpoch, Checkpoints
from oekd_tf.core.errors import CheckpointError
from oekd_tf.training.callbacks.checkpoint_files import Best


class Remembers(keras.callbacks.Callback):
    """The weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


def ensemble():
    model = small_ensemble()
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    return model


# Learns by heart, then forgets.
FORGETS = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 if epoch < 4 else 30.0)


def fit(model, batch, *callbacks, epochs=12, first=0):
    return model.fit(
        *batch, validation_data=batch, epochs=epochs, initial_epoch=first, verbose=0,
        shuffle=False, callbacks=[FORGETS, *callbacks],
    ).history  # fmt: skip


@pytest.mark.parametrize("monitor", ["val_label_loss", "val_student_2_accuracy"])
def test_restores_the_best_of_either_direction(batch, tmp_path, monitor):
    model, seen = ensemble(), Remembers()
    best = BestEpoch(tmp_path / "best", monitor, patience=3)
    values = fit(model, batch, best, seen)[monitor]
    choose = np.argmax if monitor.endswith("accuracy") else np.argmin
    number = int(choose(values))
    assert number < 8
    assert len(values) == number + 4
    assert best.state == Best(values[number], number + 1, 3)
    assert best.stopped
    assert best.restore(model) == number + 1
    for one, other in zip(model.get_weights(), seen.weights[number], strict=True):
        np.testing.assert_array_equal(one, other)
    text = best.describe(12)
    assert text.startswith(f"stopped after epoch {number + 4} of 12; {monitor} was best in epoch")


def test_min_delta(batch, tmp_path):
    best = BestEpoch(tmp_path / "best", "val_label_loss", patience=2, min_delta=1e6)
    values = fit(ensemble(), batch, best)["val_label_loss"]
    assert len(values) == 3
    assert best.state == Best(values[0], 1, 2)


def test_kept_are_the_weights_that_a_checkpoint_names(batch, tmp_path):
    best = BestEpoch(tmp_path / "best", "val_label_loss", patience=5)
    checkpoints = Checkpoints(tmp_path / "checkpoints", every=1, kept=2, best=best)
    fit(ensemble(), batch, best, checkpoints, epochs=3)
    names = sorted(path.name for path in (tmp_path / "best").iterdir())
    assert names == ["epoch_00002", "epoch_00003"]
    # In another process: all of it is in the files.
    model = ensemble()
    again = BestEpoch(tmp_path / "best", "val_label_loss", patience=5)
    resumed = Checkpoints(tmp_path / "checkpoints", best=again)
    first = resumed.restore(model)
    assert first == 3
    assert again.state == best.state
    fit(model, batch, again, resumed, epochs=12, first=first)
    assert len(list((tmp_path / "best").iterdir())) == 1
    assert again.stopped


def test_errors(batch, tmp_path):
    with pytest.raises(ValueError, match=r"patience must be at least 1. Received: 0"):
        BestEpoch(tmp_path, "val_loss", patience=0)
    with pytest.raises(ValueError, match=r"min_delta must be at least 0. Received: -1"):
        BestEpoch(tmp_path, "val_loss", min_delta=-1)
    with pytest.raises(ValueError, match=r"monitor must be one of the logs of an epoch, .*'val_l'"):
        fit(ensemble(), batch, BestEpoch(tmp_path, "val_l"))
    with pytest.raises(CheckpointError, match=r"must be a best epoch in .* Received: none"):
        BestEpoch(tmp_path, "val_loss").restore(ensemble())
