"""KDCL: its four targets by hand, in training and in evaluation, with views and without."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import cross_entropy, data, kl, look, small, soft, softmax, spread_logits, stacked

from oekd_tf.methods import Batch


def min_logit(logits, labels):
    """The true class at 0, every other as low as any student has it."""
    shifted = np.stack([[z - z[y] for z, y in zip(own, labels, strict=True)] for own in logits])
    return shifted.min(0)


def naive(logits, labels):
    """Each example's logits of the student that is best on it."""
    best = cross_entropy(labels, logits).argmin(0)
    return np.stack([logits[student, example] for example, student in enumerate(best)])


def uniform(logits, labels):
    """General, before there are weights of validation images."""
    return logits.mean(0)


TARGETS = {"minlogit": min_logit, "naive": naive, "general": uniform}


def test_defaults():
    ensemble = small("kdcl", plan=False)
    assert ensemble.method.target == "minlogit"
    assert ensemble.method.temperature == 2.0
    assert ensemble.method.stem_gradient == "all"
    logs = ensemble.train_on_batch(*data(), return_dict=True)
    expected = logs["label_loss"] + logs["distillation_loss"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("target", TARGETS)
def test_terms(target, training):
    ensemble = spread_logits(small("kdcl", target=target))
    images, labels = data()
    outputs, logits, terms = look(ensemble, images, labels, training)
    label_loss = cross_entropy(labels, logits).sum(0).mean()
    assert terms["label_loss"] == pytest.approx(label_loss, rel=1e-4)
    distance = kl(TARGETS[target](logits, labels), logits, 2.0).sum(0).mean()
    assert distance > 1e-2
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)
    # The teacher that is logged knows no labels: uniform at first, for minlogit always.
    np.testing.assert_allclose(outputs["teacher"], logits.mean(0), atol=1e-5)
    if target == "naive":
        best = cross_entropy(labels, logits).argmin(0)
        for number in (1, 2, 3):
            share = (best == number - 1).mean()
            assert terms[f"teacher_weight_{number}"] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_terms_of_linear(training):
    ensemble = spread_logits(small("kdcl", target="linear"))
    images, labels = data()
    _, logits, terms = look(ensemble, images, labels, training)
    weights = np.array([terms[f"teacher_weight_{n}"] for n in (1, 2, 3)])
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    distance = kl(np.einsum("s,sbc->bc", weights, logits), logits, 2.0).sum(0).mean()
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)
    # No point of a grid over the simplex is better by more than a thousandth.
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 21)]
    costs = [cross_entropy(labels, np.einsum("s,sbc->bc", w, logits)).mean() for w in grid]
    own = cross_entropy(labels, np.einsum("s,sbc->bc", weights, logits)).mean()
    assert own < min(costs) + 1e-3
    assert own <= min(cross_entropy(labels, z).mean() for z in logits) + 1e-3


def test_the_target_of_minlogit(rng):
    ensemble = small("kdcl")
    logits, labels = rng.normal(size=(3, 6, 4)), rng.integers(0, 4, 6)

    for given in (labels, labels[:, None], 0.9 * np.eye(4)[labels] + 0.025):
        batch = Batch(images=None, stem=[], blocks=[], features=[], logits=[], labels=given)
        target = np.asarray(ensemble.method.targets(batch, keras.ops.convert_to_tensor(logits)))
        np.testing.assert_array_equal(target[range(6), labels], 0)
        shifted = logits - logits[:, range(6), labels][..., None]
        assert (target <= shifted + 1e-6).all()
        np.testing.assert_allclose(target, min_logit(logits, labels), atol=1e-6)
        # As hard as any: its probability of the true class is at least that of every student.
        probability = softmax(target)[range(6), labels]
        assert (probability >= softmax(logits)[:, range(6), labels] - 1e-6).all()


@pytest.mark.parametrize("target", ["naive", "linear", "minlogit", "general"])
def test_equal_students_are_no_target(target):
    ensemble = small("kdcl", target=target)
    for number, student in enumerate(ensemble.students):
        student.layers[-1].kernel.assign(0 * student.layers[-1].kernel)
        # Of softmaxes alone: an offset of all logits is none.
        student.layers[-1].bias.assign(np.arange(4.0) + 10 * number)
    _, _, terms = look(ensemble, *data())
    assert terms["distillation_loss"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("target", ["naive", "linear", "minlogit", "general"])
def test_the_target_is_detached(target):
    """Each student's gradient is T (s − t), as if the target were a constant."""
    ensemble = spread_logits(small("kdcl", target=target))
    images, labels = data()
    outputs = dict(ensemble(images, training=True, with_parts=True))
    names = [s.name for s in ensemble.students]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in names])
        found = ensemble.loss_terms(labels, outputs, images=images)
    gradients = tape.gradient(found["distillation_loss"], [outputs[name] for name in names])
    logits = stacked(ensemble, outputs)
    if target == "linear":
        weights = np.array([float(found[f"teacher_weight_{n}"]) for n in (1, 2, 3)])
        wanted = np.einsum("s,sbc->bc", weights, logits)
    else:
        wanted = TARGETS[target](logits, labels)
    for own, gradient in zip(logits, gradients, strict=True):
        expected = 2 * (softmax(own / 2) - softmax(wanted / 2)) / len(images)
        np.testing.assert_allclose(gradient, expected, atol=1e-4)


@pytest.mark.parametrize("target", ["naive", "minlogit"])
def test_soft_labels(target):
    """Minlogit takes the most probable class; naive the cross-entropy with all."""
    ensemble = spread_logits(small("kdcl", target=target))
    images, rows = data()[0], soft()
    _, logits, terms = look(ensemble, images, rows)
    label_loss = cross_entropy(rows, logits).sum(0).mean()
    assert terms["label_loss"] == pytest.approx(label_loss, rel=1e-4)
    labels = rows if target == "naive" else rows.argmax(-1)
    distance = kl(TARGETS[target](logits, labels), logits, 2.0).sum(0).mean()
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)


def test_views():
    """A view for each student, or one for all: both train, and each student sees its own."""
    ensemble = spread_logits(small("kdcl"))
    images, labels = data(views=3)
    outputs, logits, terms = look(ensemble, images, labels)
    for index, student in enumerate(ensemble.students):
        np.testing.assert_allclose(
            outputs[student.name], student(images[:, index]), rtol=1e-4, atol=1e-4
        )
    distance = kl(min_logit(logits, labels), logits, 2.0).sum(0).mean()
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)
    logs = ensemble.train_on_batch(images, labels, return_dict=True)
    assert np.isfinite(logs["loss"])
    plain, _ = data()
    before = ensemble.students[2].trainable_variables[0].numpy()
    logs = ensemble.train_on_batch(plain, labels, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert np.abs(ensemble.students[2].trainable_variables[0].numpy() - before).max() > 0
    # The same view for all is what images without views are.
    again = np.repeat(plain[:, None], 3, axis=1)
    for one, other in zip(
        stacked(ensemble, ensemble(plain)), stacked(ensemble, ensemble(again)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_wrong_number_of_views():
    ensemble = small("kdcl")
    with pytest.raises(ValueError, match=r"^Images must be .*Received: shape \(8, 2, 8, 8, 3\)"):
        ensemble.train_on_batch(*data(views=2))


def test_refusals():
    with pytest.raises(ValueError, match=r"^widths must be of two students .*Received: 1"):
        small("kdcl", widths=(1.0,))
    with pytest.raises(ValueError, match=r"target must be one of naive, .*Received: 'mean'"):
        small("kdcl", target="mean")
