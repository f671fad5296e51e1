"""CL-ILR: terms by hand, and the gradient that reaches the stem."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import cross_entropy, data, kl, look, small, soft, spread_logits, stacked


def others_mean(logits):
    return np.stack([np.delete(logits, i, axis=0).mean(0) for i in range(len(logits))])


def test_defaults():
    """β CE + (1 − β) KL with β = 0.5 and T = 2, and no ramp."""
    ensemble = small("cl_ilr", plan=False)
    assert ensemble.method.temperature == 2.0
    assert ensemble.method.stem_gradient == "mean"
    images, labels = data()
    logs = ensemble.train_on_batch(images, labels, return_dict=True)
    expected = 0.5 * logs["label_loss"] + 0.5 * logs["distillation_loss"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("widths", [(1.0, 0.5), (1.0, 0.75, 0.5, 0.25)])
def test_terms(widths, training):
    ensemble = spread_logits(small("cl_ilr", widths=widths))
    images, labels = data()
    outputs, logits, terms = look(ensemble, images, labels, training)
    assert set(terms) == {"label_loss", "distillation_loss"}
    label_loss = cross_entropy(labels, logits).sum(0).mean()
    assert terms["label_loss"] == pytest.approx(label_loss, rel=1e-4)
    distance = kl(others_mean(logits), logits, 2.0).sum(0).mean()
    assert distance > 1e-2
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)
    np.testing.assert_allclose(outputs["teacher"], logits.mean(0), atol=1e-5)


def test_others_are_targets():
    """The gradient to a student's logits is that of its own divergence alone: T (s − q)."""
    ensemble = spread_logits(small("cl_ilr"))
    images, labels = data()
    outputs = dict(ensemble(images, training=True, with_parts=True))
    names = [s.name for s in ensemble.students]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in names])
        loss = ensemble.loss_terms(labels, outputs, images=images)["distillation_loss"]
    found = tape.gradient(loss, [outputs[name] for name in names])
    logits = stacked(ensemble, outputs)
    for own, target, gradient in zip(logits, others_mean(logits), found, strict=True):
        expected = 2 * (keras.ops.softmax(own / 2) - keras.ops.softmax(target / 2)) / len(images)
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


def stem_gradients(ensemble, images, labels, terms, student=None):
    """Of the sum of terms, or of what one student adds to the label loss."""
    stem = ensemble.students[0].get_layer("stem_conv")
    with tf.GradientTape() as tape:
        outputs = ensemble(images, training=True, with_parts=True)
        if student is None:
            found = ensemble.loss_terms(labels, outputs, images=images)
            loss = sum(found[name] for name in terms)
        else:
            logits = outputs[ensemble.students[student].name]
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            )
    return [np.asarray(g) for g in tape.gradient(loss, [stem.kernel.value, stem.bias.value])]


def test_stem_has_the_mean_of_the_students_gradients():
    images, labels = data()
    one_by_one = [
        stem_gradients(small("labels"), images, labels, None, student) for student in range(3)
    ]
    found = stem_gradients(small("cl_ilr"), images, labels, ["label_loss"])
    for gradient, *own in zip(found, *one_by_one, strict=True):
        np.testing.assert_allclose(gradient, np.mean(own, axis=0), rtol=1e-4, atol=1e-6)
    # The same of both terms: a third of what all students give together.
    both = ["label_loss", "distillation_loss"]
    mean, whole = (
        stem_gradients(spread_logits(small("cl_ilr", stem_gradient=share)), images, labels, both)
        for share in ("mean", "all")
    )
    for gradient, every in zip(mean, whole, strict=True):
        assert np.abs(every).max() > 1e-3
        np.testing.assert_allclose(gradient, every / 3, rtol=1e-4, atol=1e-6)


def test_branches_have_their_whole_gradient():
    images, labels = data()
    steps = []
    for share in ("mean", "all"):
        ensemble = small("cl_ilr", stem_gradient=share, optimizer=keras.optimizers.SGD(1.0))
        kernels = [
            ensemble.students[0].get_layer("stem_conv").kernel,
            ensemble.students[2].get_layer("student_3_block_1").kernel,
        ]
        before = [kernel.numpy() for kernel in kernels]
        ensemble.train_on_batch(images, labels)
        steps.append([k.numpy() - old for k, old in zip(kernels, before, strict=True)])
    (stem, branch), (whole_stem, same_branch) = steps
    np.testing.assert_allclose(stem, whole_stem / 3, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(branch, same_branch, rtol=1e-3, atol=1e-6)


def test_equal_students_have_nothing_to_learn_from_each_other():
    ensemble = small("cl_ilr")
    for student in ensemble.students:
        student.layers[-1].kernel.assign(0 * student.layers[-1].kernel)
        student.layers[-1].bias.assign([1.0, 2.0, 3.0, 4.0])
    _, _, terms = look(ensemble, *data())
    assert terms["distillation_loss"] == pytest.approx(0, abs=1e-6)


def test_soft_labels():
    ensemble = spread_logits(small("cl_ilr"))
    rows = soft()
    _, logits, terms = look(ensemble, data()[0], rows)
    assert terms["label_loss"] == pytest.approx(cross_entropy(rows, logits).sum(0).mean(), rel=1e-4)


def test_one_student_is_refused():
    with pytest.raises(ValueError, match=r"^widths must be of two students .*Received: 1"):
        small("cl_ilr", widths=(1.0,))
