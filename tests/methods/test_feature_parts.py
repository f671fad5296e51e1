"""Feature losses against NumPy: as functions, and summed over an ensemble's students and blocks."""

import numpy as np
import pytest
import tensorflow as tf
from by_hand import data, look, small, values

import oekd_tf
from oekd_tf.methods.parts import feature_losses


def attention_by_hand(target, block):
    def normal(side):
        energy = (np.asarray(side, np.float64) ** 2).mean(-1).reshape(len(side), -1)
        return energy / np.linalg.norm(energy, axis=-1, keepdims=True)

    return ((normal(block) - normal(target)) ** 2).sum(-1)


def channel_mean_by_hand(target, block):
    means = [np.asarray(side, np.float64).mean(-1) for side in (target, block)]
    return ((means[1] - means[0]) ** 2).mean((1, 2))


def projected_by_hand(target, projected):
    def normal(side):
        side = np.asarray(side, np.float64)
        return (side - side.mean(0)) / np.sqrt(side.var(0) + 1e-4)

    return ((normal(projected) - normal(target)) ** 2).mean(-1)


class TestFunctions:
    def test_attention(self, rng):
        target, block = rng.normal(size=(4, 5, 3, 7)), 9 * rng.normal(size=(4, 5, 3, 2))
        found = feature_losses.attention_loss(target, block)
        np.testing.assert_allclose(found, attention_by_hand(target, block), rtol=1e-4)

    def test_attention_by_numbers(self):
        # Energies (1, 0) and (0, 1) are as far apart as can be; (3, 4) / 5 is 0.8 from (1, 0).
        one, other = np.array([[[[1.0], [0.0]]]]), np.array([[[[0.0], [2.0]]]])
        np.testing.assert_allclose(feature_losses.attention_loss(one, other), [2.0], rtol=1e-5)
        mixed = np.sqrt(np.array([[[[3.0], [4.0]]]]))
        np.testing.assert_allclose(feature_losses.attention_loss(one, mixed), [0.8], rtol=1e-5)

    def test_attention_does_not_depend_on_scale_or_channels(self, rng):
        target = rng.normal(size=(4, 5, 3, 7))
        same = 100.0 * np.concatenate([target, target], axis=-1)
        np.testing.assert_allclose(feature_losses.attention_loss(target, same), 0, atol=1e-6)

    def test_channel_mean(self, rng):
        target, block = rng.normal(size=(4, 5, 3, 7)), 9 * rng.normal(size=(4, 5, 3, 2))
        found = feature_losses.channel_mean_loss(target, block)
        np.testing.assert_allclose(found, channel_mean_by_hand(target, block), rtol=1e-4)
        # Means of 2 and 5 everywhere.
        sides = np.full((1, 2, 2, 3), 2.0), np.full((1, 2, 2, 1), 5.0)
        found = feature_losses.channel_mean_loss(*sides)
        np.testing.assert_allclose(found, [9.0])

    def test_projected(self, rng):
        target, projected = 3 * rng.normal(size=(6, 5)) + 2, rng.normal(size=(6, 5))
        found = feature_losses.projected_loss(target, projected)
        np.testing.assert_allclose(found, projected_by_hand(target, projected), rtol=1e-4)

    def test_projected_begins_at_2(self, rng):
        """Two unrelated standardised channels: the mean over the batch is 2 less the covariance."""
        target, projected = rng.normal(size=(2, 4000, 3)) * [[[0.5, 1, 7]], [[100, 2, 1]]]
        found = np.mean(feature_losses.projected_loss(target, projected))
        assert found == pytest.approx(2.0, abs=0.1)

    @pytest.mark.parametrize("name", ["attention_loss", "channel_mean_loss", "projected_loss"])
    def test_gradients(self, name, rng):
        """None into the target, and none that is NaN where there is nothing at all."""
        shape = (4, 3) if name == "projected_loss" else (4, 3, 3, 2)
        for block in (rng.normal(size=shape), np.zeros(shape)):
            sides = [tf.Variable(np.ones(shape), dtype="float32") for _ in range(2)]
            sides[1].assign(block)
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(getattr(feature_losses, name)(sides[0] * 1.0, sides[1] * 1.0))
            to_target, to_block = tape.gradient(loss, sides)
            assert to_target is None
            assert np.isfinite(to_block).all()


def block_terms(ensemble, outputs, function, blocks):
    """Summed over students 2 and up and blocks, averaged over the batch."""
    return sum(
        function(np.asarray(outputs["blocks"][0][b - 1]), np.asarray(own[b - 1])).mean()
        for own in outputs["blocks"][1:]
        for b in blocks
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("blocks", [None, [2], [2, 1]])
@pytest.mark.parametrize(
    ("name", "function"),
    [("attention", attention_by_hand), ("channel_mean", channel_mean_by_hand)],
)
def test_maps_in_an_ensemble(name, function, blocks, training):
    ensemble = small("dml", features=name, feature_blocks=blocks)
    outputs, _, terms = look(ensemble, *data(), training)
    expected = block_terms(ensemble, outputs, function, blocks or [1, 2])
    assert terms["feature_loss"] == pytest.approx(expected, rel=1e-4)
    assert not ensemble.adaptation
    assert not ensemble.method.trainable_variables


@pytest.mark.parametrize("blocks", [None, [2], 1])
@pytest.mark.parametrize("name", ["mse", "relative_mse"])
def test_adapted_maps_in_an_ensemble(name, blocks):
    ensemble = small("kdcl", features=name, feature_blocks=blocks)
    chosen = [1, 2] if blocks is None else [blocks] if blocks == 1 else blocks
    layers = ensemble.adaptation
    # Students 2 and 3, a layer for each chosen block, into student 1's 8 and 12 channels.
    assert [[layer.name for layer in row] for row in layers] == [
        [f"student_{s}_block_{b}_adaptation" for b in chosen] for s in (2, 3)
    ]
    assert [layer.filters for layer in layers[0]] == [{1: 8, 2: 12}[b] for b in chosen]
    for layer in (layer for row in layers for layer in row):
        layer.bias.assign(np.linspace(-1, 1, layer.filters))
    outputs, _, terms = look(ensemble, *data())
    expected = 0.0
    for row, own in zip(layers, outputs["blocks"][1:], strict=True):
        for layer, b in zip(row, chosen, strict=True):
            target = np.asarray(outputs["blocks"][0][b - 1], np.float64)
            kernel, bias = np.asarray(layer.kernel)[0, 0], np.asarray(layer.bias)
            adapted = np.asarray(own[b - 1]) @ kernel + bias
            loss = ((adapted - target) ** 2).mean((1, 2, 3))
            if name == "relative_mse":
                loss = loss / ((target**2).mean((1, 2, 3)) + 0.01)
            expected += loss.mean()
    assert terms["feature_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_projected_in_an_ensemble(training):
    ensemble = small("one", features="projected")
    assert [tuple(layer.kernel.shape) for layer in ensemble.method.projection] == [(6, 12), (3, 12)]
    assert not any(layer.use_bias for layer in ensemble.method.projection)
    outputs, _, terms = look(ensemble, *data(), training)
    expected = sum(
        projected_by_hand(outputs["features"][0], np.asarray(own) @ np.asarray(layer.kernel)).mean()
        for layer, own in zip(ensemble.method.projection, outputs["features"][1:], strict=True)
    )
    assert terms["feature_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["mse", "attention", "projected"])
def test_gradients_reach_the_followers_alone(name):
    """The pseudo teacher's branch is a target; followers and what adapts them are trained."""
    ensemble = small("dml", features=name, feature_weight=1.0)
    images, labels = data()
    first, second = ensemble.students[0], ensemble.students[1]
    watched = [
        first.get_layer("student_1_block_2").kernel,
        second.get_layer("student_2_block_2").kernel,
    ]
    own = ensemble.method.trainable_variables
    with tf.GradientTape() as tape:
        outputs = ensemble(images, training=True, with_parts=True)
        loss = ensemble.loss_terms(labels, outputs, images=images)["feature_loss"]
    to_first, to_second, *to_own = tape.gradient(loss, [v.value for v in (*watched, *own)])
    assert to_first is None or np.abs(to_first).max() == 0
    assert np.abs(to_second).max() > 0
    assert all(np.abs(gradient).max() > 0 for gradient in to_own)


def test_without_a_weight_it_is_not_computed(monkeypatch):
    ensemble = small("oekd", features="mse", feature_weight=0.0)
    before = values(ensemble.method.trainable_variables)
    ensemble.train_on_batch(*data())

    def fail(batch):
        raise AssertionError("computed")

    monkeypatch.setattr(ensemble.method, "feature_distance", fail)
    _, _, terms = look(ensemble, *data())
    assert terms["feature_loss"] == 0
    for variable, old in zip(ensemble.method.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)


@pytest.mark.parametrize("name", ["oekd", "dml"])
def test_a_weight_of_no_features_is_refused(name):
    with pytest.raises(ValueError, match=r"^feature_weight must be left out .*Received: 0.5 with"):
        oekd_tf.methods.get(name, feature_weight=0.5)
    oekd_tf.methods.get(name, feature_weight=0.0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("oekd", {"distillation_weight": 0}),
        ("kdcl", {"distillation_weight": 0, "features": "attention", "feature_weight": 0}),
        ("labels", {}),
    ],
)
def test_weights_that_teach_nothing_are_refused(name, arguments):
    with pytest.raises(ValueError, match=r"must be above 0.*Received: "):
        oekd_tf.methods.get(name, label_weight=0, **arguments)
    assert oekd_tf.methods.get(name, label_weight=0.1, **arguments).label_weight == 0.1


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("train_adaptation", False),
        ("adaptation_initializer", "orthogonal"),
        ("feature_schedule", "linear"),
    ],
)
def test_an_argument_of_features_that_there_are_not_is_refused(argument, value):
    """It would do nothing, and an ablation of it would show no difference."""
    with pytest.raises(ValueError, match=rf"^{argument} must be .* unless .*Received: .*None"):
        oekd_tf.methods.OEKD(**{argument: value})
    found = oekd_tf.methods.OEKD(features="mse", **{argument: value})
    assert found.get_config()[argument] == value


def test_a_file_without_arguments_has_the_papers():
    """One of before there was another default."""
    found = oekd_tf.methods.OEKD.from_config({"temperature": 3.0})
    assert found.get_config() == oekd_tf.methods.OEKD.paper(temperature=3.0).get_config()
    default = oekd_tf.methods.OEKD()
    again = oekd_tf.methods.OEKD.from_config(default.get_config())
    assert again.get_config() == default.get_config()


def test_the_weighted_sum(rng):
    """β times the features is part of the loss that is trained, with its schedule."""
    ensemble = small(
        "dml", features="channel_mean", feature_weight=0.7, feature_schedule="fade",
        schedule_share=0.5, distillation_weight=0.3, label_weight=0.2, norm=False,
    )  # fmt: skip
    images, labels = data()
    for step in range(5):
        _, _, terms = look(ensemble, images, labels, training=True)
        # The ramp falls in a line over half of the eight steps.
        expected = (
            0.2 * terms["label_loss"]
            + 0.7 * max(0.0, 1 - step / 4) * terms["feature_loss"]
            + 0.3 * terms["distillation_loss"]
        )
        ensemble.reset_metrics()
        found = ensemble.train_on_batch(images, labels, return_dict=True)["loss"]
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([3], r"feature_blocks must be numbers from 1 to 2.*Received: \(3,\)"),
        ([0], r"feature_blocks must be None or different numbers.*Received: \[0\]"),
        ([1, 1], r"feature_blocks must be None or different numbers.*Received: \[1, 1\]"),
        ([], r"feature_blocks must be None or different numbers.*Received: \[\]"),
        ([True], r"feature_blocks must be None or different numbers.*Received: \[True\]"),
    ],
)
def test_blocks_that_are_not_there(blocks, message):
    with pytest.raises(ValueError, match=message):
        small("dml", features="attention", feature_blocks=blocks)
