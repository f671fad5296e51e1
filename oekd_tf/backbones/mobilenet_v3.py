"""MobileNetV3 small and large, at any width."""

from typing import NamedTuple

import keras
from keras import layers

from oekd_tf.backbones.backbone import Branch
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.core.types import KerasTensor


class _Unit(NamedTuple):
    expansion: float
    channels: int
    kernel: int
    strides: int
    squeeze: bool
    activation: str


class _Variant(NamedTuple):
    units: tuple[_Unit, ...]
    # Numbers of the last units of blocks 1 and 2.
    block_ends: tuple[int, int]
    features: int


_VARIANTS = {
    "small": _Variant(
        (
            _Unit(1, 16, 3, 2, True, "relu"),
            _Unit(72 / 16, 24, 3, 2, False, "relu"),
            _Unit(88 / 24, 24, 3, 1, False, "relu"),
            _Unit(4, 40, 5, 2, True, "hard_swish"),
            _Unit(6, 40, 5, 1, True, "hard_swish"),
            _Unit(6, 40, 5, 1, True, "hard_swish"),
            _Unit(3, 48, 5, 1, True, "hard_swish"),
            _Unit(3, 48, 5, 1, True, "hard_swish"),
            _Unit(6, 96, 5, 2, True, "hard_swish"),
            _Unit(6, 96, 5, 1, True, "hard_swish"),
            _Unit(6, 96, 5, 1, True, "hard_swish"),
        ),
        (3, 8),
        1024,
    ),
    "large": _Variant(
        (
            _Unit(1, 16, 3, 1, False, "relu"),
            _Unit(4, 24, 3, 2, False, "relu"),
            _Unit(3, 24, 3, 1, False, "relu"),
            _Unit(3, 40, 5, 2, True, "relu"),
            _Unit(3, 40, 5, 1, True, "relu"),
            _Unit(3, 40, 5, 1, True, "relu"),
            _Unit(6, 80, 3, 2, False, "hard_swish"),
            _Unit(2.5, 80, 3, 1, False, "hard_swish"),
            _Unit(2.3, 80, 3, 1, False, "hard_swish"),
            _Unit(2.3, 80, 3, 1, False, "hard_swish"),
            _Unit(6, 112, 3, 1, True, "hard_swish"),
            _Unit(6, 112, 3, 1, True, "hard_swish"),
            _Unit(6, 160, 5, 2, True, "hard_swish"),
            _Unit(6, 160, 5, 1, True, "hard_swish"),
            _Unit(6, 160, 5, 1, True, "hard_swish"),
        ),
        (6, 12),
        1280,
    ),
}


@keras.saving.register_keras_serializable("oekd_tf")
class MobileNetV3(ConvolutionalBackbone):
    """MobileNetV3: inverted residual units, some with squeeze-and-excitation, and hard swish.

    Channels of a layer are make_divisible(C · multiplier · width, 8), the last layers' too; the
    stem keeps its 16. Blocks end where the resolution is about to halve: block 1 at 1/8 of the
    image's, block 2 at 1/16; block 3 ends with the last 1×1 convolution before pooling.

    Args:
        size: Name of the variant, "small" or "large".
        width_multiplier: Width multiplier α of the network itself.
        dropout_rate: Dropout rate before the classifier.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are multiples of it and of 8;
            1, 2, 4 and 8 are the paper's rounding.

    Raises:
        ValueError: An argument breaks its rule.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     MobileNetV3("small"), input_shape=(224, 224, 3), num_classes=1000)

    Reference:
        Howard et al., "Searching for MobileNetV3", arXiv 1905.02244; layer by layer the network of
        `keras.applications.MobileNetV3Small` and `MobileNetV3Large`.
    """

    def __init__(
        self,
        size: str = "small",
        width_multiplier: float = 1.0,
        *,
        dropout_rate: float = 0.2,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-3,
        channel_multiple: int = 1,
    ):
        if size not in _VARIANTS:
            raise ValueError(f"A MobileNetV3 must be small or large. Received: {size!r}")
        if not 0 < width_multiplier <= 100:
            raise ValueError(
                f"width_multiplier must be above 0 and at most 100. Received: {width_multiplier}"
            )
        if not 0 <= dropout_rate < 1:
            raise ValueError(
                f"A dropout rate must be at least 0 and below 1. Received: {dropout_rate}"
            )
        super().__init__(
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.size = size
        self.width_multiplier = width_multiplier
        self.dropout_rate = dropout_rate

    def imagenet(self, weights: str | None = "imagenet") -> keras.Model:
        return getattr(keras.applications, f"MobileNetV3{self.size.title()}")(
            alpha=self.width_multiplier, weights=weights, classifier_activation=None
        )

    def stem(self, images: KerasTensor) -> KerasTensor:
        x = self.conv_norm(images, 16, 3, 2, "stem")
        return layers.Activation("hard_swish", name="stem_hard_swish")(x)

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        variant = _VARIANTS[self.size]
        x, blocks = stem_output, []
        for number, unit in enumerate(variant.units, start=1):
            channels = self.divisible(unit.channels * self.width_multiplier, width, width)
            x = self._unit(x, unit, channels, number > 1, width, f"{name}_unit_{number}")
            if number in variant.block_ends:
                blocks.append(x)
        x = self.conv_norm(x, self.divisible(x.shape[-1] * 6, width), 1, 1, f"{name}_head")
        x = layers.Activation("hard_swish", name=f"{name}_head_hard_swish")(x)
        features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        size = self.divisible(variant.features * max(1.0, self.width_multiplier), width, width)
        features = layers.Dense(size, name=f"{name}_features")(features)
        features = layers.Activation("hard_swish", name=f"{name}_features_hard_swish")(features)
        if self.dropout_rate:
            features = layers.Dropout(self.dropout_rate, name=f"{name}_dropout")(features)
        return Branch((*blocks, x), features)

    def _unit(
        self,
        x: KerasTensor,
        unit: _Unit,
        channels: int,
        expand: bool,
        width: float,
        name: str,
    ) -> KerasTensor:
        inner = self.divisible(x.shape[-1] * unit.expansion, width)
        y = x
        if expand:
            y = self.conv_norm(y, inner, 1, 1, f"{name}_expand")
            y = layers.Activation(unit.activation, name=f"{name}_expand_{unit.activation}")(y)
        y = self.depthwise_norm(y, unit.kernel, unit.strides, f"{name}_depthwise")
        y = layers.Activation(unit.activation, name=f"{name}_depthwise_{unit.activation}")(y)
        if unit.squeeze:
            squeezed = self.divisible(inner * 0.25, width)
            y = self.squeeze_excite(y, squeezed, "relu", _hard_sigmoid, f"{name}_se")
        y = self.conv_norm(y, channels, 1, 1, f"{name}_project")
        if unit.strides == 1 and x.shape[-1] == channels:
            y = layers.Add(name=f"{name}_add")([x, y])
        return y


def _hard_sigmoid(x: KerasTensor, name: str) -> KerasTensor:
    return layers.Activation("hard_sigmoid", name=name)(x)
