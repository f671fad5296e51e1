"""PCL: head, mean teachers, moving averages and terms by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import (
    cross_entropy,
    data,
    kl,
    look,
    mean_logits,
    network_of,
    ramp,
    small,
    softmax,
    spread_logits,
    stacked,
    values,
)  # fmt: skip


def head_by_hand(ensemble, outputs, variables=None):
    """The head on the concatenated features of all students; (batch, classes)."""
    kernel, bias = variables or values([ensemble.method.head.kernel, ensemble.method.head.bias])
    features = [np.asarray(seen, np.float64) for seen in outputs["features"]]
    return np.concatenate(features, axis=-1) @ kernel + bias


def from_means(means, logits, temperature=3.0):
    """Σ_i 1/(M−1) Σ_{j≠i} T² KL(z̄_j ‖ z_i), averaged over the batch."""
    count = len(logits)
    return sum(
        kl(means[j], logits[i], temperature).mean() / (count - 1)
        for i in range(count)
        for j in range(count)
        if i != j
    )


def apart(ensemble):
    """Averages that are not the weights."""
    rng = np.random.default_rng(5)
    for student in ensemble.students:
        for variable in student.trainable_variables:
            average = ensemble.method.moving_averages.of(variable)
            average.assign(average + rng.normal(0, 0.3, average.shape))
    for variable in (ensemble.method.head.kernel, ensemble.method.head.bias):
        variable.assign(variable + rng.normal(0, 0.5, variable.shape))
    return ensemble


@pytest.mark.parametrize("views", [0, 3])
@pytest.mark.parametrize("teachers", ["both", "ensemble", "mean"])
def test_terms_in_training(teachers, views):
    ensemble = apart(spread_logits(small("pcl", teachers=teachers)))
    images, labels = data(views=views)
    means = mean_logits(ensemble, images)
    outputs, logits, terms = look(ensemble, images, labels, training=True)
    head = head_by_hand(ensemble, outputs)
    np.testing.assert_allclose(outputs["teacher"], head, rtol=1e-3, atol=1e-4)
    distance = 0.0
    if teachers != "mean":
        distance += kl(head, logits, 3.0).sum(0).mean()
    if teachers != "ensemble":
        distance += from_means(means, logits)
        assert np.abs(means - logits).max() > 0.1
    expected = {
        "label_loss": cross_entropy(labels, logits).sum(0).mean(),
        "teacher_label_loss": cross_entropy(labels, head).mean(),
        "distillation_loss": distance,
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value, rel=2e-3), name
    if views:
        for index, student in enumerate(ensemble.students):
            own = student(images[:, index], training=True)
            np.testing.assert_allclose(outputs[student.name], own, atol=1e-3)


def test_evaluation_has_the_averages():
    """Students, head and mean teachers are then all averages."""
    ensemble = apart(spread_logits(small("pcl")))
    head = ensemble.method.head
    for variable in (head.kernel, head.bias):
        average = ensemble.method.moving_averages.of(variable)
        average.assign(0.5 * variable + 0.1)
    images, labels = data()
    networks = [network_of(ensemble, i) for i in range(3)]
    outputs, logits, terms = look(ensemble, images, labels)
    for network, own in zip(networks, logits, strict=True):
        np.testing.assert_allclose(network(images, training=False), own, atol=1e-4)
    averages = values([ensemble.method.moving_averages.of(v) for v in (head.kernel, head.bias)])
    teacher = head_by_hand(ensemble, outputs, averages)
    np.testing.assert_allclose(outputs["teacher"], teacher, atol=1e-4)
    distance = kl(teacher, logits, 3.0).sum(0).mean() + from_means(logits, logits)
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-3)
    expected = cross_entropy(labels, teacher).mean()
    assert terms["teacher_label_loss"] == pytest.approx(expected, rel=1e-3)


def test_teachers_are_targets():
    """Each student has the gradient of its own divergences alone, and the head has none."""
    ensemble = apart(spread_logits(small("pcl")))
    images, labels = data()
    means = mean_logits(ensemble, images)
    outputs = dict(ensemble(images, training=True, with_parts=True))
    names = [s.name for s in ensemble.students]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in (*names, "teacher")])
        loss = ensemble.loss_terms(labels, outputs, images=images, training=True)
        loss = loss["distillation_loss"]
    *found, to_teacher = tape.gradient(loss, [outputs[name] for name in (*names, "teacher")])
    assert to_teacher is None
    logits = stacked(ensemble, outputs)
    head = np.asarray(outputs["teacher"], np.float64)
    for index, (own, gradient) in enumerate(zip(logits, found, strict=True)):
        targets = [softmax(head / 3), softmax(np.delete(means, index, 0) / 3).mean(0)]
        expected = 3 * sum(softmax(own / 3) - target for target in targets) / 8
        np.testing.assert_allclose(gradient, expected, atol=1e-4)


@pytest.mark.parametrize("views", [0, 3])
def test_averages_of_three_steps(views):
    """d = min(1 − 1/t, decay): 0, 1/2, and then the decay of 0.6 in place of 2/3."""
    ensemble = small("pcl", ema_decay=0.6, optimizer=keras.optimizers.SGD(0.3))
    variables = [*ensemble.method.head.variables]
    variables += {id(v): v for s in ensemble.students for v in s.trainable_variables}.values()
    before = values(variables)
    averages = ensemble.method.moving_averages
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(averages.of(variable), value)
    expected = before
    for decay in (0.0, 0.5, 0.6):
        ensemble.train_on_batch(*data(views=views))
        now = values(variables)
        expected = [decay * a + (1 - decay) * v for a, v in zip(expected, now, strict=True)]
        for variable, value in zip(variables, expected, strict=True):
            np.testing.assert_allclose(averages.of(variable), value, rtol=1e-5, atol=1e-6)
    assert any(np.abs(a - v).max() > 1e-3 for a, v in zip(expected, now, strict=True))


def statistics(student):
    return [v for v in student.non_trainable_variables if "moving" in v.name]


def test_mean_teachers_have_statistics_of_their_own():
    ensemble = apart(small("pcl", optimizer=keras.optimizers.SGD(0.3)))
    images, labels = data()
    student = ensemble.students[1]
    network = network_of(ensemble, 1)
    network(images, training=True)
    ensemble.train_on_batch(images, labels)
    own = values(statistics(student))
    averaged = values([ensemble.method.moving_averages.of(v) for v in statistics(student)])
    for value, average, seen in zip(own, averaged, values(statistics(network)), strict=True):
        np.testing.assert_allclose(average, seen, rtol=1e-4, atol=1e-6)
        assert np.abs(average - value).max() > 1e-4


@pytest.mark.parametrize("teachers", ["both", "ensemble", "mean"])
def test_exported_are_the_mean_teachers(teachers):
    """With statistics of what they have seen, whichever teachers students follow."""
    ensemble = small("pcl", teachers=teachers, optimizer=keras.optimizers.SGD(0.3))
    images, labels = data()
    for _ in range(6):
        ensemble.train_on_batch(images, labels)
    exported = ensemble.exported_models()
    outputs = ensemble(images)
    predicted = ensemble.predict(images, verbose=0)
    for model, student in zip(exported, ensemble.students, strict=True):
        assert model.name == student.name
        logits = model(images, training=False)
        np.testing.assert_allclose(outputs[student.name], logits, atol=1e-4)
        np.testing.assert_allclose(predicted[student.name], logits, atol=1e-4)
        assert np.abs(np.asarray(student(images)) - logits).max() > 1e-4
        for variable, own, average in zip(
            student.variables, model.variables,
            [ensemble.method.moving_averages.of(v) for v in student.variables], strict=True,
        ):  # fmt: skip
            np.testing.assert_array_equal(own, average)
            if "moving" in variable.path:
                # Six steps with a momentum of 0.5 are enough to be near what is seen.
                assert np.abs(variable.numpy() - own.numpy()).max() < 0.3
                initial = float("variance" in variable.name)
                assert np.abs(own.numpy() - initial).max() > 1e-3


def test_one_ramp():
    """Both divergences have the weight γ w(e), labels of students and head have none."""
    arguments = {"label_weight": 0.7, "teacher_label_weight": 0.4, "distillation_weight": 1.5}
    ensemble = spread_logits(
        small("pcl", **arguments, optimizer=keras.optimizers.SGD(0.0), norm=False)
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
    method = small("pcl").method
    assert (method.temperature, method.label_weight, method.ema_decay) == (3.0, 1.0, 0.999)
    assert (method.distillation_weight, method.teacher_label_weight) == (1.0, 1.0)


def test_other_divergences():
    """Of the standardised one, both teachers are divergences of standardised logits."""
    ensemble = apart(spread_logits(small("pcl", divergence="standardized_kl")))
    images, labels = data()
    means = mean_logits(ensemble, images)
    outputs, logits, terms = look(ensemble, images, labels, training=True)

    def normal(z):
        return (z - z.mean(-1, keepdims=True)) / (z.std(-1, keepdims=True) + 1e-7)

    head = np.asarray(outputs["teacher"], np.float64)
    distance = kl(normal(head), normal(logits), 3.0).sum(0).mean()
    distance += from_means(normal(means), normal(logits))
    assert terms["distillation_loss"] == pytest.approx(distance, rel=2e-3)


def test_refusals():
    with pytest.raises(ValueError, match=r"^widths must be of two students .*Received: 1"):
        small("pcl", widths=(1.0,))
    with pytest.raises(ValueError, match=r"^ema_decay must be a number .*Received: None"):
        small("pcl", ema_decay=None)
    with pytest.raises(ValueError, match=r"^ema_decay must be a number .*Received: 1"):
        small("pcl", ema_decay=1)
    with pytest.raises(ValueError, match=r"teachers must be one of both, .*Received: 'peers'"):
        small("pcl", teachers="peers")
