"""Every method on mixed labels and weighted examples: label terms are weighed, no others."""

import keras
import numpy as np
import pytest
from by_hand import CLASSES, SHAPE, cross_entropy, data, look, small, soft, spread_logits

from oekd_tf import methods

CASES = {
    **{name: {} for name in methods.names() if name != "offline"},
    "oekd, better": {"teacher_weights": "better", "divergence": "nkd"},
    "oekd, simplex": {"teacher_weights": "simplex", "features": "attention"},
    "kdcl, naive": {"target": "naive", "divergence": "dkd"},
    "kdcl, linear": {"target": "linear", "divergence": "standardized_kl"},
    "offline": {},
}
LABEL_TERMS = ("label_loss", "teacher_label_loss")


def teacher():
    images = keras.Input(SHAPE)
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 3, activation="tanh")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(CLASSES)(x))


@pytest.mark.parametrize("case", CASES)
def test_a_step(case):
    name = case.split(",")[0]
    arguments = {"teacher": teacher()} if name == "offline" else CASES[case]
    ensemble = spread_logits(small(name, **arguments))
    images, labels = data()
    rows, weights = soft(), np.linspace(0, 2, 8).astype(np.float32)
    state = ensemble.get_weights()
    outputs, logits, plain = look(ensemble, images, rows, training=True)
    ensemble.set_weights(state)
    _, _, weighed = look(ensemble, images, rows, training=True, sample_weight=weights)
    ensemble.set_weights(state)
    by_hand = {
        "label_loss": (weights * cross_entropy(rows, logits)).sum(0).mean(),
        "teacher_label_loss": (
            weights * cross_entropy(rows, np.asarray(outputs["teacher"]))
        ).mean(),
    }
    for term, value in weighed.items():
        if term in LABEL_TERMS:
            assert value == pytest.approx(by_hand[term], rel=1e-3)
            assert abs(value - plain[term]) > 1e-3
        else:
            assert value == pytest.approx(plain[term], rel=1e-4, abs=1e-6), term
    assert np.isfinite(list(plain.values())).all()
    # A step with both, and one with indices; the weights of all zeros leave no label terms.
    kernel = ensemble.students[2].layers[-1].kernel
    before = kernel.numpy()
    logs = ensemble.train_on_batch(images, rows, sample_weight=weights, return_dict=True)
    for term, value in weighed.items():
        assert logs[term] == pytest.approx(value, rel=1e-3, abs=1e-5), term
    assert np.isfinite(logs["loss"])
    assert np.abs(kernel.numpy() - before).max() > 0
    ensemble.reset_metrics()
    none = np.zeros(8, np.float32)
    logs = ensemble.train_on_batch(images, labels, sample_weight=none, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert all(logs[term] == 0 for term in LABEL_TERMS if term in logs)
    if name != "labels":
        assert logs["distillation_loss"] > 0


@pytest.mark.parametrize("case", ["dml", "kdcl, naive", "pcl"])
def test_sharp_soft_labels_are_indices(case):
    """One-hot rows give what indices give."""
    ensemble = spread_logits(small(case.split(",")[0], **CASES[case]))
    images, labels = data()
    _, _, hard = look(ensemble, images, labels)
    _, _, rows = look(ensemble, images, np.eye(CLASSES, dtype=np.float32)[labels])
    for name, value in hard.items():
        assert rows[name] == pytest.approx(value, rel=1e-5)
