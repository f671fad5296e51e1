"""Rules that weigh the students of a teacher: by their formulas, and in an ensemble."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import (
    CLASSES,
    cross_entropy,
    data,
    kl,
    log_softmax,
    look,
    small,
    soft,
    softmax,
    spread_logits,
    stacked,
)  # fmt: skip
from scipy.optimize import minimize

from oekd_tf.core.errors import NonFiniteLossError
from oekd_tf.methods.parts import teacher_weights


def softmax_of_students(losses):
    return softmax(-4.0 * np.asarray(losses).T).T


def better_by_hand(losses):
    rows = []
    for own in losses:
        better = [float(other < own) for other in losses]
        rows.append(better if sum(better) else [float(other is own) for other in losses])
    rows = np.array(rows)
    return rows / rows.sum(1, keepdims=True)


def mixed_cross_entropy(weights, logits, labels):
    return cross_entropy(labels, np.einsum("s,sbc->bc", weights, logits)).mean()


def least_cross_entropy(logits, labels):
    """The least that weights on the simplex can have; the problem is convex."""
    students = len(logits)
    starts = [np.full(students, 1 / students), 0.9 * np.eye(students)[0] + 0.1 / students]
    found = [
        minimize(
            mixed_cross_entropy, start, args=(logits, labels), method="SLSQP",
            bounds=[(0, 1)] * students, options={"ftol": 1e-12, "maxiter": 300},
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        ).fun
        for start in starts
    ]  # fmt: skip
    return min(found)


class TestFunctions:
    def test_by_cross_entropy(self, rng):
        losses = rng.uniform(0, 3, (3, 5))
        found = np.asarray(teacher_weights.by_cross_entropy(losses))
        np.testing.assert_allclose(found, softmax_of_students(losses), rtol=1e-5)
        np.testing.assert_allclose(found.sum(0), 1, rtol=1e-6)
        # A nat higher counts exp(-4) = 1/54.6 as much.
        found = np.asarray(teacher_weights.by_cross_entropy(np.array([1.0, 2.0])))
        assert found[0] / found[1] == pytest.approx(54.598, rel=1e-4)

    def test_best_only(self):
        losses = np.array([[1.0, 0.2], [0.5, 0.3], [0.7, 0.9]])
        found = teacher_weights.best_only(losses)
        np.testing.assert_array_equal(found, [[0, 1], [1, 0], [0, 0]])

    def test_of_the_better(self, rng):
        found = teacher_weights.of_the_better(np.array([2.0, 1.0, 4.0, 3.0]))
        third = 1 / 3
        expected = [[0, 1, 0, 0], [0, 1, 0, 0], [third, third, 0, third], [0.5, 0.5, 0, 0]]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        losses = list(rng.uniform(size=5))
        found = teacher_weights.of_the_better(np.array(losses))
        np.testing.assert_allclose(found, better_by_hand(losses), rtol=1e-6)
        # Nobody is better than an equal.
        found = teacher_weights.of_the_better(np.array([1.0, 1.0, 2.0]))
        np.testing.assert_allclose(found, [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]])

    def test_by_covariance(self, rng):
        """C⁻¹1 / 1ᵀC⁻¹1 has the least variance of all weights of sum 1."""
        errors = rng.normal(size=(3, 200)) * [[1.0], [2.0], [3.0]] + rng.normal(size=200)
        covariance = errors @ errors.T / 200
        found = teacher_weights.by_covariance(covariance)
        inverse = np.linalg.inv(covariance)
        np.testing.assert_allclose(found, inverse.sum(1) / inverse.sum(), atol=5e-3)
        assert found.sum() == pytest.approx(1)
        for _ in range(50):
            other = found + rng.normal(size=3)
            other += (1 - other.sum()) / 3
            assert other @ covariance @ other > found @ covariance @ found * 0.999
        # Independent errors of variances 1 and 3 count 3 to 1.
        found = teacher_weights.by_covariance(np.diag([1.0, 3.0]))
        np.testing.assert_allclose(found, [0.75, 0.25], atol=1e-3)

    @pytest.mark.parametrize("size", [1e-9, 1.0, 1e6])
    def test_by_covariance_of_equal_students(self, size):
        found = teacher_weights.by_covariance(np.full((4, 4), size))
        np.testing.assert_allclose(found, 0.25, atol=1e-6)
        np.testing.assert_allclose(teacher_weights.by_covariance(np.zeros((2, 2))), 0.5)

    @pytest.mark.parametrize("name", ["by_cross_entropy", "of_the_better"])
    def test_no_gradient_flows_through(self, name):
        losses = tf.Variable([0.5, 0.7, 0.6])
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(getattr(teacher_weights, name)(losses * 1.0)[0] * 3.0)
        assert tape.gradient(value, losses) is None


class TestOnTheSimplex:
    @pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
    @pytest.mark.parametrize("students", [2, 3, 5])
    @pytest.mark.parametrize("kind", ["unlike", "alike", "trained"])
    def test_within_a_thousandth_of_the_least(self, kind, students, scale):
        rng = np.random.default_rng(0)
        labels, classes = rng.integers(0, 10, 64), 10
        true = np.eye(classes)[labels]
        share = np.linspace(1.5, 0.3, students)[:, None, None]
        logits = rng.normal(size=(students, 64, classes))
        if kind == "alike":
            logits = 0.3 * logits + rng.normal(size=(64, classes)) + share * true
        elif kind == "trained":
            logits = logits + 3 * share * true
        logits = (scale * logits).astype(np.float32)
        weights = np.asarray(teacher_weights.on_the_simplex(logits, labels), np.float64)
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert (weights >= 0).all()
        excess = mixed_cross_entropy(weights, logits, labels)
        excess -= least_cross_entropy(logits.astype(np.float64), labels)
        assert excess < 1e-3

    @pytest.mark.parametrize("kind", ["large student", "common offset"])
    def test_logits_of_unlike_size(self, kind):
        """One student far larger than the others, and what all students share."""
        worst = 0.0
        for seed in range(3):
            rng = np.random.default_rng(seed)
            labels = rng.integers(0, 10, 64)
            logits = rng.normal(size=(3, 64, 10)) + 1.5 * np.eye(10)[labels]
            if kind == "large student":
                logits[0] *= 300
            else:
                logits[..., 0] += 400
            logits = logits.astype(np.float32)
            weights = np.asarray(teacher_weights.on_the_simplex(logits, labels), np.float64)
            logits = logits.astype(np.float64)
            excess = mixed_cross_entropy(weights, logits, labels)
            worst = max(worst, excess - least_cross_entropy(logits, labels))
        assert worst < 2e-3

    def test_never_fails(self):
        """Weights on the simplex for logits of any size; of NaN no error here."""
        for seed in range(20):
            rng = np.random.default_rng(seed)
            count = (1, 4, 16, 64)[seed % 4]
            labels = rng.integers(0, 10, count)
            logits = rng.normal(size=(2 + seed % 3, count, 10)) * 10.0 ** (1 + seed % 5)
            weights = np.asarray(
                teacher_weights.on_the_simplex(logits.astype(np.float32), labels), np.float64
            )
            assert weights.sum() == pytest.approx(1, abs=1e-4)
            assert (weights >= 0).all()
        for value in (np.nan, np.inf):
            logits = np.full((3, 4, 10), value, np.float32)
            teacher_weights.on_the_simplex(logits, np.zeros(4, int))

    def test_equal_students(self, rng):
        labels = rng.integers(0, 4, 16)
        logits = np.repeat(rng.normal(size=(1, 16, 4)), 3, axis=0).astype(np.float32)
        weights = teacher_weights.on_the_simplex(logits, labels)
        np.testing.assert_allclose(weights, 1 / 3, rtol=1e-5)
        same = teacher_weights.on_the_simplex(np.zeros((2, 4, 3), np.float32), np.zeros(4, int))
        np.testing.assert_allclose(same, 0.5)

    def test_the_only_good_one(self, rng):
        labels = rng.integers(0, 4, 64)
        logits = rng.normal(size=(3, 64, 4)).astype(np.float32)
        logits[1] += 8 * np.eye(4, dtype=np.float32)[labels]
        assert np.asarray(teacher_weights.on_the_simplex(logits, labels))[1] > 0.95

    def test_soft_labels_and_one_student(self, rng):
        rows = rng.dirichlet(np.ones(5), 32)
        logits = rng.normal(size=(3, 32, 5)).astype(np.float32)
        weights = np.asarray(teacher_weights.on_the_simplex(logits, rows.astype(np.float32)))
        excess = mixed_cross_entropy(weights, logits, rows) - least_cross_entropy(logits, rows)
        assert excess < 1e-3
        np.testing.assert_allclose(teacher_weights.on_the_simplex(logits[:1], rows), [1.0])


def weights_by_hand(rule, logits, labels, held=None):
    """What the targets of a batch are mixed with."""
    losses = cross_entropy(labels, logits)
    if rule == "cross_entropy":
        return softmax_of_students(losses.mean(1))
    if rule == "example":
        return softmax_of_students(losses)
    if rule == "better":
        return better_by_hand(list(losses.mean(1)))
    return held


def mixture(weights, logits):
    return (np.asarray(weights).reshape(len(logits), -1, 1) * logits).sum(0)


def terms_by_hand(rule, logits, labels, weights, temperature=2.0):
    """(distillation loss, weights as they are logged)."""
    if rule == "better":
        total = 0.0
        for own, row in enumerate(weights):
            # The best one, whose row is itself, follows nobody.
            if row[own] == 0:
                total += kl(np.einsum("s,sbc->bc", row, logits), logits[own], temperature).mean()
        return total, weights.mean(0)
    target = mixture(weights, logits)
    logged = weights if np.ndim(weights) == 1 else weights.mean(1)
    return kl(target, logits, temperature).sum(0).mean(), logged


@pytest.mark.parametrize("rule", ["cross_entropy", "simplex", "example", "better"])
def test_two_steps_of_a_rule(rule):
    """Targets, logs and the teacher of prediction, the last with a moving average of 0.9."""
    ensemble = spread_logits(small("oekd", teacher_weights=rule, feature_weight=0.0))
    assert ensemble.method.logged == ("teacher_weight_1", "teacher_weight_2", "teacher_weight_3")
    average = np.full(3, 1 / 3)
    for step in range(2):
        images, labels = data(seed=step)
        state = ensemble.get_weights()
        outputs = ensemble(images, training=True, with_parts=True)
        logits = stacked(ensemble, outputs)
        ensemble.set_weights(state)
        np.testing.assert_allclose(outputs["teacher"], mixture(average, logits), atol=1e-4)
        weights = weights_by_hand(rule, logits, labels)
        ensemble.reset_metrics()
        logs = ensemble.train_on_batch(images, labels, return_dict=True)
        if rule == "simplex":
            weights = np.array([logs[f"teacher_weight_{n}"] for n in (1, 2, 3)])
            excess = mixed_cross_entropy(weights, logits, labels)
            assert excess < least_cross_entropy(logits, labels) + 1e-3
        distance, logged = terms_by_hand(rule, logits, labels, weights)
        assert logs["distillation_loss"] == pytest.approx(distance, rel=1e-3, abs=1e-6)
        found = [logs[f"teacher_weight_{n}"] for n in (1, 2, 3)]
        np.testing.assert_allclose(found, logged, atol=1e-4)
        assert np.abs(logged - 1 / 3).max() > 0.01
        average = 0.9 * average + 0.1 * logged
        np.testing.assert_allclose(ensemble.method.shares, average, atol=1e-4)
    # Evaluation and prediction leave it, and use it.
    outputs, logits, _ = look(ensemble, images, labels)
    np.testing.assert_allclose(outputs["teacher"], mixture(average, logits), atol=1e-4)
    ensemble.evaluate(images, labels, verbose=0)
    predicted = ensemble.predict(images, verbose=0)["teacher"]
    np.testing.assert_allclose(predicted, outputs["teacher"], atol=1e-4)
    np.testing.assert_allclose(ensemble.method.shares, average, atol=1e-4)


@pytest.mark.parametrize("rule", ["cross_entropy", "simplex", "example", "better"])
def test_a_training_that_diverges_says_so(rule):
    ensemble = small("oekd", teacher_weights=rule)
    ensemble.students[1].layers[-1].bias.assign([np.inf, 0.0, 0.0, 0.0])
    with pytest.raises(NonFiniteLossError, match=r"^Training stopped: every loss and gradient"):
        ensemble.train_on_batch(*data())


@pytest.mark.parametrize("rule", ["cross_entropy", "example", "better"])
def test_evaluation_has_the_targets_of_its_own_batch(rule):
    ensemble = spread_logits(small("oekd", teacher_weights=rule))
    images, labels = data()
    _, logits, terms = look(ensemble, images, labels)
    distance, logged = terms_by_hand(rule, logits, labels, weights_by_hand(rule, logits, labels))
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose([terms[f"teacher_weight_{n}"] for n in (1, 2, 3)], logged, atol=1e-5)


@pytest.mark.parametrize("rule", ["cross_entropy", "example"])
def test_soft_labels_weigh_students(rule):
    ensemble = spread_logits(small("oekd", teacher_weights=rule))
    images, rows = data()[0], soft()
    _, logits, terms = look(ensemble, images, rows)
    distance, _ = terms_by_hand(rule, logits, rows, weights_by_hand(rule, logits, rows))
    assert terms["distillation_loss"] == pytest.approx(distance, rel=1e-4)


@pytest.mark.parametrize("divergence", ["kl", "standardized_kl", "dkd", "nkd"])
def test_the_best_follows_nobody(divergence):
    """Its logits have no gradient of the distillation loss; the others' have one."""
    ensemble = spread_logits(small("oekd", teacher_weights="better", divergence=divergence))
    images, labels = data()
    outputs = dict(ensemble(images, training=True, with_parts=True))
    names = [s.name for s in ensemble.students]
    with tf.GradientTape() as tape:
        tape.watch([outputs[name] for name in names])
        loss = ensemble.loss_terms(labels, outputs, images=images)["distillation_loss"]
    found = tape.gradient(loss, [outputs[name] for name in names])
    losses = cross_entropy(labels, stacked(ensemble, outputs)).mean(1)
    assert len(set(losses)) == 3
    sizes = [0.0 if g is None else float(np.abs(g).max()) for g in found]
    assert [size > 1e-5 for size in sizes] == [own > min(losses) for own in losses]
    if divergence == "nkd":
        # A cross-entropy is not 0 for a copy: a follower's alone is counted.
        only = ensemble_of_one_follower(ensemble, outputs, labels, losses)
        assert float(loss) == pytest.approx(only, rel=1e-4)


def ensemble_of_one_follower(ensemble, outputs, labels, losses):
    logits = stacked(ensemble, outputs)
    rows, total = better_by_hand(list(losses)), 0.0
    for own, row in enumerate(rows):
        if row[own]:
            continue
        target = np.einsum("s,sbc->bc", row, logits)
        for t, z, y in zip(target, logits[own], labels, strict=True):
            rest_t, rest_s = np.delete(t, y) / 2, np.delete(z, y) / 2
            total += -softmax(t)[y] * log_softmax(z)[y]
            total -= 1.5 * 4 * (softmax(rest_t) * log_softmax(rest_s)).sum()
    return total / len(labels)


def held_out_by_hand(rule, logits, labels):
    if rule == "validation":
        return softmax_of_students(cross_entropy(labels, logits).mean(1))
    error = softmax(logits) - np.eye(CLASSES)[labels]
    covariance = np.einsum("ibc,jbc->ij", error, error) / error[0].size
    covariance += 1e-3 * np.trace(covariance) / 3 * np.eye(3)
    inverse = np.linalg.inv(covariance)
    return inverse.sum(1) / inverse.sum()


HELD_OUT = [
    ("validation", "oekd", {"teacher_weights": "validation"}),
    ("covariance", "kdcl", {"target": "general"}),
]


@pytest.mark.parametrize(
    ("form", "rule", "name", "arguments"), [("arrays", *HELD_OUT[1]), ("batches", *HELD_OUT[0])]
)
def test_weights_of_the_validation_images(form, rule, name, arguments):
    ensemble = spread_logits(small(name, **arguments))
    images, labels = data()
    held, held_labels = data(seed=7, count=12)
    given = (held, held_labels)
    if form == "batches":
        given = tf.data.Dataset.from_tensor_slices(given).batch(5)
    state = ensemble.get_weights()
    outputs = ensemble(images, training=True, with_parts=True)
    logits = stacked(ensemble, outputs)
    ensemble.set_weights(state)
    # Uniform in the first epoch.
    np.testing.assert_allclose(outputs["teacher"], logits.mean(0), atol=1e-5)
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, "validation_data": given}
    logs = ensemble.fit(images, labels, **arguments).history
    expected = kl(logits.mean(0), logits, 2.0).sum(0).mean()
    assert logs["distillation_loss"][0] == pytest.approx(expected, rel=1e-4)
    assert logs["teacher_weight_1"][0] == pytest.approx(1 / 3)
    weights = held_out_by_hand(rule, stacked(ensemble, ensemble(held)), held_labels)
    np.testing.assert_allclose(ensemble.method.shares, weights, atol=2e-4)
    # Targets of the next epoch have them.
    outputs, logits, terms = look(ensemble, images, labels, training=True)
    np.testing.assert_allclose(outputs["teacher"], mixture(weights, logits), atol=2e-3)
    expected = kl(mixture(weights, logits), logits, 2.0).sum(0).mean()
    assert terms["distillation_loss"] == pytest.approx(expected, rel=5e-3)
    assert terms["teacher_weight_1"] == pytest.approx(weights[0], abs=2e-4)


@pytest.mark.parametrize(("rule", "name", "arguments"), HELD_OUT)
def test_without_validation_data_nothing_is_trained(rule, name, arguments):
    ensemble = small(name, **arguments)
    before = ensemble.get_weights()
    with pytest.raises(ValueError, match=r"^validation_data must be given, .*Received: None") as e:
        ensemble.fit(*data(), verbose=0)
    assert "\n" not in str(e.value)
    for variable, old in zip(ensemble.get_weights(), before, strict=True):
        np.testing.assert_array_equal(variable, old)


@pytest.mark.parametrize("rule", ["better", "validation"])
def test_weights_are_kept_with_the_ensemble(rule, tmp_path):
    ensemble = small("oekd", teacher_weights=rule)
    ensemble.method.shares.assign([0.5, 0.3, 0.2])
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    assert loaded.method.teacher_weights == rule
    np.testing.assert_allclose(loaded.method.shares, [0.5, 0.3, 0.2])
    outputs, logits, _ = look(loaded, *data())
    np.testing.assert_allclose(outputs["teacher"], mixture([0.5, 0.3, 0.2], logits), atol=1e-5)


@pytest.mark.parametrize("given", [None, (2, 1, 1), (0, 1, 3)])
def test_weights_that_are_given(given):
    ensemble = spread_logits(small("oekd", teacher_weights=given))
    weights = np.ones(3) / 3 if given is None else np.array(given) / sum(given)
    images, labels = data()
    for training in (True, False):
        outputs, logits, terms = look(ensemble, images, labels, training)
        target = mixture(weights, logits)
        np.testing.assert_allclose(outputs["teacher"], target, atol=1e-4)
        expected = kl(target, logits, 2.0).sum(0).mean()
        assert terms["distillation_loss"] == pytest.approx(expected, rel=1e-4)
    assert ensemble.method.logged == ()


def test_a_validation_split_is_validation_data():
    """The end of the arrays, as Keras splits; with and without weights of the examples."""
    images, labels = data(count=24)
    weights = np.linspace(0.5, 1.5, 24).astype(np.float32)
    logs = []
    for given in ({"validation_split": 0.25}, {"validation_data": (images[18:], labels[18:])}):
        split = "validation_split" in given
        x, y, w = (a if split else a[:18] for a in (images, labels, weights))
        ensemble = small("oekd", teacher_weights="validation")
        fitted = ensemble.fit(
            x, y, sample_weight=w, batch_size=6, shuffle=False, verbose=0, **given
        )
        logs.append((np.asarray(ensemble.method.shares), fitted.history["loss"]))
    np.testing.assert_allclose(logs[0][0], logs[1][0], rtol=1e-5)
    np.testing.assert_allclose(logs[0][1], logs[1][1], rtol=1e-5)
    assert np.abs(logs[0][0] - 1 / 3).max() > 1e-6
