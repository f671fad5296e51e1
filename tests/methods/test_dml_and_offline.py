"""DML and offline distillation: terms and gradients by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import (
    CLASSES,
    SHAPE,
    cross_entropy,
    data,
    kl,
    look,
    small,
    softmax,
    spread_logits,
    stacked,
)  # fmt: skip


def mutual(logits, temperature):
    """1/(M−1) Σ_{j≠i} T² KL(z_j ‖ z_i), summed over students, averaged over the batch."""
    count = len(logits)
    return sum(
        kl(logits[j], logits[i], temperature).mean() / (count - 1)
        for i in range(count)
        for j in range(count)
        if i != j
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("arguments", [{}, {"temperature": 3.0}])
def test_dml(arguments, training):
    ensemble = spread_logits(small("dml", **arguments))
    images, labels = data()
    outputs, logits, terms = look(ensemble, images, labels, training)
    # T is 1 in the paper.
    distance = mutual(logits, arguments.get("temperature", 1.0))
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)
    label_loss = cross_entropy(labels, logits).sum(0).mean()
    assert terms["label_loss"] == pytest.approx(label_loss, rel=1e-4)
    np.testing.assert_allclose(outputs["teacher"], logits.mean(0), atol=1e-5)
    logs = ensemble.train_on_batch(images, labels, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["label_loss"] + logs["distillation_loss"], rel=1e-5)


def test_others_are_targets_of_dml():
    ensemble = spread_logits(small("dml", temperature=2.0))
    images, labels = data()
    outputs = dict(ensemble(images, training=True, with_parts=True))
    names = [s.name for s in ensemble.students]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in names])
        loss = ensemble.loss_terms(labels, outputs, images=images)["distillation_loss"]
    found = tape.gradient(loss, [outputs[name] for name in names])
    logits = stacked(ensemble, outputs)
    for index, (own, gradient) in enumerate(zip(logits, found, strict=True)):
        target = softmax(np.delete(logits, index, 0) / 2).mean(0)
        np.testing.assert_allclose(gradient, 2 * (softmax(own / 2) - target) / 8, atol=1e-5)


@pytest.mark.parametrize("divergence", ["standardized_kl", "nkd"])
def test_a_student_is_no_peer_of_itself(divergence):
    """Alike students: a divergence is 0, and a cross-entropy that of M − 1 others."""
    ensemble = small("dml", divergence=divergence, temperature=1.0)
    bias = np.array([0.0, 1.0, 2.0, 3.0])
    for student in ensemble.students:
        student.layers[-1].kernel.assign(0 * student.layers[-1].kernel)
        student.layers[-1].bias.assign(bias)
    images, labels = data()
    _, _, terms = look(ensemble, images, labels)
    expected = 0.0
    if divergence == "nkd":
        p = softmax(bias)
        for y in labels:
            others = softmax(np.delete(bias, y))
            entropy = -(others * np.log(others)).sum()
            expected += 3 * (-p[y] * np.log(p[y]) + 1.5 * entropy) / 8
    assert terms["distillation_loss"] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def teacher():
    images = keras.Input(SHAPE)
    x = keras.layers.Rescaling(1 / 64)(images)
    x = keras.layers.Conv2D(4, 3, activation="tanh")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(CLASSES, kernel_initializer="ones")(x))


@pytest.mark.parametrize("training", [True, False])
def test_offline(training):
    network = teacher()
    ensemble = spread_logits(small("offline", teacher=network))
    images, labels = data()
    fixed = np.asarray(network(images.astype(np.float32), training=False), np.float64)
    outputs, logits, terms = look(ensemble, images, labels, training)
    np.testing.assert_allclose(outputs["teacher"], fixed, atol=1e-4)
    expected = kl(fixed, logits, 2.0).sum(0).mean()
    assert terms["distillation_loss"] == pytest.approx(expected, rel=1e-3)
    label_loss = cross_entropy(labels, logits).sum(0).mean()
    assert terms["label_loss"] == pytest.approx(label_loss, rel=1e-4)
    logs = ensemble.train_on_batch(images, labels, return_dict=True)
    expected = 0.7 * logs["label_loss"] + 0.15 * logs["distillation_loss"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    # A step, in training mode, leaves the teacher as it is.
    after = ensemble(images)["teacher"]
    np.testing.assert_allclose(after, fixed, atol=1e-4)
    assert not ensemble.method.trainable_variables
