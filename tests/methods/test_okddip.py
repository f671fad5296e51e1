"""OKDDip: attention among the peers, and the leader that follows their mean, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import cross_entropy, data, kl, look, ramp, small, softmax, spread_logits, stacked

from oekd_tf.methods import Batch

WIDTHS = (1.0, 0.75, 0.5, 0.25)


def made(**arguments):
    """Three peers and a leader, with an attention that is not nearly uniform."""
    ensemble = spread_logits(small("okddip", widths=WIDTHS, **arguments))
    for layer in (*ensemble.method.queries, *ensemble.method.keys):
        layer.kernel.assign(4 * layer.kernel)
    return ensemble


def attention_by_hand(ensemble, outputs):
    """softmax over peers of Q Kᵀ, (batch, peers, peers)."""
    features = [np.asarray(seen, np.float64) for seen in outputs["features"][:-1]]
    queries, keys = (
        np.stack(
            [f @ np.asarray(layer.kernel) for f, layer in zip(features, layers, strict=True)], 1
        )
        for layers in (ensemble.method.queries, ensemble.method.keys)
    )
    return softmax(queries @ keys.transpose(0, 2, 1))


@pytest.mark.parametrize("training", [True, False])
def test_terms(training):
    ensemble = made()
    images, labels = data()
    outputs, logits, terms = look(ensemble, images, labels, training)
    attention = attention_by_hand(ensemble, outputs)
    assert attention.shape == (8, 3, 3)
    assert attention.std(0).max() > 0.005
    peers = logits[:-1]
    own = np.einsum("bqk,kbc->qbc", attention, peers)
    distance = kl(own, peers, 3.0).sum(0).mean() + kl(peers.mean(0), logits[-1], 3.0).mean()
    assert set(terms) == {"label_loss", "distillation_loss"}
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)
    label_loss = cross_entropy(labels, logits).sum(0).mean()
    assert terms["label_loss"] == pytest.approx(label_loss, rel=1e-4)
    # The leader is no part of the teacher.
    np.testing.assert_allclose(outputs["teacher"], peers.mean(0), atol=1e-5)


def test_rows_of_the_attention():
    ensemble = made()
    outputs = ensemble(data()[0], with_parts=True)
    parts = {name: outputs[name] for name in ("stem", "blocks", "features")}
    rows = np.asarray(ensemble.method.attention(Batch(images=None, logits=[], **parts)))
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows, attention_by_hand(ensemble, outputs), rtol=1e-3)


def test_an_eighth_of_student_1s_channels():
    method = small("okddip", widths=WIDTHS).method
    for layers in (method.queries, method.keys):
        # Twelve channels, nine and six, into one: 12 // 8.
        assert [tuple(layer.kernel.shape) for layer in layers] == [(12, 1), (9, 1), (6, 1)]
        assert not any(layer.use_bias for layer in layers)


def divergence_gradients(ensemble, names):
    """By the outputs' names, those of "features_1" and so on too, and of the attention."""
    images, labels = data()
    outputs = dict(ensemble(images, training=True, with_parts=True))
    own = [v.value for v in ensemble.method.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in names])
        tape.watch(outputs["features"])
        loss = ensemble.loss_terms(labels, outputs, images=images)["distillation_loss"]
    given = ([outputs[name] for name in names], outputs["features"], own)
    return outputs, tape.gradient(loss, given)


def test_gradients():
    ensemble = made()
    names = [s.name for s in ensemble.students]
    outputs, (to_logits, to_features, to_attention) = divergence_gradients(ensemble, names)
    logits = stacked(ensemble, outputs)
    peers = logits[:-1]
    targets = [
        *np.einsum("bqk,kbc->qbc", attention_by_hand(ensemble, outputs), peers),
        peers.mean(0),
    ]
    # Each student's logits have the gradient of its own divergence from a constant.
    for own, target, gradient in zip(logits, targets, to_logits, strict=True):
        expected = 3 * (softmax(own / 3) - softmax(np.asarray(target) / 3)) / 8
        np.testing.assert_allclose(gradient, expected, atol=1e-4)
    # The attention is attached: it learns, and peers' features with it; the leader's have no part.
    assert len(to_attention) == 6
    assert all(np.abs(gradient).max() > 1e-6 for gradient in to_attention)
    assert all(np.abs(gradient).max() > 1e-6 for gradient in to_features[:-1])
    assert to_features[-1] is None


def test_gradient_of_the_attention_by_finite_differences():
    ensemble = made(norm=False)
    images, _ = data()
    outputs = ensemble(images, training=True, with_parts=True)
    _, (_, _, to_attention) = divergence_gradients(ensemble, ["student_1"])
    peers = stacked(ensemble, outputs)[:-1]
    kernel = ensemble.method.queries[1].kernel
    place = next(i for i, v in enumerate(ensemble.method.trainable_variables) if v is kernel)
    start, change = kernel.numpy(), []
    for step in (1e-3, -1e-3):
        moved = start.copy()
        moved[4, 0] += step
        kernel.assign(moved)
        own = np.einsum("bqk,kbc->qbc", attention_by_hand(ensemble, outputs), peers)
        change.append(kl(own, peers, 3.0).sum(0).mean())
    expected = (change[0] - change[1]) / 2e-3
    assert float(to_attention[place][4, 0]) == pytest.approx(expected, rel=2e-2)


def test_one_ramp():
    ensemble = made(optimizer=keras.optimizers.SGD(0.0), norm=False, distillation_weight=1.5)
    images, labels = data()
    for step in range(4):
        ensemble.reset_metrics()
        logs = ensemble.train_on_batch(images, labels, return_dict=True)
        expected = logs["label_loss"] + 1.5 * ramp(step) * logs["distillation_loss"]
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)


def test_alike_peers_are_no_target():
    ensemble = made()
    for student in ensemble.students:
        student.layers[-1].kernel.assign(0 * student.layers[-1].kernel)
        student.layers[-1].bias.assign([1.0, 2.0, 3.0, 4.0])
    _, _, terms = look(ensemble, *data())
    assert terms["distillation_loss"] == pytest.approx(0, abs=1e-6)


def test_two_students_are_refused():
    with pytest.raises(ValueError, match=r"^widths must be of three students .*Received: 2"):
        small("okddip", widths=(1.0, 0.5))
