"""ONE: gate, ensemble and terms by hand, and what trains the gate."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import cross_entropy, data, kl, ramp, small, softmax, spread_logits, stacked


def shares_by_hand(ensemble, outputs, training):
    """softmax(ReLU(BN(W GAP(h) + b))), (batch, students)."""
    method = ensemble.method
    # The pseudo teacher's last block but one is its first of two.
    seen = outputs["stem"][0] if method.gate_input == "stem" else outputs["blocks"][0][0]
    pooled = np.asarray(seen, np.float64).mean((1, 2))
    scores = pooled @ np.asarray(method.gate.kernel) + np.asarray(method.gate.bias)
    norm = method.gate_norm
    mean, variance = (
        (scores.mean(0), scores.var(0))
        if training
        else (np.asarray(norm.moving_mean), np.asarray(norm.moving_variance))
    )
    scores = (scores - mean) / np.sqrt(variance + 1e-5)
    scores = np.asarray(norm.gamma) * scores + np.asarray(norm.beta)
    return softmax(np.maximum(scores, 0))


def with_a_gate(**arguments):
    """An ensemble whose gate's normalisation is not at its initial values."""
    ensemble = spread_logits(small("one", **arguments))
    norm = ensemble.method.gate_norm
    norm.gamma.assign([2.0, 0.5, 1.0])
    norm.beta.assign([0.3, 0.0, -0.2])
    norm.moving_mean.assign([0.05, -0.1, 0.0])
    norm.moving_variance.assign([0.02, 0.03, 0.01])
    return ensemble


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gate_input", ["block", "stem"])
def test_terms(gate_input, training):
    ensemble = with_a_gate(gate_input=gate_input)
    images, labels = data()
    norm = ensemble.method.gate_norm
    moving = np.asarray(norm.moving_mean).copy()
    outputs = ensemble(images, training=training, with_parts=True)
    logits = stacked(ensemble, outputs)
    after = np.asarray(norm.moving_mean).copy()
    assert (np.abs(after - moving).max() > 0) == training
    shares = shares_by_hand(ensemble, outputs, training)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert shares.std(0).max() > 0.01
    teacher = np.einsum("bs,sbc->bc", shares, logits)
    np.testing.assert_allclose(outputs["teacher"], teacher, rtol=1e-3, atol=1e-4)
    terms = ensemble.loss_terms(labels, outputs, images=images, training=training)
    assert set(terms) == {"label_loss", "distillation_loss", "teacher_label_loss"}
    expected = {
        "label_loss": cross_entropy(labels, logits).sum(0).mean(),
        "teacher_label_loss": cross_entropy(labels, teacher).mean(),
        "distillation_loss": kl(teacher, logits, 3.0).sum(0).mean(),
    }
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-3), name


def test_rows_of_the_gate():
    from oekd_tf.methods import Batch

    ensemble = with_a_gate()
    images, _ = data()
    outputs = ensemble(images, with_parts=True)
    parts = {name: outputs[name] for name in ("stem", "blocks", "features")}
    shares = np.asarray(ensemble.method.shares(Batch(images=images, logits=[], **parts)))
    assert shares.shape == (8, 3)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(shares, shares_by_hand(ensemble, outputs, False), rtol=1e-4)


def test_a_gate_that_sees_nothing_is_uniform():
    """ReLU before the softmax: no student can be left out by scores below 0."""
    ensemble = spread_logits(small("one"))
    ensemble.method.gate_norm.beta.assign([-100.0, -200.0, -300.0])
    outputs = ensemble(data()[0], with_parts=True)
    np.testing.assert_allclose(outputs["teacher"], stacked(ensemble, outputs).mean(0), atol=1e-5)


def gradients(ensemble, term, of):
    images, labels = data()
    with tf.GradientTape() as tape:
        outputs = ensemble(images, training=True, with_parts=True)
        loss = ensemble.loss_terms(labels, outputs, images=images)[term]
    return tape.gradient(loss, [variable.value for variable in of])


def test_the_gate_learns_from_the_ensembles_labels_alone():
    ensemble = with_a_gate()
    own = ensemble.method.trainable_variables
    assert len(own) == 4
    assert all(g is None for g in gradients(ensemble, "distillation_loss", own))
    assert all(g is None for g in gradients(ensemble, "label_loss", own))
    found = gradients(ensemble, "teacher_label_loss", own)
    # A bias before batch normalisation has none.
    moved = [np.abs(g).max() > 1e-5 for g, v in zip(found, own, strict=True) if v.name != "bias"]
    assert moved == [True] * 3


def test_the_ensembles_labels_reach_every_student():
    ensemble = with_a_gate()
    of = [student.layers[-1].kernel for student in ensemble.students]
    assert all(np.abs(g).max() > 0 for g in gradients(ensemble, "teacher_label_loss", of))


def test_the_ensemble_is_a_target_in_the_divergence():
    ensemble = with_a_gate()
    images, labels = data()
    outputs = dict(ensemble(images, training=True, with_parts=True))
    names = [s.name for s in ensemble.students]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in (*names, "teacher")])
        loss = ensemble.loss_terms(labels, outputs, images=images)["distillation_loss"]
    *found, to_teacher = tape.gradient(loss, [outputs[name] for name in (*names, "teacher")])
    assert to_teacher is None
    target = softmax(np.asarray(outputs["teacher"]) / 3)
    for own, gradient in zip(stacked(ensemble, outputs), found, strict=True):
        np.testing.assert_allclose(gradient, 3 * (softmax(own / 3) - target) / 8, atol=1e-5)


def test_one_ramp():
    """γ w(e) weighs the divergence alone, w(e) = exp(−5 (1 − p)²) over 0.27 of the training."""
    arguments = {"label_weight": 0.7, "teacher_label_weight": 0.4, "distillation_weight": 1.5}
    ensemble = spread_logits(
        small("one", **arguments, optimizer=keras.optimizers.SGD(0.0), norm=False)
    )
    images, labels = data()
    for step in range(4):
        ensemble.reset_metrics()
        logs = ensemble.train_on_batch(images, labels, return_dict=True)
        expected = (
            0.7 * logs["label_loss"]
            + 0.4 * logs["teacher_label_loss"]
            + 1.5 * ramp(step) * logs["distillation_loss"]
        )
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)
    assert ramp(0) == pytest.approx(0.0067, abs=1e-4)
    assert ramp(3) == 1
    tested = ensemble.evaluate(images, labels, verbose=0, return_dict=True)
    expected = (
        0.7 * tested["label_loss"]
        + 0.4 * tested["teacher_label_loss"]
        + 1.5 * tested["distillation_loss"]
    )
    assert tested["loss"] == pytest.approx(expected, rel=1e-4)
    method = small("one").method
    given = (method.temperature, method.label_weight, method.teacher_label_weight)
    assert (*given, method.distillation_weight) == (3.0, 1.0, 1.0, 1.0)


def test_refusals():
    with pytest.raises(ValueError, match=r"gate_input must be one of block, stem\..*'features'"):
        small("one", gate_input="features")
