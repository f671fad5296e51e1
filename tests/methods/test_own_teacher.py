"""A network that a user brings as a voice of the ensemble teacher."""

import by_hand
import keras
import numpy as np
import pytest
from by_hand import cross_entropy, kl, look, small, softmax, spread_logits, values

import oekd_tf
from oekd_tf import methods, testing


def network(name="wise", shape=by_hand.SHAPE, classes=by_hand.CLASSES):
    """A network with a preparation of pixels of its own."""
    images = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 50, -2.0)(images)
    x = keras.layers.Conv2D(6, 3, activation="tanh")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    logits = keras.layers.Dense(classes, kernel_initializer="he_normal")(x)
    return keras.Model(images, 3.0 * logits, name=name)


def weights_by_hand(labels, logits):
    return softmax(-4.0 * cross_entropy(labels, logits).mean(-1))


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("rule", [None, "cross_entropy", "example", "better"])
def test_the_loss_by_hand(rule, share):
    images, labels = by_hand.data()
    teacher = network()
    ensemble = spread_logits(
        small("oekd", teacher=teacher, teacher_share=share, teacher_weights=rule)
    )
    outputs, logits, terms = look(ensemble, images, labels, training=True)
    own = teacher(images.astype(np.float32), training=False).numpy().astype(np.float64)
    # The moving average of the weights, which stands for them where there are no labels, is 1/3.
    np.testing.assert_allclose(
        outputs["teacher"], (1 - share) * logits.mean(0) + share * own, rtol=1e-4, atol=1e-4
    )
    mean = np.full(3, 1 / 3)
    losses = np.array([cross_entropy(labels, z) for z in logits])
    if rule == "cross_entropy":
        mean = softmax(-4.0 * losses.mean(-1))
    students = np.tensordot(mean, logits, 1)
    if rule == "example":
        students = np.einsum("sb,sbc->bc", softmax(-4.0 * losses.T).T, logits)
    targets = [students] * 3
    if rule == "better":
        order = losses.mean(-1)
        targets = [logits[order < order[i]].mean(0) if (order < order[i]).any() else logits[i]
                   for i in range(3)]  # fmt: skip
    expected = sum(
        kl((1 - share) * t + share * own, z, 2.0).mean()
        for t, z in zip(targets, logits, strict=True)
    )
    assert terms["distillation_loss"] == pytest.approx(expected, rel=1e-3)
    assert terms["label_loss"] == pytest.approx(losses.mean(-1).sum(), rel=1e-4)


def test_its_weights_stay_to_the_bit(tmp_path):
    images, labels = by_hand.data()
    teacher = network()
    given = values(teacher.variables)
    ensemble = small("oekd", teacher=teacher, eager=False)
    assert not ensemble.method.network.trainable_variables
    before = values(ensemble.method.network.variables)
    ensemble.fit(images, labels, batch_size=4, epochs=2, verbose=0)
    for old, now in zip(before, values(ensemble.method.network.variables), strict=True):
        np.testing.assert_array_equal(old, now)
    # The user's own is another one, and can still be trained.
    for old, now in zip(given, values(teacher.variables), strict=True):
        np.testing.assert_array_equal(old, now)
    assert teacher.trainable_variables
    # Saved with the ensemble, and with none of its students.
    expected = ensemble.predict(images, verbose=0)
    ensemble.save(tmp_path / "saved.keras")
    loaded = keras.saving.load_model(tmp_path / "saved.keras")
    assert loaded.method.teacher_share == 0.5
    for name, logits in loaded.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits, expected[name], atol=1e-5)
    names = {layer.name for student in ensemble.students for layer in student.layers}
    assert not names & {layer.name for layer in teacher.layers}


@pytest.mark.parametrize("check", ["resume", "gradients", "terms"])
def test_battery(check, tmp_path):
    network(shape=(8, 8, 3)).save(tmp_path / "teacher.keras")
    arguments = {"teacher": str(tmp_path / "teacher.keras"), "teacher_share": 0.3}
    assert testing.check_method("oekd", arguments, only=[check]) == {check: "passed"}


def test_from_an_ensemble_and_a_run(tmp_path):
    images, _ = by_hand.data()
    before = small("oekd")
    before.save(tmp_path / "ensemble.keras")
    expected = before.students[0].predict(images, verbose=0)
    for teacher in (before, str(tmp_path), tmp_path / "ensemble.keras"):
        ensemble = small("oekd", teacher=teacher, teacher_share=1.0)
        np.testing.assert_allclose(
            ensemble.predict(images, verbose=0)["teacher"], expected, atol=1e-5
        )
    assert methods.get("oekd", teacher=str(tmp_path)).files == {
        "teacher": tmp_path / "ensemble.keras"
    }


def test_in_the_students_place_on_batches_of_any_size():
    """Of a data set whose last batch is smaller, the size of a batch is not known."""
    import tensorflow as tf

    images, labels = by_hand.data()
    ensemble = small("oekd", teacher=network(), teacher_share=1.0)
    ensemble.compile("sgd")
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(len(labels) - 1)
    found = ensemble.evaluate(batches, verbose=0, return_dict=True)
    assert found["distillation_loss"] > 0


def test_of_images_of_any_size():
    anywhere = network(shape=(None, None, by_hand.SHAPE[2]))
    images, _ = by_hand.data()
    ensemble = small("oekd", teacher=anywhere, teacher_share=1.0)
    np.testing.assert_allclose(
        ensemble.predict(images, verbose=0)["teacher"],
        anywhere.predict(images, verbose=0), atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"teacher": network(classes=7)}, "teacher must give logits of shape .None, 4.. Received"),
        ({"teacher": network(shape=(9, 9, 3))}, "teacher must take images of shape"),
        ({"teacher": "nowhere.keras"}, "teacher must be a Keras model.*which is not there"),
        ({"teacher": 3}, "teacher must be a Keras model.*Received: 3"),
        ({"teacher": network(), "teacher_share": 0.0}, "teacher_share must be a number above 0"),
        ({"teacher_share": 0.7}, "teacher_share must be left out unless there is a teacher"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        small("oekd", **arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_a_pickle_is_no_teacher(tmp_path):
    (tmp_path / "teacher.keras").write_bytes(b"\x80\x04K\x03.")
    for method in ("oekd", "offline"):
        with pytest.raises(ValueError, match="which is no file that Keras has saved"):
            oekd_tf.methods.get(method, teacher=tmp_path / "teacher.keras")


class TestStored:
    @pytest.mark.parametrize("share", [0.25, 1.0])
    @pytest.mark.parametrize("rule", [None, "cross_entropy"])
    def test_the_loss_by_hand(self, rule, share):
        images, labels = by_hand.data()
        ensemble = spread_logits(
            small("oekd", teacher="stored", teacher_share=share, teacher_weights=rule)
        )
        own = np.random.default_rng(5).normal(0, 2, (8, 4)).astype(np.float32)
        outputs = ensemble(images, training=True, with_parts=True)
        terms = ensemble.loss_terms(labels, outputs, images=images, training=True, stored=own)
        logits = by_hand.stacked(ensemble, outputs)
        losses = np.array([cross_entropy(labels, z) for z in logits])
        mean = softmax(-4.0 * losses.mean(-1)) if rule else np.full(3, 1 / 3)
        target = (1 - share) * np.tensordot(mean, logits, 1) + share * own
        expected = sum(kl(target, z, 2.0).mean() for z in logits)
        assert float(terms["distillation_loss"]) == pytest.approx(expected, rel=1e-3)
        # What is evaluated has no stored logits, and is the students' alone.
        np.testing.assert_allclose(outputs["teacher"], logits.mean(0), rtol=1e-4, atol=1e-4)

    def test_fit_with_arrays(self, tmp_path):
        images, labels = by_hand.data()
        ensemble = small("oekd", teacher="stored", eager=False)
        given = {"labels": labels, "teacher_logits": np.zeros((8, 4), np.float32)}
        history = ensemble.fit(
            images, given, batch_size=4, validation_data=(images, labels), verbose=0
        )
        assert np.isfinite(history.history["val_loss"][0])
        ensemble.save(tmp_path / "saved.keras")
        assert keras.saving.load_model(tmp_path / "saved.keras").method.is_stored

    @pytest.mark.parametrize(
        ("teacher", "labels", "message"),
        [
            ("stored", lambda y: y, "Received: labels alone"),
            (None, lambda y: {"labels": y, "teacher_logits": np.zeros((8, 4))},
             "method must be OEKD.teacher='stored'"),
            ("stored", lambda y: {"labels": y, "teacher_logits": np.zeros((8, 5))},
             "teacher_logits must be of shape .batch, 4"),
            ("stored", lambda y: {"labels": y, "logits": np.zeros((8, 4))}, "a dict of 'labels'"),
        ],
    )  # fmt: skip
    def test_refusals(self, teacher, labels, message):
        images, classes = by_hand.data()
        ensemble = small("oekd", teacher=teacher)
        with pytest.raises(ValueError, match=message):
            ensemble.fit(images, labels(classes), verbose=0)
