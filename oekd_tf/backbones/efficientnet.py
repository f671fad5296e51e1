"""EfficientNet B0 to B7, at any width."""

import math
from typing import NamedTuple

import keras
from keras import layers

from oekd_tf.backbones.backbone import Branch, make_divisible
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.core.types import KerasTensor


class _Variant(NamedTuple):
    width: float
    depth: float
    dropout: float


_VARIANTS = {
    "b0": _Variant(1.0, 1.0, 0.2),
    "b1": _Variant(1.0, 1.1, 0.2),
    "b2": _Variant(1.1, 1.2, 0.3),
    "b3": _Variant(1.2, 1.4, 0.3),
    "b4": _Variant(1.4, 1.8, 0.4),
    "b5": _Variant(1.6, 2.2, 0.4),
    "b6": _Variant(1.8, 2.6, 0.5),
    "b7": _Variant(2.0, 3.1, 0.5),
}


class _Stage(NamedTuple):
    channels: int
    units: int
    kernel: int
    strides: int
    expansion: int


_STAGES = (
    _Stage(16, 1, 3, 1, 1),
    _Stage(24, 2, 3, 2, 6),
    _Stage(40, 2, 5, 2, 6),
    _Stage(80, 3, 3, 2, 6),
    _Stage(112, 3, 5, 1, 6),
    _Stage(192, 4, 5, 2, 6),
    _Stage(320, 1, 3, 1, 6),
)
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
# The last stages of blocks 1 and 2; the head is the end of block 3.
_BLOCK_ENDS = (3, 5)


@keras.saving.register_keras_serializable("oekd_tf")
class EfficientNet(ConvolutionalBackbone):
    """EfficientNet: inverted residual units with squeeze-and-excitation and swish.

    Channels of a layer are make_divisible(C · multiplier · width, 8), the last 1×1 convolution's
    too; the stem keeps the full count. Stages 1 to 3 are block 1, stages 4 and 5 block 2, stages
    6 and 7 with the last 1×1 convolution block 3.

    Args:
        variant: Name of the variant, "b0" to "b7".
        dropout_rate: Dropout rate before the classifier; the variant's published one if None.
        drop_connect_rate: Stochastic depth: rate at which the last unit's residual branch is
            dropped in training; it rises linearly from 0 at the first unit.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are multiples of it and of 8;
            1, 2, 4 and 8 are the paper's rounding.

    Raises:
        ValueError: There is no such variant, or a rate is not within [0, 1).

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     EfficientNet("b0"), input_shape=(224, 224, 3), num_classes=1000)

    Reference:
        Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        arXiv 1905.11946; layer by layer the network of `keras.applications.EfficientNetB0`.
    """

    def __init__(
        self,
        variant: str = "b0",
        *,
        dropout_rate: float | None = None,
        drop_connect_rate: float = 0.2,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-3,
        channel_multiple: int = 1,
    ):
        if variant not in _VARIANTS:
            raise ValueError(
                f"An EfficientNet must be one of {', '.join(_VARIANTS)}. Received: {variant!r}"
            )
        for rate in (dropout_rate or 0.0, drop_connect_rate):
            if not 0 <= rate < 1:
                raise ValueError(f"A dropout rate must be at least 0 and below 1. Received: {rate}")
        super().__init__(
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.variant = variant
        self.dropout_rate = dropout_rate
        self.drop_connect_rate = drop_connect_rate

    @property
    def kernel_initializer(self) -> keras.initializers.Initializer:
        return keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")

    def imagenet(self, weights: str | None = "imagenet") -> keras.Model:
        return getattr(keras.applications, f"EfficientNet{self.variant.upper()}")(
            weights=weights, classifier_activation=None
        )

    def stem(self, images: KerasTensor) -> KerasTensor:
        channels = make_divisible(_STEM_CHANNELS * _VARIANTS[self.variant].width)
        x = self.conv_norm(images, channels, 3, 2, "stem")
        return layers.Activation("swish", name="stem_swish")(x)

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        variant = _VARIANTS[self.variant]
        units = [math.ceil(stage.units * variant.depth) for stage in _STAGES]
        x, blocks, done = stem_output, [], 0
        for number, (stage, count) in enumerate(zip(_STAGES, units, strict=True), start=1):
            channels = self.divisible(stage.channels * variant.width, width, width)
            for unit in range(count):
                rate = self.drop_connect_rate * done / sum(units)
                strides = stage.strides if unit == 0 else 1
                prefix = f"{name}_stage_{number}_unit_{unit + 1}"
                x = self._unit(x, stage, channels, strides, rate, prefix)
                done += 1
            if number in _BLOCK_ENDS:
                blocks.append(x)
        head = self.divisible(_HEAD_CHANNELS * variant.width, width, width)
        x = self.conv_norm(x, head, 1, 1, f"{name}_head")
        x = layers.Activation("swish", name=f"{name}_head_swish")(x)
        features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        rate = variant.dropout if self.dropout_rate is None else self.dropout_rate
        if rate:
            features = layers.Dropout(rate, name=f"{name}_dropout")(features)
        return Branch((*blocks, x), features)

    def _unit(
        self,
        x: KerasTensor,
        stage: _Stage,
        channels: int,
        strides: int,
        drop_rate: float,
        name: str,
    ) -> KerasTensor:
        inner = x.shape[-1] * stage.expansion
        y = x
        if stage.expansion > 1:
            y = self.conv_norm(y, inner, 1, 1, f"{name}_expand")
            y = layers.Activation("swish", name=f"{name}_expand_swish")(y)
        y = self.depthwise_norm(y, stage.kernel, strides, f"{name}_depthwise")
        y = layers.Activation("swish", name=f"{name}_depthwise_swish")(y)
        y = self.squeeze_excite(y, max(1, x.shape[-1] // 4), "swish", _sigmoid, f"{name}_se")
        y = self.conv_norm(y, channels, 1, 1, f"{name}_project")
        if strides == 1 and x.shape[-1] == channels:
            if drop_rate:
                # Stochastic depth: drops the whole residual branch of an image.
                y = layers.Dropout(drop_rate, (None, 1, 1, 1), name=f"{name}_drop")(y)
            y = layers.Add(name=f"{name}_add")([y, x])
        return y


def _sigmoid(x: KerasTensor, name: str) -> KerasTensor:
    return layers.Activation("sigmoid", name=name)(x)
