"""FFL: the fusion module, the fused classifier and all terms by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import cross_entropy, data, kl, look, ramp, small, softmax, spread_logits, stacked


def made(**arguments):
    """An ensemble whose normalisations are not at their initial values."""
    ensemble = spread_logits(small("ffl", **arguments))
    rng = np.random.default_rng(3)
    for layer in ensemble.method.fusion:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in (layer.gamma, layer.beta, layer.moving_mean):
                variable.assign(rng.normal(0.3, 0.5, variable.shape))
            layer.moving_variance.assign(rng.uniform(0.05, 0.2, layer.moving_variance.shape))
    last = ensemble.method.fusion[-1]
    last.kernel.assign(4 * last.kernel)
    last.bias.assign(rng.normal(size=last.bias.shape))
    return ensemble


def fused_by_hand(ensemble, outputs, training):
    """Concatenation → depthwise 3×3 → BN → ReLU → 1×1 → BN → ReLU → mean → dense."""
    depthwise, norm, _, pointwise, other_norm, _, _, dense = ensemble.method.fusion

    def normal(layer, x):
        mean, variance = (
            (x.mean((0, 1, 2)), x.var((0, 1, 2)))
            if training
            else (np.asarray(layer.moving_mean), np.asarray(layer.moving_variance))
        )
        x = (x - mean) / np.sqrt(variance + 1e-5)
        return np.maximum(np.asarray(layer.gamma) * x + np.asarray(layer.beta), 0)

    x = np.concatenate([np.asarray(b[-1], np.float64) for b in outputs["blocks"]], -1)
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = np.asarray(depthwise.kernel)[..., 0]
    x = sum(
        padded[:, i : i + height, j : j + width] * kernel[i, j] for i in range(3) for j in range(3)
    )
    x = normal(norm, x) @ np.asarray(pointwise.kernel)[0, 0]
    x = normal(other_norm, x).mean((1, 2))
    return x @ np.asarray(dense.kernel) + np.asarray(dense.bias)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("widths", [(1.0, 0.5), (1.0, 0.75, 0.25)])
def test_terms(widths, training):
    ensemble = made(widths=widths)
    images, labels = data()
    outputs = ensemble(images, training=False, with_parts=True)
    fused = fused_by_hand(ensemble, outputs, False)
    np.testing.assert_allclose(outputs["teacher"], fused, rtol=1e-3, atol=1e-4)
    outputs, logits, terms = look(ensemble, images, labels, training)
    fused = fused_by_hand(ensemble, outputs, training)
    np.testing.assert_allclose(outputs["teacher"], fused, rtol=1e-3, atol=1e-3)
    expected = {
        "label_loss": cross_entropy(labels, logits).sum(0).mean(),
        "teacher_label_loss": cross_entropy(labels, fused).mean(),
        "distillation_loss": kl(fused, logits, 3.0).sum(0).mean(),
        "teacher_distillation_loss": kl(logits.mean(0), fused, 3.0).mean(),
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value, rel=2e-3), name


def test_shapes_of_the_fusion():
    """From all students' channels to student 1's, no bias but the classifier's."""
    fusion = small("ffl").method.fusion
    channels = 12 + 6 + 3
    assert tuple(fusion[0].kernel.shape) == (3, 3, channels, 1)
    assert tuple(fusion[3].kernel.shape) == (1, 1, channels, 12)
    assert tuple(fusion[-1].kernel.shape) == (12, 4)
    assert [layer.use_bias for layer in (fusion[0], fusion[3], fusion[-1])] == [False, False, True]


def gradients(ensemble, term):
    """Of students' logits, the fused logits, and the classifier's own variables."""
    images, labels = data()
    students = [s.layers[-1].kernel.value for s in ensemble.students]
    branches = [s.get_layer(f"{s.name}_block_2").kernel.value for s in ensemble.students]
    own = [v.value for v in ensemble.method.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = ensemble(images, training=True, with_parts=True)
        loss = ensemble.loss_terms(labels, outputs, images=images)[term]
    return tape.gradient(loss, (students, branches, own))


def test_gradients():
    ensemble = made()
    # Labels of the fused classifier train it and the students' maps, not their classifiers.
    students, branches, own = gradients(ensemble, "teacher_label_loss")
    assert all(g is None for g in students)
    assert all(np.abs(g).max() > 1e-6 for g in (*branches, *own))
    # The fused classifier is a target of the students.
    students, branches, own = gradients(ensemble, "distillation_loss")
    assert all(np.abs(g).max() > 1e-6 for g in (*students, *branches))
    assert all(g is None for g in own)
    # The students' mean is a target of the fused classifier, whose maps are theirs.
    students, branches, own = gradients(ensemble, "teacher_distillation_loss")
    assert all(g is None for g in students)
    assert all(np.abs(g).max() > 1e-6 for g in (*branches, *own))


def test_each_student_has_the_gradient_of_its_own_divergence():
    ensemble = made()
    images, labels = data()
    outputs = dict(ensemble(images, training=True, with_parts=True))
    names = [s.name for s in ensemble.students]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in names])
        terms = ensemble.loss_terms(labels, outputs, images=images)
        loss = terms["distillation_loss"] + terms["teacher_distillation_loss"]
    found = tape.gradient(loss, [outputs[name] for name in names])
    target = softmax(np.asarray(outputs["teacher"]) / 3)
    for own, gradient in zip(stacked(ensemble, outputs), found, strict=True):
        np.testing.assert_allclose(gradient, 3 * (softmax(own / 3) - target) / 8, atol=1e-5)


def test_one_ramp():
    arguments = {"label_weight": 0.7, "teacher_label_weight": 0.4, "distillation_weight": 1.5}
    ensemble = spread_logits(
        small("ffl", **arguments, optimizer=keras.optimizers.SGD(0.0), norm=False)
    )
    images, labels = data()
    for step in range(4):
        ensemble.reset_metrics()
        logs = ensemble.train_on_batch(images, labels, return_dict=True)
        both = logs["distillation_loss"] + logs["teacher_distillation_loss"]
        expected = (
            0.7 * logs["label_loss"] + 0.4 * logs["teacher_label_loss"] + 1.5 * ramp(step) * both
        )
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)
    method = small("ffl").method
    assert (method.temperature, method.label_weight, method.teacher_label_weight) == (3.0, 1.0, 1.0)


def test_one_student_is_refused():
    with pytest.raises(ValueError, match=r"^widths must be of two students .*Received: 1"):
        small("ffl", widths=(1.0,))
