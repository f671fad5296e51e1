"""What is trained beside the paper's ensemble: on peers, with stems apart, from a teacher."""

import json
import random
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import small_ensemble
from small_runs import small_config

import oekd_tf
from oekd_tf import config as config_module
from oekd_tf import methods, training
from oekd_tf.core.errors import ConfigError
from oekd_tf.methods.parts import losses


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def adapted(ensemble, outputs):
    """Block outputs after channel adaptation."""
    parts = {name: outputs[name] for name in ("stem", "blocks", "features")}
    batch = oekd_tf.methods.Batch(images=None, logits=[], **parts)
    return ensemble.method.adapted(batch)


def test_mutual_loss_by_hand(rng):
    logits = rng.normal(size=(3, 4, 5)).astype(np.float32)
    temperature = 3.0
    p = softmax(logits.astype(np.float64) / temperature)
    expected = np.zeros((3, 4))
    for student in range(3):
        for peer in range(3):
            if peer != student:
                divergence = (p[peer] * np.log(p[peer] / p[student])).sum(-1)
                expected[student] += temperature**2 * divergence / 2
    np.testing.assert_allclose(losses.mutual_loss(logits, temperature), expected, rtol=1e-4)


def test_no_gradient_flows_into_a_peer():
    logits = tf.Variable([[[2.0, 0.0]], [[0.0, 1.0]]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(losses.mutual_loss(logits, 1.0)[1])
    gradient = tape.gradient(loss, logits).numpy()
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).all()


def test_peers_in_the_ensembles_loss(batch):
    images, labels = batch
    ensemble = small_ensemble(method=oekd_tf.methods.DML(temperature=1.0))
    ensemble.compile("sgd")
    outputs = ensemble(images, with_parts=True)
    logits = np.stack([outputs[f"student_{i}"] for i in (1, 2, 3)])
    expected = np.mean(np.sum(losses.mutual_loss(logits, 1.0), axis=0))
    terms = ensemble.loss_terms(labels, outputs)
    np.testing.assert_allclose(terms["distillation_loss"], expected, rtol=1e-5)
    assert list(terms) == ["label_loss", "distillation_loss"]
    history = ensemble.fit(images, labels, verbose=0).history
    assert "feature_loss" not in history


def test_relative_features_in_the_ensembles_loss(batch):
    images, labels = batch
    ensemble = small_ensemble(oekd={"feature_scale": "relative"})
    ensemble.compile("sgd")
    outputs = ensemble(images, with_parts=True)
    expected = sum(
        np.mean(losses.feature_loss(target, adapted, relative=True))
        for student in adapted(ensemble, outputs)
        for target, adapted in zip(outputs["blocks"][0], student, strict=True)
    )
    terms = ensemble.loss_terms(labels, outputs)
    np.testing.assert_allclose(terms["feature_loss"], expected, rtol=1e-5)
    ensemble.fit(images, labels, verbose=0)
    assert ensemble.method.get_config()["feature_scale"] == "relative"
    with pytest.raises(ValueError, match=r"feature_scale must be one of .*Received: 'block'"):
        oekd_tf.methods.OEKD(feature_scale="block")


def test_distillation_weights_warm_up(batch, tmp_path):
    images, labels = batch
    weights = {"label_weight": 0.0, "feature_weight": 0.3, "distillation_weight": 0.2}
    ensemble = small_ensemble(norm=False, oekd={"warmup_epochs": 2.0, **weights})
    # Without a learning rate every step has the same terms: what changes is their share.
    ensemble.compile(keras.optimizers.SGD(0.0))
    with pytest.raises(ValueError, match=r"plan\(steps_per_epoch, epochs\).*Received: steps_per"):
        ensemble.train_on_batch(images, labels)
    ensemble.plan(steps_per_epoch=2, epochs=3)
    tested = ensemble.evaluate(images, labels, batch_size=8, verbose=0, return_dict=True)
    whole = 0.3 * tested["feature_loss"] + 0.2 * tested["distillation_loss"]
    assert tested["loss"] == pytest.approx(whole, rel=1e-5)
    losses_of_steps = []
    for _ in range(3):
        ensemble.reset_metrics()
        losses_of_steps.append(ensemble.train_on_batch(images, labels, return_dict=True)["loss"])
    ensemble.save(tmp_path / "warm.keras")
    # It goes on where the optimizer was.
    again = keras.models.load_model(tmp_path / "warm.keras")
    for _ in range(3):
        again.reset_metrics()
        losses_of_steps.append(again.train_on_batch(images, labels, return_dict=True)["loss"])
    shares = np.array(losses_of_steps) / whole
    np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75, 1, 1], rtol=1e-4)


def test_distillation_warmup_under_a_scaled_loss(batch):
    ensemble = small_ensemble(
        norm=False, dtype="mixed_float16", oekd={"label_weight": 0.0, "warmup_epochs": 1.0}
    )
    ensemble.compile(keras.optimizers.SGD(0.0))
    ensemble.plan(steps_per_epoch=2, epochs=2)
    assert isinstance(ensemble.optimizer, keras.optimizers.LossScaleOptimizer)
    steps = []
    for _ in range(3):
        ensemble.reset_metrics()
        steps.append(ensemble.train_on_batch(*batch, return_dict=True)["loss"])
    assert steps[0] == 0 < steps[1] < steps[2]


@pytest.mark.parametrize("epochs", [-1, float("nan"), "many"])
def test_warmup_must_be_a_number_of_epochs(epochs):
    with pytest.raises(ValueError, match=rf"^warmup_epochs must be .*Received: .*{epochs}"):
        oekd_tf.methods.OEKD(warmup_epochs=epochs)


def test_fit_tells_a_method_how_long_training_is(batch):
    """The same weights whether `fit` works out the steps of an epoch or `plan` says them."""
    losses_by_plan = []
    for planned in (False, True):
        keras.utils.set_random_seed(2)
        ensemble = small_ensemble(norm=False, oekd={"label_weight": 0.0, "warmup_epochs": 2.0})
        ensemble.compile(keras.optimizers.SGD(0.0))
        if planned:
            ensemble.plan(steps_per_epoch=2, epochs=3)
        history = ensemble.fit(*batch, batch_size=4, epochs=3, shuffle=False, verbose=0).history
        losses_by_plan.append(history["loss"])
    np.testing.assert_array_equal(*losses_by_plan)
    # Steps 0 to 5 have 0, ¼, ½, ¾, 1 and 1 of the whole, of two different batches.
    assert losses_by_plan[0][0] < losses_by_plan[0][1] < losses_by_plan[0][2]


def test_warmup_of_a_config_is_in_epochs():
    config = small_config(method__arguments__warmup_epochs=1.5)
    with pytest.raises(ConfigError, match=r"warmup_epochs must be at most the number of epochs, 1"):
        config_module.check(small_config(epochs=1, method__arguments__warmup_epochs=1.5))
    data = training.load_data(config)
    model = training.build_model(config, data, tf.distribute.get_strategy())
    steps = data.steps_per_epoch(config.batch_size)
    for step in (0, 1, round(1.5 * steps), 10**6):
        progress = oekd_tf.methods.Progress(step, *model._plan)
        share = float(model.method.loss_weights(progress)["distillation_loss"]) / 2.0
        assert share == pytest.approx(min(step / round(1.5 * steps), 1))


def test_adaptation_initializer(batch):
    ensemble = small_ensemble(oekd={"adaptation_initializer": "zeros"})
    outputs = ensemble(batch[0], with_parts=True)
    # Adapted outputs are 0: each of the two students is off by the whole target.
    expected = 2 * sum(np.mean(np.square(target)) for target in outputs["blocks"][0])
    ensemble.compile("sgd")
    terms = ensemble.loss_terms(batch[1], outputs)
    np.testing.assert_allclose(terms["feature_loss"], expected, rtol=1e-4)
    again = oekd_tf.OnlineEnsemble.from_config(ensemble.get_config())
    assert again.method.adaptation_initializer == "zeros"
    # Layers do not share their numbers.
    kernels = [layer.kernel for layer in small_ensemble().adaptation[0]]
    assert not np.array_equal(kernels[0][0, 0, :2, :8], kernels[1][0, 0, :2, :8])
    # To be checked must not cost a random number: all initial weights of a seed would change.
    before = random.getstate()
    oekd_tf.methods.OEKD(features="mse", adaptation_initializer="he_normal")
    assert random.getstate() == before
    with pytest.raises(ValueError, match=r"adaptation_initializer must be .*Received: 'no_such'"):
        oekd_tf.methods.OEKD(adaptation_initializer="no_such")


def test_mutual_learning_needs_two_students():
    with pytest.raises(ValueError, match=r"^widths must be of two students .*Received: 1"):
        small_ensemble((1.0,), method="dml")


def test_stems_of_their_own(batch, tmp_path):
    images, labels = batch
    shared = small_ensemble(method="labels")
    apart = small_ensemble(shared_stem=False, method="labels")
    stems = [student.get_layer("stem") for student in apart.students]
    assert len({id(layer) for layer in stems}) == 3
    assert len({id(student.get_layer("stem")) for student in shared.students}) == 1
    stem = shared.students[0].get_layer("stem").count_params()
    assert apart.count_params() == shared.count_params() + 2 * stem
    apart.compile(keras.optimizers.SGD(0.1))
    before = [layer.get_weights()[0] for layer in stems]
    apart.fit(images, labels, verbose=0)
    for layer, old in zip(stems, before, strict=True):
        assert np.abs(layer.get_weights()[0] - old).max() > 0
    apart.save(tmp_path / "apart.keras")
    again = keras.models.load_model(tmp_path / "apart.keras")
    assert not again.shared_stem
    for name, logits in apart(images).items():
        np.testing.assert_allclose(again(images)[name], logits, atol=1e-5)


def test_a_larger_common_block():
    plain = oekd_tf.backbones.CifarResNet(20)
    larger = oekd_tf.backbones.CifarResNet(20, stem_units=2)
    ensembles = [
        oekd_tf.OnlineEnsemble(family, (32, 32, 3), 10, (1.0, 0.5)) for family in (plain, larger)
    ]
    # The full-width network is the same one, a narrower student grows by units of full width.
    sizes = [[student.count_params() for student in e.students] for e in ensembles]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
    layers = [{layer.name for layer in e.students[1].layers} for e in ensembles]
    assert "stem_unit_2_relu" in layers[1] - layers[0]
    with pytest.raises(ValueError, match=r"stem_units must be from 0 to 2.*Received: 3"):
        oekd_tf.backbones.CifarResNet(20, stem_units=3)


@pytest.mark.integration
@pytest.mark.slow
def test_offline_distillation(tmp_path):
    quiet = lambda line: None  # noqa: E731
    training.train(small_config(only_student=1, epochs=1), tmp_path, quiet)
    offline = small_config(only_student=2, epochs=2)
    offline.teacher_workdir = str(tmp_path)
    summary = training.train(offline, tmp_path, quiet)
    assert summary["students"][0]["name"] == "student_2"
    run = tmp_path / "offline_student_2"
    assert json.loads((run / "summary.json").read_text()) == summary

    _, data, restored = training.restore_run(run)
    _, _, teacher = training.restore_run(tmp_path / "baseline_student_1")
    student = training.build_model(offline, data, tf.distribute.get_strategy())
    student.set_weights(restored.get_weights())
    alone = training.build_model(small_config(only_student=2), data, tf.distribute.get_strategy())
    assert [w.shape for w in student.weights] == [w.shape for w in alone.weights]
    images, labels = data.test_arrays(64)
    logits = student(images.astype(np.float32))
    expected = np.mean(losses.label_loss(labels, logits)) + 2.0 * np.mean(
        losses.distillation_loss(teacher(images.astype(np.float32)), logits, 2.0)
    )
    loss = student.compute_loss(images.astype(np.float32), labels, logits)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    # A trained student needs its teacher no more, which may lie elsewhere by then.
    shutil.rmtree(tmp_path / "baseline_student_1")
    again = training.restore_run(run)[2]
    np.testing.assert_array_equal(again(images.astype(np.float32)), logits)


def test_offline_refusals(tmp_path):
    config = small_config()
    config.teacher_workdir = str(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.teacher_workdir must be '' unless"):
        config_module.check(config)
    config.only_student = 2
    with pytest.raises(ConfigError, match=r"config\.teacher_workdir must hold a finished run"):
        training.train(config, tmp_path / "run", lambda line: None)
    assert not (tmp_path / "run").exists()


def test_an_offline_teacher_gives_logits():
    images = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    activated = keras.layers.Dense(4, activation="softmax", name="answers")(pooled)
    layer = keras.layers.Softmax(name="answers")(keras.layers.Dense(4)(pooled))
    for outputs in (activated, layer):
        with pytest.raises(ValueError, match=r"^teacher must give logits\. Received: .*'answers'"):
            oekd_tf.methods.Offline(teacher=keras.Model(images, outputs))
    with pytest.raises(ValueError, match=r"^teacher must be a Keras model, .*Received: none"):
        oekd_tf.methods.get("offline")


def test_a_class_in_place_of_a_method_is_told():
    with pytest.raises(ValueError, match=r"method=OEKD\(\).*Received: the class OEKD"):
        methods.get(methods.OEKD)


def test_a_wrong_number_of_teacher_weights_is_told_as_a_number():
    with pytest.raises(ValueError, match=r"3 numbers, one a student\. Received: 2$"):
        methods.get("oekd", teacher_weights=(1, 3)).check(3)
