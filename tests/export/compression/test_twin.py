"""Twins of real families against their students."""

import keras
import numpy as np
import pytest
import tf_keras
from networks import small_ensemble

import oekd_tf
from oekd_tf.export import ExportError
from oekd_tf.export.compression import make_twin

pytestmark = pytest.mark.integration

FAMILIES = [
    oekd_tf.backbones.CifarResNet(8),
    oekd_tf.backbones.DenseNet(depth=16, growth_rate=12),
    oekd_tf.backbones.MobileNetV2(),
    oekd_tf.backbones.MobileNetV3("small"),
]
SLOW = [
    oekd_tf.backbones.EfficientNet("b0"),
    oekd_tf.backbones.ResNet(18),
    oekd_tf.backbones.ResNeXt(50),
]


def with_statistics(student, rng):
    """A student whose batch normalisations have means and variances that matter."""
    for variable in student.weights:
        if variable.path.endswith("moving_mean"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
        if variable.path.endswith("moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return student


@pytest.mark.parametrize(
    "family",
    [*FAMILIES, *(pytest.param(family, marks=pytest.mark.slow) for family in SLOW)],
    ids=lambda family: type(family).__name__,
)
def test_logits_are_the_students(family, rng):
    ensemble = oekd_tf.OnlineEnsemble(
        family, (32, 32, 3), 10, widths=(1.0, 0.5), mean=(120, 115, 110), std=(60, 61, 62)
    )
    student = with_statistics(ensemble.students[1], rng)
    twin = make_twin(student)
    images = rng.integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
    expected = student.predict(images, verbose=0)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(twin(images, training=False), expected, atol=1e-4 * scale)


def test_it_is_flat_and_has_the_layers_by_name(rng):
    student = with_statistics(small_ensemble(mean=(1, 2, 3), std=(4, 5, 6)).students[1], rng)
    twin = make_twin(student)
    assert not any(isinstance(layer, tf_keras.Model) for layer in twin.layers)
    for layer in student.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            np.testing.assert_array_equal(
                twin.get_layer(layer.name).kernel.numpy(), np.asarray(layer.kernel)
            )
    # The stem's activation is inside its convolution; here it stands behind.
    assert twin.get_layer("stem").activation.__name__ == "linear"
    assert isinstance(twin.get_layer("stem_activation"), tf_keras.layers.ReLU)
    # The normalisation is a constant.
    assert not twin.get_layer("normalization").trainable_weights


def test_the_student_keeps_its_weights(rng):
    student = small_ensemble().students[1]
    before = student.get_weights()
    twin = make_twin(student)
    twin.set_weights([weight + 1 for weight in twin.get_weights()])
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_operation_that_is_no_layer_is_refused():
    images = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(images) * 0.5
    student = keras.Model(images, keras.layers.Dense(2)(x), name="student_1")
    with pytest.raises(ExportError, match="Received: the operation Multiply"):
        make_twin(student)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.UpSampling2D(name="mine"), "a UpSampling2D, mine"),
        (keras.layers.Activation("gelu", name="mine"), "the activation gelu, mine"),
    ],
)
def test_a_layer_without_a_twin_is_refused_with_a_format_to_use_instead(layer, message):
    images = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(layer(images))
    student = keras.Model(images, keras.layers.Dense(2)(x), name="student_1")
    with pytest.raises(ExportError, match=f"int8, dynamic or float16 instead. Received: {message}"):
        make_twin(student)
