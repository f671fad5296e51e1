"""Batches that must be refused, and good ones that must not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import PlainCnn, small_ensemble

import oekd_tf
from oekd_tf.training.callbacks import NonFiniteLossError


@keras.saving.register_keras_serializable("oekd_tf_tests")
class RootOfNothing(keras.layers.Layer):
    """√(relu(w x)) · relu(w x): 0 where w x is 0, with the gradient ∞ · 0."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(), initializer="ones", name="kernel")

    def call(self, x):
        return x + keras.ops.sqrt(0.0 * self.kernel * x)


class BrokenCnn(PlainCnn):
    """Student 2's first block has a finite output and a gradient that is not a number."""

    broken = "student_2"

    def branch(self, stem_output, width, name):
        if name == self.broken:
            stem_output = RootOfNothing(name=f"{name}_root")(stem_output)
        return super().branch(stem_output, width, name)


class Dense(oekd_tf.backbones.Backbone):
    """No convolution, because oneDNN gives none of no image a wrong shape."""

    def stem(self, images):
        return keras.layers.Dense(4, name="stem")(images)

    def branch(self, stem_output, width, name):
        block = keras.layers.Dense(4, name=f"{name}_dense")(stem_output)
        pooled = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(block)
        return oekd_tf.backbones.Branch((block,), pooled)


def compiled(optimizer="sgd", backbone=None, arguments=None, **compile_arguments):
    ensemble = oekd_tf.OnlineEnsemble(
        backbone or PlainCnn((4,)),
        (16, 16, 3),
        num_classes=4,
        **{"widths": (1.0, 0.5), **(arguments or {})},
    )
    ensemble.compile(optimizer, **compile_arguments)
    return ensemble


def batches(images, labels, size=8):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(size)


def values(ensemble):
    return {v.path: v.numpy() for v in [*ensemble.variables, *ensemble.optimizer.variables]}


def refuses(ensemble, error, message, train):
    """That `train` raises the error in one line, and the network stays as it was."""
    before = values(ensemble)
    with pytest.raises(error, match=message) as caught:
        train()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    for path, value in values(ensemble).items():
        if not path.startswith(("loss", "label_loss", "feature_loss", "distillation_loss")):
            np.testing.assert_array_equal(value, before[path], err_msg=path)


def spoiled(array, value, dtype=np.float32):
    array = array.astype(dtype)
    array[(5, *[1] * (array.ndim - 1))] = value
    return array


def wrong_images(images):
    scale = images.astype(np.float32) / 255
    return {
        "below": (spoiled(images, -1), ValueError, "pixels from -1 to 255 at step 1$"),
        "above": (spoiled(images, 256), ValueError, "pixels from 0 to 256 at step 1$"),
        "signed": (spoiled(images, -1, np.int32), ValueError, "pixels from -1 to 255 at step 1$"),
        "standardised": (scale * 2 - 1, ValueError, "pixels from -1 to 1 at step 1$"),
        "scaled": (scale, ValueError, "look scaled already. Received: pixels from 0 to 1 in"),
        "nan": (spoiled(images, np.nan), NonFiniteLossError, "NaN or inf in the images at step 1$"),
        "inf": (spoiled(images, -np.inf), NonFiniteLossError, "NaN or inf in the images"),
        "channels": (
            images[..., :2],
            ValueError,
            r"16, 3\).*shape \(None, 16, 16, 2\)$",
        ),
        "size": (images[:, :8], ValueError, r"shape \(8, 8, 16, 3\)$"),
        "flat": (images.reshape(8, -1), ValueError, r"shape \(None, 768\)$"),
        "bool": (images > 9, ValueError, "must be numbers.*Received: type bool$"),
        "string": (images.astype(str), ValueError, "Received: type string$"),
        "dict": ({"image": images}, ValueError, "Received: dict$"),
    }


# The others run eagerly, which is faster. TensorFlow needs a second to free a graph that failed.
IN_GRAPH = ("above", "nan", "channels", "flat")


@pytest.mark.parametrize("name", wrong_images(np.zeros((8, 16, 16, 3), np.uint8)))
def test_images(batch, name):
    images, error, message = wrong_images(batch[0])[name]
    ensemble = compiled(run_eagerly=name not in IN_GRAPH)
    refuses(ensemble, error, message, lambda: ensemble.fit(batches(images, batch[1]), verbose=0))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 1, 2, 3, 4, 0, 1, 2],
            "from 0 to 3, .*Received: labels from 0 to 4 at step 1$",
        ),
        ([0, 1, 2, 3, -1, 0, 1, 2], "Received: labels from -1 to 3"),
        (np.full((8, 1), 2**33), "Received: labels from 8589934592 to"),
        (np.full(8, 200, np.uint8), "Received: labels from 200 to 200"),
        (np.full(8, 1.5, np.float32), "whole numbers. Received: labels from 1.5 to 1.5"),
        (np.full(8, np.nan, np.float32), "whole numbers. Received: labels from -?nan to -?nan"),
        (np.full((8, 4), 25.0, np.float32), "probabilities must be .*Received: from 25 to 25"),
        (np.full((8, 4), np.nan, np.float32), "probabilities must be .*from -?nan to -?nan"),
        (np.full(8, "cat"), "class indices or class prob.*Received: type string$"),
        (np.zeros((8, 3), np.int32), r"Received: shape \(8, 3\)$"),
    ],
)
def test_labels(batch, labels, message):
    ensemble = compiled(run_eagerly=True)
    data = batches(batch[0], labels)
    refuses(ensemble, ValueError, message, lambda: ensemble.fit(data, verbose=0))
    message = message.replace("at step 1", "in evaluation")
    refuses(ensemble, ValueError, message, lambda: ensemble.evaluate(data, verbose=0))


def test_images_of_a_shape_that_is_known_only_when_it_runs(batch):
    images = np.concatenate([batch[0], batch[0]], axis=1)
    signature = (tf.TensorSpec((None, None, None, 3), tf.uint8), tf.TensorSpec((None,), tf.int32))
    data = tf.data.Dataset.from_generator(lambda: [(images, batch[1])], output_signature=signature)
    ensemble = compiled()
    message = r"\(batch, 16, 16, 3\). Received: images of 32 × 16 × 3 at step 1$"
    refuses(ensemble, ValueError, message, lambda: ensemble.fit(data, verbose=0))


class TestEvaluation:
    @pytest.mark.parametrize("name", ["nan", "size", "bool"])
    def test_wrong_images(self, batch, name):
        images, error, message = wrong_images(batch[0])[name]
        message = message.replace("at step 1", "in evaluation")
        ensemble = compiled(run_eagerly=name != "nan")
        data = batches(images, batch[1])
        refuses(ensemble, error, message, lambda: ensemble.evaluate(data, verbose=0))

    def test_wrong_validation_data_end_training(self, batch):
        ensemble = compiled(run_eagerly=True)
        with pytest.raises(ValueError, match=r"Received: labels from 9 to 9 in evaluation$"):
            ensemble.fit(*batch, validation_data=(batch[0], np.full(8, 9)), verbose=0)


class TestScaledPictures:
    """Pictures from 0 to 1 are as wrong after training as in it."""

    @pytest.mark.parametrize("eager", [False, True])
    def test_evaluate(self, batch, eager):
        scaled = batches(batch[0].astype(np.float32) / 255, batch[1], size=4)
        ensemble = compiled(run_eagerly=eager)
        message = "look scaled already. Received: pixels from 0 to 1 in .*, in evaluation$"
        for _ in range(2):
            refuses(ensemble, ValueError, message, lambda: ensemble.evaluate(scaled, verbose=0))
        assert np.isfinite(ensemble.evaluate(*batch, verbose=0)[0])

    def test_validation_arrays_before_anything_is_trained(self, batch):
        ensemble = compiled()
        scaled = batch[0].astype(np.float32) / 255
        with pytest.raises(ValueError, match=r"scaled already.*, in validation_data$"):
            ensemble.fit(*batch, validation_data=(scaled, batch[1]), verbose=0)
        assert int(ensemble.optimizer.iterations) == 0

    def test_validation_batches(self, batch):
        ensemble = compiled(run_eagerly=True)
        scaled = batches(batch[0].astype(np.float32) / 255, batch[1])
        with pytest.raises(ValueError, match=r"scaled already.*, in evaluation$"):
            ensemble.fit(*batch, validation_data=scaled, verbose=0)

    def test_predict(self, batch):
        ensemble = compiled()
        scaled = batch[0].astype(np.float32) / 255
        for images in (scaled, batches(scaled, batch[1]), tf.constant(scaled)):
            with pytest.raises(ValueError, match=r"scaled already.*, in prediction$"):
                ensemble.predict(images, verbose=0)
        plain = ensemble.predict(batch[0].astype(np.float32), verbose=0)
        np.testing.assert_allclose(plain["teacher"], ensemble(batch[0])["teacher"], atol=1e-5)

    def test_black_pictures_pass(self, batch):
        ensemble = compiled(run_eagerly=True)
        black = np.zeros(batch[0].shape, np.float32)
        ensemble.evaluate(black, batch[1], verbose=0)
        ensemble.predict(black, verbose=0)
        # Dark ones after the first batch too: they say nothing of the others.
        dark = np.concatenate([batch[0].astype(np.float32), black + 1])
        ensemble.evaluate(batches(dark, np.tile(batch[1], 2)), verbose=0)
        ensemble.predict(dark, batch_size=8, verbose=0)

    def test_replicas(self, mirrored, batch):
        with mirrored.scope():
            ensemble = compiled("sgd")
        scaled = batch[0].astype(np.float32) / 255
        with pytest.raises(ValueError, match="scaled already"):
            ensemble.evaluate(scaled, batch[1], verbose=0)
        with pytest.raises(ValueError, match="scaled already"):
            ensemble.predict(scaled, verbose=0)
        assert ensemble.predict(batch[0], verbose=0)["teacher"].shape == (8, 4)


class TestGoodData:
    @pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32"])
    def test_types_of_images(self, batch, dtype):
        ensemble = compiled(run_eagerly=dtype in ("int32", "float16"))
        before = ensemble.students[1].get_weights()[0]
        logs = ensemble.fit(batches(batch[0].astype(dtype), batch[1]), verbose=0).history
        assert np.isfinite(logs["loss"][0])
        assert np.any(ensemble.students[1].get_weights()[0] != before)

    def test_black_batches_after_the_first(self, batch):
        images = np.concatenate([batch[0], np.zeros_like(batch[0]), np.ones_like(batch[0])])
        labels = np.tile(batch[1], 3)
        ensemble = compiled(run_eagerly=True)
        ensemble.fit(batches(images.astype(np.float32), labels), verbose=0)

    def test_labels(self, batch):
        ensemble = compiled(run_eagerly=True)
        with pytest.raises(ValueError, match=r"class indices or class prob.*Received: type bool$"):
            ensemble.fit(batches(batch[0], batch[1] > 1), verbose=0)
        one_hot = np.eye(4, dtype=np.float32)[batch[1]]
        for labels in (batch[1][:, None], batch[1].astype(np.float32), one_hot, 1.0001 * one_hot):
            ensemble.fit(batches(batch[0], labels), verbose=0)


class TestLossesAndGradients:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_label_loss(self, batch, value):
        weights = np.full(8, value)
        refuses(
            ensemble := compiled(),
            NonFiniteLossError,
            rf"every loss and gradient must be finite.*Received: label_loss=-?{value} at step 1$",
            lambda: ensemble.fit(*batch, sample_weight=weights, verbose=0),
        )

    def test_feature_loss_is_named(self, batch):
        ensemble = compiled(
            arguments={"method": oekd_tf.methods.OEKD(features="mse")}, run_eagerly=True
        )
        kernel = ensemble.adaptation[0][0].kernel
        kernel.assign(np.full(kernel.shape, np.inf))
        message = "Received: feature_loss=(inf|-?nan) at step 1$"
        refuses(ensemble, NonFiniteLossError, message, lambda: ensemble.fit(*batch, verbose=0))

    @pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_gradient(self, batch, alone):
        backbone = BrokenCnn((4,))
        backbone.broken = "student_1" if alone else "student_2"
        ensemble = compiled(oekd_tf.optimizers.Adam(0.01), backbone)
        ensemble.pseudo_teacher_only = alone
        assert np.isfinite(ensemble.evaluate(*batch, verbose=0)[0])
        message = "Received: NaN or inf in the gradient of .* at step 1$"
        refuses(ensemble, NonFiniteLossError, message, lambda: ensemble.fit(*batch, verbose=0))

    def test_the_gradient_that_is_named_is_the_one(self, batch):
        # The stem, which comes first, is spared by student 2.
        ensemble = compiled(
            "sgd",
            BrokenCnn((4,)),
            {"method": oekd_tf.methods.OEKD(stem_gradient="pseudo_teacher")},
            run_eagerly=True,
        )
        with pytest.raises(NonFiniteLossError, match="gradient of student_2_root/kernel at step 1"):
            ensemble.fit(*batch, verbose=0)


HALF = {"dtype": "mixed_float16"}


class TestScaledLosses:
    @pytest.mark.parametrize("explicit", [False, True])
    def test_a_loss_that_is_nan_is_no_overflow(self, batch, explicit):
        optimizer = keras.optimizers.Adam(0.01)
        if explicit:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        ensemble = compiled(optimizer, arguments=HALF)
        weights = np.full(8, np.nan)
        message = r"Received: label_loss=-?nan at step 1$"
        refuses(
            ensemble, NonFiniteLossError, message,
            lambda: ensemble.fit(*batch, sample_weight=weights, verbose=0),
        )  # fmt: skip
        assert float(ensemble.optimizer.dynamic_scale) == 2.0**15

    def test_a_learning_rate_that_is_too_high_for_half_precision(self, batch):
        ensemble = compiled(keras.optimizers.SGD(1e6), arguments=HALF)
        with pytest.raises(NonFiniteLossError, match=r"Received: \w+=-?(nan|inf) at step \d+$"):
            ensemble.fit(*batch, epochs=20, verbose=0)
        assert all(np.isfinite(v.numpy()).all() for v in ensemble.non_trainable_variables)

    def test_a_skipped_step_halves_the_scale_and_changes_nothing_else(self, batch):
        ensemble = compiled("adam", arguments=HALF)
        ensemble.optimizer.dynamic_scale.assign(2.0**100)
        kept = [*ensemble.trainable_variables, *ensemble.non_trainable_variables]
        kept += ensemble.optimizer.inner_optimizer.variables
        before = [v.numpy() for v in kept]
        logs = ensemble.fit(*batch, verbose=0).history
        assert np.isfinite(logs["loss"]).all()
        for variable, old in zip(kept, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), old, err_msg=variable.path)
        assert float(ensemble.optimizer.dynamic_scale) == 2.0**99
        ensemble.optimizer.dynamic_scale.assign(2.0**10)
        ensemble.fit(*batch, verbose=0)
        moved = [not np.array_equal(v.numpy(), old) for v, old in zip(kept, before, strict=True)]
        assert all(
            changed for v, changed in zip(kept, moved, strict=True) if v.name == "moving_mean"
        )

    def test_a_gradient_that_no_scale_can_save(self, batch):
        ensemble = compiled("sgd", BrokenCnn((4,)), HALF)
        ensemble.optimizer.dynamic_scale.assign(2.0**-12)
        message = "NaN or inf in the gradient of .* at step 1, even with the least loss scale$"
        with pytest.raises(NonFiniteLossError, match=message):
            ensemble.fit(*batch, epochs=5, verbose=0)
        assert float(ensemble.optimizer.dynamic_scale) == 2.0**-14

    @pytest.mark.slow
    def test_with_xla_fit_fails_at_the_batch(self, batch):
        for arguments in ({}, HALF):
            ensemble = compiled(arguments=arguments, jit_compile=True)
            with pytest.raises(NonFiniteLossError, match=r"label_loss=nan in epoch 1 at step 1$"):
                ensemble.fit(*batch, sample_weight=np.full(8, np.nan), verbose=0)


@pytest.mark.parametrize("arguments", [{"run_eagerly": True}, {"steps_per_execution": 3}])
def test_other_ways_to_run_a_step(batch, arguments):
    images = np.concatenate([batch[0].astype(np.float32)] * 3)
    labels = np.tile(batch[1], 3)
    ensemble = compiled(oekd_tf.optimizers.SGD(0.01), **arguments)
    ensemble.fit(batches(images, labels), verbose=0)
    assert int(ensemble.optimizer.iterations) == 3
    for wrong, error, message in (
        ((spoiled(images, np.nan), labels), NonFiniteLossError, "in the images at step 4$"),
        ((spoiled(images, 300), labels), ValueError, "pixels from 0 to 300 at step 4$"),
        ((images, spoiled(labels, 7, np.int32)), ValueError, "labels from 0 to 7 at step 4$"),
    ):
        refuses(ensemble, error, message, lambda w=wrong: ensemble.fit(batches(*w), verbose=0))
    labels[20] = -1
    with pytest.raises(ValueError, match=r"labels from -1 to 3 at step 6$"):
        ensemble.fit(batches(images, labels), verbose=0)


def test_train_on_batch(batch):
    for eager in (False, True):
        ensemble = compiled(run_eagerly=eager)
        ensemble.train_on_batch(*batch)
        with pytest.raises(ValueError, match=r"labels from 4 to 4 at step 2$"):
            ensemble.train_on_batch(batch[0], np.full(8, 4))
        with pytest.raises(ValueError, match=r"labels from 4 to 4 in evaluation$"):
            ensemble.test_on_batch(batch[0], np.full(8, 4))


class TestReplicas:
    @pytest.fixture
    def ensemble(self, mirrored):
        with mirrored.scope():
            return compiled(
                oekd_tf.optimizers.SGD(0.01), PlainCnn((4,), synchronized_batch_norm=True)
            )

    @pytest.mark.slow
    def test_each_share_is_checked(self, ensemble, batch):
        # Image 5 of 8 is the second replica's.
        images = batch[0].astype(np.float32)
        for wrong, error, message in (
            ((spoiled(images, np.nan), batch[1]), NonFiniteLossError, "in the images at step 1$"),
            ((images / 255, batch[1]), ValueError, "look scaled already"),
            ((images, spoiled(batch[1], 7, np.int32)), ValueError, "labels from .* to 7 at step 1"),
        ):
            refuses(ensemble, error, message, lambda w=wrong: ensemble.fit(batches(*w), verbose=0))
        # What was refused does not stand in the way of what follows.
        ensemble.fit(batches(images, batch[1]), verbose=0)

    def test_gradient(self, mirrored, batch):
        with mirrored.scope():
            ensemble = compiled("sgd", BrokenCnn((4,)))
        message = "Received: NaN or inf in the gradient of"
        refuses(ensemble, NonFiniteLossError, message, lambda: ensemble.fit(*batch, verbose=0))

    def test_a_replica_without_a_share_of_the_last_batch(self, mirrored, batch):
        with mirrored.scope():
            ensemble = compiled(backbone=Dense(), arguments={"widths": (1.0,)})
        images, labels = (np.concatenate([part, part[:1]]) for part in batch)
        data = batches(images.astype(np.float32), labels)
        assert np.isfinite(ensemble.fit(data, verbose=0).history["loss"][0])
        assert np.isfinite(ensemble.evaluate(data, verbose=0)[0])
        assert int(ensemble.optimizer.iterations.numpy()) == 2


def test_another_rank_than_before(batch):
    """Keras then traces the step for tensors of any rank, which says nothing of the mistake."""
    images, labels = batch
    ensemble = small_ensemble()
    ensemble.compile("sgd")
    ensemble.fit(images, labels, verbose=0)
    with pytest.raises(ValueError, match=r"Labels must be of one shape.*Received: another number"):
        ensemble.fit(images, labels[:, None], verbose=0)
    with pytest.raises(ValueError, match=r"Images must .*Received: "):
        ensemble.fit(images[..., 0], labels, verbose=0)
    ensemble.fit(images, labels, verbose=0)
    ensemble.compile("sgd")
    ensemble.fit(images, labels[:, None], verbose=0)
