"""Keras's callbacks on the logs of ensembles and students, with mode="auto"."""

import keras
import numpy as np
import pytest
from keras.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from networks import small_ensemble

import oekd_tf
from oekd_tf.models.standalone_student import StandaloneStudent

LOGS = ["loss", "label_loss", "feature_loss", "distillation_loss"]
ACCURACIES = ["student_1_accuracy", "student_2_accuracy", "student_3_accuracy", "teacher_accuracy"]


@pytest.fixture
def ensemble():
    ensemble = small_ensemble()
    ensemble.compile("sgd")
    return ensemble


def is_better(callback, value, reference):
    """What Keras's callback takes for an improvement, after it has seen an epoch."""
    return bool(callback._is_improvement(value, reference))


def test_every_log(ensemble, batch, tmp_path):
    assert ensemble.log_names == [*LOGS, *ACCURACIES]
    names = [*ensemble.log_names, *(f"val_{name}" for name in ensemble.log_names)]
    stops = [EarlyStopping(name, patience=5) for name in names]
    saved = [
        ModelCheckpoint(tmp_path / f"{n}.weights.h5", n, save_best_only=True,
                        save_weights_only=True)
        for n in ("val_teacher_accuracy", "val_feature_loss")
    ]  # fmt: skip
    slower = ReduceLROnPlateau("val_student_3_accuracy", patience=5)
    logs = ensemble.fit(
        *batch, validation_data=batch, verbose=0, callbacks=[*stops, *saved, slower]
    ).history
    assert set(logs) - {"learning_rate"} == set(names)
    for callback in [*stops, *saved, slower]:
        up = "accuracy" in callback.monitor
        assert is_better(callback, 0.9, 0.1) == up, callback.monitor
        assert is_better(callback, 0.1, 0.9) != up, callback.monitor
    assert len(list(tmp_path.iterdir())) == 2


def test_the_best_epoch_is_the_best(ensemble, batch):
    stop = EarlyStopping("val_student_2_accuracy", patience=1, restore_best_weights=True)
    # Learns by heart, then forgets: the last epoch is not the best one.
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 if epoch < 4 else 50.0)
    ensemble.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    logs = ensemble.fit(
        *batch, validation_data=batch, epochs=8, verbose=0, callbacks=[schedule, stop]
    ).history
    best = max(logs["val_student_2_accuracy"])
    found = ensemble.evaluate(*batch, verbose=0, return_dict=True)["student_2_accuracy"]
    assert found == pytest.approx(best)


def test_a_mode_that_is_given_stays(ensemble, batch):
    stop = EarlyStopping("val_loss", mode="max")
    ensemble.fit(*batch, validation_data=batch, verbose=0, callbacks=stop)
    assert stop.mode == "max"


def test_callbacks_of_other_kinds(ensemble, batch):
    stop = EarlyStopping("student_1_accuracy")
    chain = keras.callbacks.CallbackList([stop], add_history=True, model=ensemble)
    ensemble.fit(*batch, verbose=0, callbacks=chain)
    assert stop.mode == "max"
    ensemble.fit(*batch, verbose=0, callbacks=keras.callbacks.TerminateOnNaN())


@pytest.mark.parametrize("monitor", ["accuracy", "val_accuracy", "loss", "val_loss"])
def test_a_student_alone(ensemble, batch, monitor):
    student = ensemble.students[1]
    alone = StandaloneStudent(student.inputs, student.outputs[0], name=student.name)
    accuracy = keras.metrics.MeanMetricWrapper(oekd_tf.metrics.label_accuracy, name="accuracy")
    alone.compile("sgd", loss=oekd_tf.losses.label_loss, metrics=[accuracy])
    stop = EarlyStopping(monitor)
    alone.fit(*batch, validation_data=batch, verbose=0, callbacks=[stop])
    assert is_better(stop, np.float32(0.9), 0.1) == monitor.endswith("accuracy")
