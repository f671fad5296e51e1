"""The ensemble against values worked out from its parts in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import PlainCnn, small_ensemble

import oekd_tf


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_terms(ensemble, images, labels, weights=1.0):
    """The three loss terms from the students' separate outputs, in inference mode."""
    outputs = ensemble(images, training=False, with_parts=True)
    logits = np.stack([outputs[s.name] for s in ensemble.students])
    picked = softmax(logits)[:, np.arange(len(labels)), labels]
    label = (-np.log(picked) * weights).mean(1).sum()
    feature = 0.0
    for layers, blocks in zip(ensemble.adaptation, outputs["blocks"][1:], strict=True):
        for layer, block, target in zip(layers, blocks, outputs["blocks"][0], strict=True):
            adapted = np.asarray(block) @ layer.kernel.numpy()[0, 0] + layer.bias.numpy()
            feature += ((adapted - np.asarray(target)) ** 2).mean()
    t = ensemble.method.temperature
    p, q = softmax(logits.mean(0) / t), softmax(logits / t)
    distillation = (t * t * (p * np.log(p / q)).sum(-1)).mean(1).sum()
    return {"label_loss": label, "feature_loss": feature, "distillation_loss": distillation}


def gradients(ensemble, images, labels, term):
    """Each variable's gradient of one loss term, by its path; None where there is none."""
    with tf.GradientTape() as tape:
        outputs = ensemble(images, training=True, with_parts=True)
        loss = ensemble.loss_terms(labels, outputs)[term]
    variables = ensemble.trainable_variables
    return dict(zip([v.path for v in variables], tape.gradient(loss, variables), strict=True))


def reached(grads, part):
    return [path for path, g in grads.items() if part in path and g is not None and np.any(g)]


@pytest.fixture
def ensemble():
    ensemble = small_ensemble()
    ensemble.compile("sgd")
    return ensemble


class TestCall:
    def test_outputs(self, ensemble, batch):
        outputs = ensemble(batch[0])
        assert list(outputs) == ["student_1", "student_2", "student_3", "teacher"]
        assert all(o.shape == (8, 4) and o.dtype == "float32" for o in outputs.values())
        mean = np.mean([outputs[f"student_{i}"] for i in (1, 2, 3)], axis=0)
        np.testing.assert_allclose(outputs["teacher"], mean, rtol=1e-5, atol=1e-6)

    def test_students_are_models_from_images_to_the_same_logits(self, ensemble, batch):
        outputs = ensemble(batch[0], training=False)
        for i, student in enumerate(ensemble.students, start=1):
            assert student.name == f"student_{i}"
            assert isinstance(student, keras.Model)
            assert not any("adaptation" in v.path for v in student.variables)
            np.testing.assert_allclose(
                student(batch[0], training=False), outputs[student.name], atol=1e-6
            )

    def test_normalisation(self, batch):
        ensemble = small_ensemble(mean=(10, 20, 30), std=(2, 4, 8))
        layer = ensemble.students[0].get_layer("normalization")
        expected = (batch[0] - np.array([10, 20, 30])) / np.array([2, 4, 8])
        np.testing.assert_allclose(layer(batch[0]), expected, rtol=1e-4, atol=1e-4)

    def test_teacher_weights(self, batch):
        outputs = small_ensemble(oekd={"teacher_weights": (3, 1, 0)})(batch[0])
        expected = 0.75 * outputs["student_1"] + 0.25 * outputs["student_2"]
        np.testing.assert_allclose(outputs["teacher"], expected, rtol=1e-5, atol=1e-6)

    def test_predict(self, ensemble, batch):
        predicted = ensemble.predict(batch[0], batch_size=3, verbose=0)
        outputs = ensemble(batch[0], training=False)
        assert predicted.keys() == outputs.keys()
        for name in predicted:
            np.testing.assert_allclose(predicted[name], outputs[name], atol=1e-5)

    def test_two_ensembles_from_one_seed_are_equal(self, batch):
        keras.utils.set_random_seed(3)
        first = small_ensemble()(batch[0])["student_3"]
        keras.utils.set_random_seed(3)
        np.testing.assert_array_equal(first, small_ensemble()(batch[0])["student_3"])


class TestLosses:
    def test_terms_against_numpy(self, ensemble, batch):
        expected = numpy_terms(ensemble, *batch)
        outputs = ensemble(batch[0], training=False, with_parts=True)
        terms = ensemble.loss_terms(batch[1], outputs)
        assert terms.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(terms[name], expected[name], rtol=1e-4)

    def test_evaluate_weighs_and_logs_them(self, batch):
        ensemble = small_ensemble(
            oekd={"temperature": 3.0, "label_weight": 0.5, "feature_weight": 2.0}
        )
        ensemble.compile("sgd")
        expected = numpy_terms(ensemble, *batch)
        logs = ensemble.evaluate(*batch, batch_size=8, verbose=0, return_dict=True)
        for name in expected:
            np.testing.assert_allclose(logs[name], expected[name], rtol=1e-4)
        total = (
            0.5 * expected["label_loss"]
            + 2.0 * expected["feature_loss"]
            + 0.15 * expected["distillation_loss"]
        )
        np.testing.assert_allclose(logs["loss"], total, rtol=1e-4)
        outputs = ensemble(batch[0], training=False)
        for name in ("student_1", "student_2", "student_3", "teacher"):
            accuracy = (np.argmax(outputs[name], -1) == batch[1]).mean()
            np.testing.assert_allclose(logs[f"{name}_accuracy"], accuracy)

    def test_logs_do_not_depend_on_batches(self, ensemble, batch):
        whole = ensemble.evaluate(*batch, batch_size=8, verbose=0, return_dict=True)
        # 3 + 3 + 2: the last batch counts by its size.
        parts = ensemble.evaluate(*batch, batch_size=3, verbose=0, return_dict=True)
        for name in whole:
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4)

    def test_sample_weight_counts_for_the_label_loss_only(self, ensemble, batch):
        weights = np.linspace(0, 2, 8)
        expected = numpy_terms(ensemble, *batch, weights=weights)
        logs = ensemble.evaluate(
            *batch, sample_weight=weights, batch_size=8, verbose=0, return_dict=True
        )
        for name in expected:
            np.testing.assert_allclose(logs[name], expected[name], rtol=1e-4)

    def test_class_weight_is_sample_weight(self, batch):
        class_weight = {0: 0.5, 1: 2.0, 2: 1.0, 3: 3.0}
        results = []
        for arguments in (
            {"class_weight": class_weight},
            {"sample_weight": np.array([class_weight[y] for y in batch[1]])},
        ):
            keras.utils.set_random_seed(1)
            ensemble = small_ensemble()
            ensemble.compile("sgd")
            results.append(ensemble.fit(*batch, batch_size=8, verbose=0, **arguments).history)
        for name in results[0]:
            np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-5)

    def test_one_hot_labels_are_the_same_as_indices(self, ensemble, batch):
        indices = ensemble.evaluate(*batch, verbose=0, return_dict=True)
        one_hot = np.eye(4)[batch[1]]
        soft = ensemble.evaluate(batch[0], one_hot, verbose=0, return_dict=True)
        for name in indices:
            np.testing.assert_allclose(soft[name], indices[name], rtol=1e-5)

    def test_labels_are_required(self, ensemble, batch):
        with pytest.raises(ValueError, match="learns from labels"):
            ensemble.evaluate(batch[0], verbose=0)


class TestGradients:
    def test_label_loss_trains_stem_and_every_branch_but_no_adaptation(self, ensemble, batch):
        grads = gradients(ensemble, *batch, "label_loss")
        for part in ("stem", "student_1", "student_2", "student_3"):
            assert reached(grads, part)
        assert not reached(grads, "adaptation")

    def test_feature_loss_does_not_reach_the_pseudo_teacher(self, ensemble, batch):
        grads = gradients(ensemble, *batch, "feature_loss")
        assert not reached(grads, "student_1")
        for part in ("stem", "student_2", "student_3"):
            assert reached(grads, part)
        assert len(reached(grads, "adaptation")) == 8  # 2 students, 2 blocks, kernel and bias

    def test_ensemble_teacher_is_a_constant_target(self, ensemble, batch):
        # With the teacher's probabilities fixed, d/dz_i of T² KL is T (q_i - p) / batch.
        outputs = ensemble(batch[0], training=False, with_parts=True)
        names = [student.name for student in ensemble.students]
        logits = [tf.Variable(outputs[name]) for name in names]
        with tf.GradientTape() as tape:
            free = dict(zip(names, logits, strict=True))
            free["teacher"] = tf.reduce_mean(tf.stack(logits), axis=0)
            both = {**outputs, **free}
            loss = ensemble.loss_terms(batch[1], both)["distillation_loss"]
        p = softmax(np.mean(logits, axis=0) / 2)
        for variable, gradient in zip(logits, tape.gradient(loss, logits), strict=True):
            expected = 2 * (softmax(variable.numpy() / 2) - p) / 8
            np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)

    def test_stem_gradient_of_all_is_the_sum_of_every_students(self, ensemble, batch):
        stem = ensemble.students[0].get_layer("stem").kernel

        def stem_gradient(students):
            with tf.GradientTape() as tape:
                outputs = ensemble(batch[0], training=True)
                loss = sum(tf.reduce_sum(outputs[s]) for s in students)
            return tape.gradient(loss, stem).numpy()

        names = [s.name for s in ensemble.students]
        apart = sum(stem_gradient([name]) for name in names)
        np.testing.assert_allclose(stem_gradient(names), apart, rtol=1e-3, atol=1e-3)

    def test_stem_gradient_of_the_pseudo_teacher_alone(self, batch):
        results = {}
        for choice in ("all", "pseudo_teacher"):
            keras.utils.set_random_seed(1)
            ensemble = small_ensemble(oekd={"stem_gradient": choice})
            ensemble.compile("sgd")
            results[choice] = gradients(ensemble, *batch, "label_loss")
            if choice == "pseudo_teacher":
                with tf.GradientTape() as tape:
                    logits = ensemble(batch[0], training=True)["student_1"]
                    loss = tf.reduce_mean(oekd_tf.losses.label_loss(batch[1], logits))
                stem = ensemble.students[0].get_layer("stem").kernel
                expected = tape.gradient(loss, stem)
        np.testing.assert_allclose(
            results["pseudo_teacher"]["stem/kernel"], expected, rtol=1e-4, atol=1e-6
        )
        difference = results["all"]["stem/kernel"] - results["pseudo_teacher"]["stem/kernel"]
        assert np.abs(difference).max() > 1e-4
        for path, gradient in results["all"].items():
            if "student_2" in path and gradient is not None:
                np.testing.assert_allclose(
                    gradient, results["pseudo_teacher"][path], rtol=1e-4, atol=1e-6
                )

    def test_stem_gradient_of_the_mean(self, batch):
        results = {}
        for choice in ("all", "mean"):
            keras.utils.set_random_seed(1)
            ensemble = small_ensemble(oekd={"stem_gradient": choice})
            ensemble.compile("sgd")
            results[choice] = gradients(ensemble, *batch, "label_loss")
        for path, gradient in results["all"].items():
            if gradient is not None:
                share = 1 / 3 if path == "stem/kernel" or path == "stem/bias" else 1
                np.testing.assert_allclose(
                    results["mean"][path], share * gradient, rtol=1e-4, atol=1e-6
                )

    def test_frozen_stem(self, batch):
        ensemble = small_ensemble(oekd={"stem_gradient": "none"})
        stem = ensemble.students[0].get_layer("stem").kernel
        before = stem.numpy()
        ensemble.compile("sgd")
        ensemble.fit(*batch, verbose=0)
        np.testing.assert_array_equal(stem.numpy(), before)
        assert not any("stem" in v.path for v in ensemble.trainable_variables)


class TestFit:
    @pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_learns(self, batch, jit_compile):
        ensemble = small_ensemble()
        ensemble.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile)
        history = ensemble.fit(*batch, batch_size=8, epochs=25, verbose=0).history
        assert history["loss"][-1] < 0.7 * history["loss"][0]
        assert history["student_1_accuracy"][-1] > history["student_1_accuracy"][0]
        assert set(history) == {
            "loss",
            "label_loss",
            "feature_loss",
            "distillation_loss",
            "student_1_accuracy",
            "student_2_accuracy",
            "student_3_accuracy",
            "teacher_accuracy",
        }

    def test_one_sgd_step_against_the_gradient_of_the_weighed_sum(self, batch):
        ensemble = small_ensemble(norm=False)
        ensemble.compile(keras.optimizers.SGD(0.1))
        before = {v.path: v.numpy() for v in ensemble.trainable_variables}
        by_term = [
            (weight, gradients(ensemble, *batch, term))
            for weight, term in (
                (0.7, "label_loss"),
                (0.15, "feature_loss"),
                (0.15, "distillation_loss"),
            )
        ]
        ensemble.fit(*batch, batch_size=8, verbose=0)
        for variable in ensemble.trainable_variables:
            step = sum(
                weight * np.asarray(grads[variable.path])
                for weight, grads in by_term
                if grads[variable.path] is not None
            )
            expected = before[variable.path] - 0.1 * step
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-3, atol=1e-5)

    def test_adaptation_layers_are_trained_unless_frozen(self, batch):
        for train_adaptation in (True, False):
            ensemble = small_ensemble(oekd={"train_adaptation": train_adaptation})
            ensemble.compile("sgd")
            kernel = ensemble.adaptation[0][0].kernel
            before = kernel.numpy()
            ensemble.fit(*batch, verbose=0)
            assert np.any(kernel.numpy() != before) == train_adaptation

    @pytest.mark.parametrize(
        "optimizer",
        ["rmsprop", keras.optimizers.Lion(1e-3), keras.optimizers.Adam(weight_decay=0.01)],
    )
    def test_any_keras_optimizer(self, batch, optimizer):
        ensemble = small_ensemble()
        ensemble.compile(optimizer)
        before = ensemble.students[2].get_weights()
        ensemble.fit(*batch, verbose=0)
        assert any(
            np.any(a != b) for a, b in zip(before, ensemble.students[2].get_weights(), strict=True)
        )

    def test_learning_rate_schedule(self, batch):
        ensemble = small_ensemble()
        schedule = oekd_tf.schedules.step_decay(0.1, [2], 0.5)
        ensemble.compile(keras.optimizers.SGD(schedule))
        ensemble.fit(*batch, batch_size=8, epochs=3, verbose=0)
        np.testing.assert_allclose(float(ensemble.optimizer.learning_rate), 0.05)

    def test_tf_data_and_validation(self, ensemble, batch):
        data = tf.data.Dataset.from_tensor_slices(batch).batch(4)
        history = ensemble.fit(data, validation_data=data, verbose=0).history
        assert "val_teacher_accuracy" in history
        assert "val_feature_loss" in history

    def test_one_student_alone_has_no_feature_loss(self, batch):
        ensemble = small_ensemble(widths=(1.0,))
        ensemble.compile("sgd")
        history = ensemble.fit(*batch, verbose=0).history
        assert history["feature_loss"] == [0.0]
        np.testing.assert_allclose(history["distillation_loss"], [0.0], atol=1e-6)

    def test_student_can_be_trained_alone(self, batch):
        student = small_ensemble().students[2]
        student.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        history = student.fit(*batch, epochs=5, batch_size=8, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]


class TestPseudoTeacherFirst:
    def test_others_wait(self, batch):
        ensemble = small_ensemble()
        ensemble.compile("adam")
        waiting = oekd_tf.callbacks.PseudoTeacherFirst(epochs=2)

        def trained(epochs, initial_epoch):
            before = {v.path: v.numpy() for v in ensemble.trainable_variables}
            ensemble.fit(
                *batch, epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=[waiting]
            )
            changed = {
                v.path for v in ensemble.trainable_variables if np.any(v.numpy() != before[v.path])
            }
            return {
                part
                for part in ("stem", "student_1", "student_2", "adaptation")
                if any(part in path for path in changed)
            }

        assert trained(2, 0) == {"stem", "student_1"}
        assert trained(3, 2) == {"stem", "student_1", "student_2", "adaptation"}

    def test_switches_within_one_fit(self, batch):
        ensemble = small_ensemble()
        ensemble.compile("sgd")
        waiting = oekd_tf.callbacks.PseudoTeacherFirst(1)
        history = ensemble.fit(
            *batch, epochs=3, verbose=0, callbacks=[waiting], validation_data=batch
        ).history
        assert history["val_feature_loss"][0] > 0.0
        assert history["feature_loss"][0] == 0.0
        assert history["feature_loss"][1] > 0.0


class TestMixedPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_logits_and_losses_are_float32(self, batch, policy):
        ensemble = small_ensemble(dtype=policy)
        ensemble.compile(keras.optimizers.Adam(0.01))
        outputs = ensemble(batch[0], with_parts=True)
        assert outputs["student_1"].dtype == outputs["teacher"].dtype == "float32"
        assert outputs["blocks"][0][0].dtype == policy.removeprefix("mixed_")
        assert keras.config.dtype_policy().name == "float32"
        terms = ensemble.loss_terms(batch[1], outputs)
        assert all(term.dtype == "float32" for term in terms.values())
        history = ensemble.fit(*batch, batch_size=8, epochs=25, verbose=0).history
        assert history["loss"][-1] < 0.8 * history["loss"][0]

    def test_loss_scaling_leaves_the_step_as_it_is(self, batch):
        weights = {}
        for policy in ("float32", "mixed_float16"):
            keras.utils.set_random_seed(1)
            ensemble = small_ensemble(norm=False, dtype=policy)
            ensemble.compile(keras.optimizers.SGD(0.05))
            history = ensemble.fit(*batch, batch_size=8, epochs=3, verbose=0).history
            weights[policy] = [v.numpy() for v in ensemble.trainable_variables]
            if policy == "mixed_float16":
                assert isinstance(ensemble.optimizer, keras.optimizers.LossScaleOptimizer)
                assert history["loss"][0] < 100
        for full, mixed in zip(*weights.values(), strict=True):
            np.testing.assert_allclose(mixed, full, atol=3e-3)


class TestSaving:
    @pytest.mark.parametrize("optimizer", ["adam", "sgd"])
    def test_round_trip_with_optimizer(self, batch, tmp_path, optimizer):
        ensemble = small_ensemble(
            mean=(1, 2, 3),
            oekd={
                "teacher_weights": (2, 1, 1), "stem_gradient": "pseudo_teacher",
                "temperature": 3.0, "feature_weight": 0.3,
            },
        )  # fmt: skip
        ensemble.compile(optimizer)
        ensemble.fit(*batch, batch_size=4, epochs=2, verbose=0)
        ensemble.save(tmp_path / "e.keras")
        loaded = keras.models.load_model(tmp_path / "e.keras")
        assert loaded.get_config() == ensemble.get_config()
        assert (loaded.method.temperature, loaded.method.feature_weight) == (3.0, 0.3)
        assert int(loaded.optimizer.iterations) == 4
        arguments = {"batch_size": 4, "epochs": 1, "shuffle": False, "verbose": 0}
        ensemble.fit(*batch, **arguments)
        loaded.fit(*batch, **arguments)
        for one, other in zip(ensemble.variables, loaded.variables, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6, err_msg=one.path)

    def test_mixed_precision_round_trip(self, batch, tmp_path):
        ensemble = small_ensemble(dtype="mixed_bfloat16")
        ensemble.save(tmp_path / "e.keras")
        loaded = keras.models.load_model(tmp_path / "e.keras")
        assert loaded.dtype_policy.name == "mixed_bfloat16"
        blocks = loaded(batch[0], with_parts=True)["blocks"]
        assert blocks[0][0].dtype == "bfloat16"

    def test_backbone_of_ones_own_keeps_its_arguments(self):
        ensemble = small_ensemble()
        again = oekd_tf.OnlineEnsemble.from_config(ensemble.get_config())
        assert isinstance(again.backbone, PlainCnn)
        assert again.backbone.channels == (8, 16)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"widths": ()}, r"widths must start with 1.*Received: \(\)"),
            ({"widths": (0.5, 0.2)}, "widths must start with 1"),
            ({"widths": (1.0, 0.5, 0.5)}, "widths must start with 1"),
            ({"widths": (1.0, 0.0)}, "widths must start with 1"),
            ({"widths": (1.0, 0.01)}, "at least one channel"),
            ({"oekd": {"teacher_weights": (1, 1)}}, r"teacher_weights must be .*Received: 2$"),
            ({"oekd": {"teacher_weights": (0, 0, 0)}}, "teacher_weights must be"),
            ({"oekd": {"stem_gradient": "some"}}, "stem_gradient must be one of"),
            ({"mean": (1, 2)}, r"mean must be .* 3 channels.*Received: \(1, 2\)"),
            ({"std": 0.0}, "std must be one finite number above 0"),
        ],
    )
    def test_constructor(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            small_ensemble(**arguments)

    @pytest.mark.parametrize(
        ("input_shape", "classes", "message"),
        [((16, 16), 4, "input_shape must be"), ((16, 16, 3), 1, "num_classes must be at least 2")],
    )
    def test_shapes(self, input_shape, classes, message):
        with pytest.raises(ValueError, match=message):
            oekd_tf.OnlineEnsemble(PlainCnn(), input_shape, classes)

    def test_backbone(self):
        with pytest.raises(ValueError, match=r"backbone must have the methods.*Received: 'x'"):
            oekd_tf.OnlineEnsemble("x", (16, 16, 3), 4)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"oekd": {"temperature": 0}}, "temperature must be above 0 and .*Received: 0"),
            ({"oekd": {"label_weight": -1}}, "label_weight must be at least 0. Received: -1"),
            ({"oekd": {"feature_weight": float("nan")}}, "feature_weight must be at least 0"),
            ({"method": "paper"}, r"method must be one of cl_ilr, .*Received: 'paper'"),
            # What version 0.1 took elsewhere.
            ({"stem_gradient": "all"}, r"stem_gradient is an argument of the method.*Received"),
        ],
    )
    def test_method(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            small_ensemble(**arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"temperature": 3.0}, r"temperature is an argument of the method.*Received: temp"),
            ({"loss": "mse"}, r"its own losses and metrics.*Received: loss='mse'"),
        ],
    )
    def test_compile(self, ensemble, arguments, message):
        with pytest.raises(ValueError, match=message):
            ensemble.compile("sgd", **arguments)
