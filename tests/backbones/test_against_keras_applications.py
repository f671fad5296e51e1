"""Our networks give keras.applications' logits with keras.applications' weights."""

import keras
import numpy as np
import pytest
from keras import applications, layers
from networks import build_alone, family_id

from oekd_tf import backbones

pytestmark = pytest.mark.integration

SAME_LAYERS = [
    (backbones.EfficientNet("b0"), applications.EfficientNetB0, 64),
    (backbones.MobileNetV2(), applications.MobileNetV2, 64),
    (backbones.MobileNetV2(0.5), lambda **k: applications.MobileNetV2(alpha=0.5, **k), 64),
    (backbones.MobileNetV3("small"), applications.MobileNetV3Small, 64),
    (backbones.MobileNetV3("large"), applications.MobileNetV3Large, 64),
    (backbones.ImageNetDenseNet(121), applications.DenseNet121, 64),
]


MORE = [
    (backbones.EfficientNet("b1"), applications.EfficientNetB1, 64),
    (backbones.EfficientNet("b2"), applications.EfficientNetB2, 64),
    (backbones.EfficientNet("b3"), applications.EfficientNetB3, 64),
    (backbones.EfficientNet("b4"), applications.EfficientNetB4, 64),
    (backbones.EfficientNet("b5"), applications.EfficientNetB5, 64),
    (backbones.EfficientNet("b6"), applications.EfficientNetB6, 64),
    (backbones.EfficientNet("b7"), applications.EfficientNetB7, 64),
    (backbones.ImageNetDenseNet(169), applications.DenseNet169, 64),
    (backbones.ImageNetDenseNet(201), applications.DenseNet201, 64),
]


class StrideInFirstConvolution(backbones.ResNet):
    """ResNet as keras.applications has it: a bottleneck's stride is in its first 1×1."""

    def bottleneck(self, x, stage, channels, strides, width, name):
        inner = 64 * 2 ** (stage - 1)
        y = layers.ReLU()(self.conv_norm(x, inner, 1, strides, f"{name}_1"))
        y = layers.ReLU()(self.conv_norm(y, inner, 3, 1, f"{name}_2"))
        return self.conv_norm(y, channels, 1, 1, f"{name}_3")


def randomise(model, rng):
    """Weights under which every layer matters, batch normalisation's statistics too."""
    for layer in model.layers:
        for variable in layer.weights:
            shape = variable.shape
            if "variance" in variable.path or "gamma" in variable.path:
                variable.assign(rng.uniform(0.5, 1.5, shape))
            elif len(shape) > 1:
                fan_in = np.prod(shape[:-1])
                if isinstance(layer, layers.DepthwiseConv2D):
                    fan_in = shape[0] * shape[1]
                variable.assign(rng.normal(0, np.sqrt(2 / fan_in), shape))
            else:
                variable.assign(rng.normal(0, 0.1, shape))


def weighted(model):
    return [
        layer
        for layer in model.layers
        if layer.weights and not isinstance(layer, layers.Normalization | layers.Dropout)
    ]


def compare(ours, theirs, rng, size, rtol=1e-4):
    images = rng.normal(0, 1, (2, size, size, 3)).astype(np.float32)
    expected = theirs.predict(images, verbose=0)
    got = ours.predict(images, verbose=0)
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize(
    ("family", "application", "size"),
    [*SAME_LAYERS, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
    ids=family_id,
)
def test_logits_are_those_of_keras_applications(family, application, size, rng):
    theirs = application(
        input_shape=(size, size, 3), weights=None, classes=7, classifier_activation=None
    )
    randomise(theirs, rng)
    # Without the Rescaling and Normalization that some applications begin with.
    preparing = (layers.InputLayer, layers.Rescaling, layers.Normalization)
    first = next(layer for layer in theirs.layers if not isinstance(layer, preparing))
    before = first.input
    skipped = keras.Model(before, theirs.output)
    ours, *_ = build_alone(family, size, 7, 1.0)
    pairs = list(zip(weighted(ours), weighted(skipped), strict=True))
    for mine, other in pairs:
        weights = [
            w.reshape(v.shape) for w, v in zip(other.get_weights(), mine.weights, strict=True)
        ]
        mine.set_weights(weights)
    compare(ours, skipped, rng, size)


@pytest.mark.parametrize(
    ("depth", "application", "all_units"),
    [
        (50, applications.ResNet50, (3, 4, 6, 3)),
        pytest.param(101, applications.ResNet101, (3, 4, 23, 3), marks=pytest.mark.slow),
        pytest.param(152, applications.ResNet152, (3, 8, 36, 3), marks=pytest.mark.slow),
    ],
)
def test_resnet_logits_are_those_of_keras_applications(depth, application, all_units, rng):
    size = 64
    theirs = application(
        input_shape=(size, size, 3), weights=None, classes=7, classifier_activation=None
    )
    randomise(theirs, rng)
    family = StrideInFirstConvolution(depth, batch_norm_epsilon=1.001e-5)
    ours, *_ = build_alone(family, size, 7, 1.0)

    def copy(name, theirs_name):
        kernel, bias = theirs.get_layer(f"{theirs_name}_conv").get_weights()
        ours.get_layer(f"{name}_conv").set_weights([kernel])
        gamma, beta, mean, variance = theirs.get_layer(f"{theirs_name}_bn").get_weights()
        # Their convolutions have a bias, which the mean can take in.
        ours.get_layer(f"{name}_norm").set_weights([gamma, beta, mean - bias, variance])

    copy("stem", "conv1")
    for stage, units in enumerate(all_units, start=1):
        for unit in range(1, units + 1):
            for number, name in enumerate(("shortcut", "1", "2", "3")):
                if number or unit == 1:
                    copy(
                        f"s_stage_{stage}_unit_{unit}_{name}",
                        f"conv{stage + 1}_block{unit}_{number}",
                    )
    ours.layers[-1].set_weights(theirs.layers[-1].get_weights())
    compare(ours, theirs, rng, size)
