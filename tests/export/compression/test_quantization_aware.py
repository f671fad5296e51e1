"""Networks that are trained in int8 become int8 files without a float tensor."""

import keras
import numpy as np
import pytest
import tf_keras
from networks import PlainCnn

import oekd_tf
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import ExportError, formats
from oekd_tf.export.compression import make_twin
from oekd_tf.export.compression.quantization_aware import quantization_aware
from oekd_tf.export.formats.parts import tflite_contents
from oekd_tf.export.formats.parts.signature import write_converter_input

pytestmark = pytest.mark.integration

BUILT = {
    "CifarResNet": oekd_tf.backbones.CifarResNet(8),
    "DenseNet": oekd_tf.backbones.DenseNet(depth=10, growth_rate=12),
    "PlainCnn": PlainCnn(),
}
SLOW = {
    "EfficientNet": oekd_tf.backbones.EfficientNet("b0"),
    "MobileNetV2": oekd_tf.backbones.MobileNetV2(),
    "MobileNetV3": oekd_tf.backbones.MobileNetV3("small"),
    "ResNeXt": oekd_tf.backbones.ResNeXt(50),
}


def every_kind():
    """A student with what families put into a network: SE, swish, depthwise, norm first."""
    layers = keras.layers
    images = keras.Input((32, 32, 3))
    x = layers.Rescaling([1 / 60] * 3, [-2.0] * 3, name="normalization")(images)
    x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(layers.ZeroPadding2D(1)(x))
    x = layers.Activation("silu")(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.Activation("hard_silu")(layers.BatchNormalization()(y))
    scale = layers.GlobalAveragePooling2D(keepdims=True)(y)
    scale = layers.Conv2D(4, 1, activation="relu")(scale)
    scale = layers.Conv2D(16, 1, activation="hard_sigmoid")(scale)
    x = layers.Add()([x, layers.Multiply()([y, scale])])
    y = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Concatenate()([x, layers.Conv2D(8, 3, padding="same")(y)])
    x = layers.AveragePooling2D(2)(layers.MaxPooling2D(2)(x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(32, activation="hard_silu")(x)
    return keras.Model(images, layers.Dense(10)(x), name="student_1")


def student_of(name):
    if name == "every kind of layer":
        return every_kind()
    family = {**BUILT, **SLOW}[name]
    return oekd_tf.OnlineEnsemble(
        family, (32, 32, 3), 10, widths=(1.0, 0.5), mean=(120, 115, 110), std=(60, 61, 62)
    ).students[1]


def converted(student, images, tmp_path):
    """The quantization-aware model, its ranges seen but its weights as they were, and its file."""
    model = quantization_aware(make_twin(student))
    norms = [m for m in model.submodules if isinstance(m, tf_keras.layers.BatchNormalization)]
    for norm in norms:
        norm.trainable = False
    model(images, training=True)
    write_converter_input(model, tmp_path / "saved")
    source = formats.Source(tmp_path / "saved", student.name)
    return model, formats.parse("qat_int8").kind.convert(source)


@pytest.mark.parametrize(
    "name",
    ["every kind of layer", *BUILT, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_file_is_int8_throughout_and_says_the_same(name, rng, tmp_path):
    student = student_of(name)
    images = rng.integers(0, 256, (32, 32, 32, 3)).astype(np.float32)
    model, content = converted(student, images, tmp_path)
    found = tflite_contents.read(content)
    formats.parse("qat_int8").kind.check(found, name)
    assert set(found.tensor_types) == {"int8", "int32"}
    assert "DEQUANTIZE" not in found.operations
    file = TfliteModel(content)
    # Pixels are what int8 holds, moved by 128.
    assert file.input["quantization"] == (pytest.approx(1.0), -128)
    expected = student.predict(images, verbose=0)
    correlation = np.corrcoef(file.logits(images).ravel(), expected.ravel())[0, 1]
    assert correlation > 0.98
    np.testing.assert_allclose(
        np.corrcoef(model(images, training=False).numpy().ravel(), expected.ravel())[0, 1],
        1, atol=0.02,
    )  # fmt: skip


def test_a_batch_norm_before_a_convolution_is_one_operation(rng, tmp_path):
    """DenseNet's: neither a float island nor a multiplication and an addition."""
    images = rng.integers(0, 256, (16, 32, 32, 3)).astype(np.float32)
    student = student_of("DenseNet")
    _, content = converted(student, images, tmp_path)
    found = tflite_contents.read(content)
    assert found.operations["DEPTHWISE_CONV_2D"] > 3
    assert not {"MUL", "ADD", "SUB", "RELU"} & set(found.operations)


def test_a_norm_of_vectors_that_follows_no_kernel_is_refused():
    images = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(images)
    x = keras.layers.BatchNormalization(name="vector_norm")(x)
    student = keras.Model(images, keras.layers.Dense(2)(x), name="student_1")
    with pytest.raises(ExportError, match=r"without qat_ instead. Received: vector_norm$"):
        quantization_aware(make_twin(student))


def test_constants_are_not_trained():
    model = quantization_aware(make_twin(student_of("CifarResNet")))
    names = [variable.name for variable in model.trainable_variables]
    assert not any("normalization" in name for name in names)
    assert len(names) == len(make_twin(student_of("CifarResNet")).trainable_variables)
