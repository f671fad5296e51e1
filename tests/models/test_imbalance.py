"""Class weights and logit adjustment against NumPy, together and alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import PlainCnn, small_ensemble

import oekd_tf
from oekd_tf.models.standalone_student import StandaloneStudent

WEIGHTS = np.array([0.25, 3.0, 0.5, 1.25])
PRIOR = np.log([0.1, 0.2, 0.3, 0.4])


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def soft(rng):
    return rng.dirichlet(np.ones(4), 8).astype(np.float32)


def expected(logits, labels, weights=None, adjustment=0.0):
    """The mean weighted cross-entropy of one student."""
    p = np.eye(4)[labels] if labels.ndim == 1 else labels
    losses = -(p * log_softmax(np.asarray(logits, np.float64) + adjustment)).sum(-1)
    return (losses * (1.0 if weights is None else p @ weights)).mean()


def terms(ensemble, images, labels, training):
    ensemble.compile("sgd")
    outputs = ensemble(images, training=False, with_parts=True)
    found = ensemble.loss_terms(labels, outputs, images=images, training=training)
    return {name: float(value) for name, value in found.items()}, outputs


@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize("method", ["oekd", "dml", "labels"])
@pytest.mark.parametrize(
    "settings",
    [
        {"class_weight": WEIGHTS},
        {"logit_adjustment": PRIOR},
        {"class_weight": WEIGHTS, "logit_adjustment": PRIOR},
    ],
)
def test_every_method(batch, rng, method, settings, kind):
    labels = batch[1] if kind == "indices" else soft(rng)
    plain = small_ensemble(method=method)
    ensemble = small_ensemble(method=method, **settings)
    ensemble.set_weights(plain.get_weights())
    found, outputs = terms(ensemble, batch[0], labels, training=True)
    before, _ = terms(plain, batch[0], labels, training=True)
    weights, added = settings.get("class_weight"), settings.get("logit_adjustment", 0.0)
    label = sum(expected(outputs[f"student_{n}"], labels, weights, added) for n in (1, 2, 3))
    assert found["label_loss"] == pytest.approx(label, rel=1e-5)
    assert found["label_loss"] != pytest.approx(before["label_loss"], rel=1e-3)
    # Distillation and evaluation are as they were, and so are the logits.
    assert {**found, "label_loss": 0} == {**before, "label_loss": 0}
    assert (
        terms(ensemble, batch[0], labels, training=False)[0]
        == (terms(plain, batch[0], labels, training=False)[0])
    )
    np.testing.assert_array_equal(outputs["teacher"], plain(batch[0])["teacher"])


def test_pseudo_teacher_alone(batch):
    ensemble = small_ensemble(class_weight=WEIGHTS, logit_adjustment=PRIOR)
    ensemble.compile("sgd")
    ensemble.pseudo_teacher_only = True
    found, outputs = terms(ensemble, batch[0], batch[1], training=True)
    alone = expected(outputs["student_1"], batch[1], WEIGHTS, PRIOR)
    assert found["label_loss"] == pytest.approx(alone, rel=1e-5)


def test_fit_logs_them_in_training_only(batch):
    ensemble = small_ensemble(norm=False, class_weight=WEIGHTS, logit_adjustment=PRIOR)
    ensemble.compile(keras.optimizers.SGD(0.0))
    logs = ensemble.fit(*batch, validation_data=batch, verbose=0).history
    outputs = ensemble(batch[0], training=False)
    for name, settings in (("label_loss", (WEIGHTS, PRIOR)), ("val_label_loss", ())):
        label = sum(expected(outputs[f"student_{n}"], batch[1], *settings) for n in (1, 2, 3))
        assert logs[name][0] == pytest.approx(label, rel=1e-4)


def test_round_trip(batch, tmp_path):
    ensemble = small_ensemble(class_weight=WEIGHTS, logit_adjustment=PRIOR)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    assert loaded.class_weight == pytest.approx(WEIGHTS)
    assert loaded.logit_adjustment == pytest.approx(PRIOR)
    np.testing.assert_array_equal(loaded(batch[0])["teacher"], ensemble(batch[0])["teacher"])
    assert terms(loaded, *batch, training=True)[0] == terms(ensemble, *batch, training=True)[0]
    assert small_ensemble().get_config()["class_weight"] is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("class_weight", (1.0, 2.0), r"class_weight must be None or 4 .* below 0. Received: \(1"),
        ("class_weight", (1.0, 2.0, 1.0, -1.0), "class_weight must be None or 4"),
        ("logit_adjustment", (0.0, 0.0, 0.0, -np.inf), "logit_adjustment must be None or 4"),
    ],
)
def test_wrong_arguments(name, value, message):
    with pytest.raises(ValueError, match=message):
        small_ensemble(**{name: value})


def alone(student, **settings):
    model = StandaloneStudent(student.inputs, student.outputs[0], name=student.name)
    model.balance(**settings)
    accuracy = keras.metrics.MeanMetricWrapper(oekd_tf.metrics.label_accuracy, name="accuracy")
    model.compile(keras.optimizers.SGD(0.0), loss=oekd_tf.losses.label_loss, metrics=[accuracy])
    return model


class TestAlone:
    @pytest.mark.parametrize("kind", ["indices", "probabilities"])
    @pytest.mark.parametrize(
        "settings", [{"class_weight": WEIGHTS}, {"logit_adjustment": PRIOR}, {}]
    )
    def test_loss(self, batch, rng, settings, kind):
        images, labels = batch[0], batch[1] if kind == "indices" else soft(rng)
        model = alone(small_ensemble(norm=False).students[1], **settings)
        logs = model.fit(images, labels, validation_data=(images, labels), verbose=0).history
        logits = model(images, training=False)
        own = settings.get("class_weight"), settings.get("logit_adjustment", 0.0)
        assert logs["loss"][0] == pytest.approx(expected(logits, labels, *own), rel=1e-4)
        assert logs["val_loss"][0] == pytest.approx(expected(logits, labels), rel=1e-4)
        hit = np.argmax(logits, -1) == (labels if labels.ndim == 1 else labels.argmax(-1))
        assert logs["accuracy"][0] == pytest.approx(hit.mean())

    def test_with_a_teacher(self, batch):
        from oekd_tf.methods.offline import Offline
        from oekd_tf.methods.parts.network import Network

        teacher, student = small_ensemble(norm=False).students[:2]
        model = alone(student, class_weight=WEIGHTS, logit_adjustment=PRIOR)
        method = Offline(teacher, 2.0, 0.7, 0.0)
        method.build(Network((0.5,), 4, (), (), (), (student,)))
        model.learn_by(method)
        logs = model.fit(*batch, verbose=0).history
        logits = model(batch[0], training=False)
        label = expected(logits, batch[1], WEIGHTS, PRIOR)
        assert logs["loss"][0] == pytest.approx(0.7 * label, rel=1e-4)


BY_CLASS = dict(enumerate(WEIGHTS))


class TestKerasClassWeight:
    """`fit(class_weight={...})` of user code."""

    @pytest.mark.parametrize("kind", ["arrays", "tf.data"])
    def test_ensemble(self, batch, kind):
        ensemble = small_ensemble(norm=False)
        ensemble.compile(keras.optimizers.SGD(0.0))
        data = batch if kind == "arrays" else (tf.data.Dataset.from_tensors(batch),)
        logs = ensemble.fit(*data, validation_data=batch, class_weight=BY_CLASS, verbose=0).history
        outputs = ensemble(batch[0], training=False)
        students = [outputs[f"student_{n}"] for n in (1, 2, 3)]
        weighed = sum(expected(z, batch[1], WEIGHTS) for z in students)
        assert logs["label_loss"][0] == pytest.approx(weighed, rel=1e-4)
        plain = sum(expected(z, batch[1]) for z in students)
        assert logs["val_label_loss"][0] == pytest.approx(plain, rel=1e-4)

    def test_updates_are_those_of_weighed_examples(self, batch):
        one, other = small_ensemble(method="labels"), small_ensemble(method="labels")
        third = small_ensemble(method="labels", class_weight=WEIGHTS)
        for ensemble in (one, other, third):
            ensemble.set_weights(one.get_weights())
            ensemble.compile(keras.optimizers.SGD(0.1))
        one.fit(*batch, class_weight=BY_CLASS, verbose=0, shuffle=False)
        other.fit(*batch, sample_weight=WEIGHTS[batch[1]], verbose=0, shuffle=False)
        third.fit(*batch, verbose=0, shuffle=False)
        trained = (ensemble.get_weights() for ensemble in (one, other, third))
        for a, b, c in zip(*trained, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
            np.testing.assert_allclose(a, c, atol=1e-6)

    def test_student_alone(self, batch):
        model = alone(small_ensemble(norm=False).students[2])
        logs = model.fit(*batch, class_weight=BY_CLASS, verbose=0).history
        logits = model(batch[0], training=False)
        assert logs["loss"][0] == pytest.approx(expected(logits, batch[1], WEIGHTS), rel=1e-4)


@pytest.mark.parametrize("weights", ["balanced", {"a": 1.0}, {4: 1.0}, {-1: 2.0}, [1.0] * 4])
def test_class_weights_that_keras_would_take_for_none(batch, weights):
    ensemble = small_ensemble()
    ensemble.compile("sgd")
    with pytest.raises(ValueError, match="class_weight must be a dict of weights by class index"):
        ensemble.fit(*batch[:2], class_weight=weights, verbose=0)


def test_replicas_take_the_same_step(mirrored, batch):
    settings = {"class_weight": WEIGHTS, "logit_adjustment": PRIOR}
    one = small_ensemble(norm=False, method="labels", **settings)
    one.compile(keras.optimizers.SGD(0.1))
    with mirrored.scope():
        many = oekd_tf.OnlineEnsemble(
            PlainCnn(norm=False), (16, 16, 3), 4, (1.0, 0.5, 0.25), method="labels", **settings
        )
        many.compile(keras.optimizers.SGD(0.1))
    many.set_weights(one.get_weights())
    for ensemble in (one, many):
        ensemble.fit(*batch, batch_size=8, verbose=0, shuffle=False)
    for a, b in zip(one.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
