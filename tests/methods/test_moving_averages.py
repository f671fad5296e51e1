"""Moving averages of any method: by hand, evaluated, exported, saved and loaded."""

import keras
import numpy as np
import pytest
from by_hand import cross_entropy, data, look, small, stacked, values

from oekd_tf import methods

METHODS = {"labels": {}, "oekd": {"teacher_weights": "cross_entropy"}}
DECAY = 0.6


def made(name, **arguments):
    given = {"ema_decay": DECAY, "optimizer": keras.optimizers.SGD(0.3), **METHODS.get(name, {})}
    return small(name, **{**given, **arguments})


def averaged(ensemble):
    """All variables that must have an average: the students', and the method's trained ones."""
    found = {id(v): v for s in ensemble.students for v in s.variables}
    return [*found.values(), *ensemble.method.trainable_variables]


def averages(ensemble, variables=None):
    variables = averaged(ensemble) if variables is None else variables
    return values([ensemble.method.moving_averages.of(v) for v in variables])


@pytest.fixture(scope="module", params=METHODS)
def trained(request):
    """(ensemble, averages by hand) after three steps; d = min(1 − 1/t, 0.6) is 0, 1/2, 0.6."""
    ensemble = made(request.param)
    expected = values(averaged(ensemble))
    for step, decay in enumerate((0.0, 0.5, 0.6)):
        ensemble.train_on_batch(*data(seed=step))
        now = values(averaged(ensemble))
        expected = [decay * a + (1 - decay) * v for a, v in zip(expected, now, strict=True)]
    return ensemble, expected


def test_three_steps_by_hand(trained):
    """Weights and moving statistics alike."""
    ensemble, expected = trained
    variables = averaged(ensemble)
    assert any("moving_variance" in v.path for v in variables)
    found = averages(ensemble)
    for variable, average, value in zip(variables, found, expected, strict=True):
        np.testing.assert_allclose(average, value, rtol=1e-4, atol=1e-6, err_msg=variable.path)
    far = [np.abs(v - a).max() for v, a in zip(values(variables), found, strict=True)]
    assert sum(distance > 1e-3 for distance in far) > len(far) / 2


def test_students_keep_what_is_trained(trained):
    ensemble, _ = trained
    images, labels = data(seed=9)
    before = values(averaged(ensemble))
    raw = [np.asarray(student(images)) for student in ensemble.students]
    outputs = ensemble(images)
    ensemble.evaluate(images, labels, verbose=0)
    ensemble.predict(images, verbose=0)
    for variable, old in zip(values(averaged(ensemble)), before, strict=True):
        np.testing.assert_array_equal(variable, old)
    for student, logits in zip(ensemble.students, raw, strict=True):
        assert np.abs(outputs[student.name] - logits).max() > 1e-3


def test_exported_models_have_them(trained):
    ensemble, _ = trained
    images, labels = data(seed=9)
    models = ensemble.exported_models()
    assert [model.name for model in models] == ["student_1", "student_2", "student_3"]
    outputs, predicted = ensemble(images), ensemble.predict(images, verbose=0)
    logits = []
    for model, student in zip(models, ensemble.students, strict=True):
        for own, average in zip(
            values(model.variables), averages(ensemble, student.variables), strict=True
        ):
            np.testing.assert_array_equal(own, average)
        logits.append(np.asarray(model(images, training=False), np.float64))
        np.testing.assert_allclose(outputs[student.name], logits[-1], atol=1e-4)
        np.testing.assert_allclose(predicted[student.name], logits[-1], atol=1e-4)
    # What is evaluated is theirs, too.
    logs = ensemble.evaluate(images, labels, batch_size=8, verbose=0, return_dict=True)
    expected = cross_entropy(labels, np.stack(logits)).sum(0).mean()
    assert logs["label_loss"] == pytest.approx(expected, rel=1e-4)
    for model, own in zip(models, logits, strict=True):
        hits = (own.argmax(-1) == labels).mean()
        assert logs[f"{model.name}_accuracy"] == pytest.approx(hits)


def test_training_sees_the_weights(trained):
    ensemble, _ = trained
    images, _ = data(seed=9)
    state = ensemble.get_weights()
    outputs = ensemble(images, training=True)
    ensemble.set_weights(state)
    logits = stacked(ensemble, outputs)
    for student, own in zip(ensemble.students, logits, strict=True):
        copy = keras.models.clone_model(student)
        copy.set_weights(student.get_weights())
        np.testing.assert_allclose(copy(images, training=True), own, atol=1e-4)


def test_saved_and_loaded(trained, tmp_path):
    ensemble, _ = trained
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    assert loaded.method.ema_decay == DECAY
    for one, other in zip(averages(ensemble), averages(loaded), strict=True):
        np.testing.assert_array_equal(one, other)
    images, labels = data(seed=9)
    for name, logits in ensemble(images).items():
        np.testing.assert_allclose(loaded(images)[name], logits, atol=1e-5)
    # They go on from there: the fourth step has the decay, not that of a first one.
    before = averages(loaded)
    loaded.run_eagerly = True
    loaded.train_on_batch(images, labels)
    now = values(averaged(loaded))
    for old, weight, average in zip(before, now, averages(loaded), strict=True):
        expected = DECAY * old + (1 - DECAY) * weight
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)


def test_weights_alone(trained, tmp_path):
    ensemble, _ = trained
    ensemble.save_weights(tmp_path / "some.weights.h5")
    other = small(ensemble.method.name, **METHODS[ensemble.method.name], ema_decay=DECAY)
    other.load_weights(tmp_path / "some.weights.h5")
    for one, same in zip(averages(ensemble), averages(other), strict=True):
        np.testing.assert_array_equal(one, same)


def test_the_gate_is_averaged_too():
    """In evaluation the whole ensemble is the averaged one, its teacher as well."""
    ensemble = made("one")
    for step in range(3):
        ensemble.train_on_batch(*data(seed=step))
    gate = ensemble.method.gate
    averages_of_gate = averages(ensemble, [gate.kernel, gate.bias])
    images, labels = data(seed=9)
    outputs, logits, _ = look(ensemble, images, labels)
    pooled = np.asarray(outputs["blocks"][0][0], np.float64).mean((1, 2))
    norm = ensemble.method.gate_norm
    gamma, beta = averages(ensemble, [norm.gamma, norm.beta])
    scores = pooled @ averages_of_gate[0] + averages_of_gate[1]
    scores = (scores - norm.moving_mean.numpy()) / np.sqrt(norm.moving_variance.numpy() + 1e-5)
    scores = np.exp(np.maximum(gamma * scores + beta, 0))
    shares = scores / scores.sum(1, keepdims=True)
    expected = np.einsum("bs,sbc->bc", shares, logits)
    np.testing.assert_allclose(outputs["teacher"], expected, atol=1e-4)


def test_none_are_kept_without_a_decay():
    ensemble = small("labels")
    assert ensemble.method.moving_averages is None
    assert not ensemble.method.variables
    models = ensemble.exported_models()
    assert all(a is b for a, b in zip(models, ensemble.students, strict=True))


def test_a_graph_has_the_same_averages():
    """Traced as in `fit`, not step by step."""
    eager, traced = made("oekd"), made("oekd", eager=False)
    images, labels = data(count=24)
    for ensemble in (eager, traced):
        ensemble.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    for one, other in zip(averages(eager), averages(traced), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, True, "0.9", float("nan")])
def test_refusals(decay):
    with pytest.raises(ValueError, match=r"^ema_decay must be a number above 0 and below 1\. Rec"):
        small("labels", ema_decay=decay)


def test_an_offline_teacher_has_them(trained):
    ensemble, _ = trained
    images, _ = data(seed=9)
    teacher = methods.Offline(teacher=ensemble).network
    expected = ensemble.exported_models()[0]
    np.testing.assert_allclose(teacher(images), expected(images), atol=1e-5)
