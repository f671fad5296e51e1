import keras
from keras import layers

from oekd_tf.models.size import count_flops, count_parameters


def test_by_hand():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x)  # 4·4·27·4
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)  # 4·4·9·4
    x = layers.Conv2D(8, 1, groups=2)(x)  # 4·4·2·8
    x = layers.SeparableConv2D(6, 3, padding="same")(x)  # 4·4·(9·8 + 8·6)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5)(x))  # 6·5
    multiply_adds = 16 * (27 * 4 + 9 * 4 + 2 * 8 + 9 * 8 + 8 * 6) + 30
    assert count_flops(model) == 2 * multiply_adds
    parameters = 108 + 2 * 4 + (36 + 4) + (16 + 8) + (72 + 48 + 6) + (30 + 5)
    assert count_parameters(model) == parameters


def test_published_figures():
    # Multiply-adds as published: 3.86 G (He et al., table 1; 1×1 strides as there), 300 M.
    resnet = keras.applications.ResNet50(weights=None)
    assert abs(count_flops(resnet) / 2 / 3.86e9 - 1) < 0.01
    assert count_parameters(resnet) == 25_583_592
    mobilenet = keras.applications.MobileNetV2(weights=None)
    assert abs(count_flops(mobilenet) / 2 / 300e6 - 1) < 0.01


def test_nested_models_count():
    inner = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(3, 1)])
    outer = keras.Sequential([keras.Input((4, 4, 2)), inner])
    assert count_flops(outer) == 2 * 16 * 6
