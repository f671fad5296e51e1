"""MobileNetV2, at any width."""

import keras
from keras import layers

from oekd_tf.backbones.backbone import Branch, make_divisible
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.core.types import KerasTensor

# (expansion, channels, units, strides of the first unit) of the seven stages.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The last stages of blocks 1 and 2; the head is the end of block 3.
_BLOCK_ENDS = (3, 5)


@keras.saving.register_keras_serializable("oekd_tf")
class MobileNetV2(ConvolutionalBackbone):
    """MobileNetV2: inverted residual units with linear bottlenecks.

    Channels of a layer are make_divisible(C · multiplier · width, 8), the last 1×1 convolution's
    too; the stem keeps the full count. Stages 1 to 3 are block 1, stages 4 and 5 block 2, stages
    6 and 7 with the last 1×1 convolution block 3.

    Args:
        width_multiplier: Width multiplier α of the network itself, usually 0.35 to 1.4. As in
            other implementations, the last convolution of the full-width student has at least
            1,280 channels.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are multiples of it and of 8;
            1, 2, 4 and 8 are the paper's rounding.

    Raises:
        ValueError: The multiplier is not above 0, or above 100.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     MobileNetV2(), input_shape=(224, 224, 3), num_classes=1000)

    Reference:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv 1801.04381;
        layer by layer the network of `keras.applications.MobileNetV2`.
    """

    def __init__(
        self,
        width_multiplier: float = 1.0,
        *,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-3,
        channel_multiple: int = 1,
    ):
        if not 0 < width_multiplier <= 100:
            raise ValueError(
                f"width_multiplier must be above 0 and at most 100. Received: {width_multiplier}"
            )
        super().__init__(
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.width_multiplier = width_multiplier

    def imagenet(self, weights: str | None = "imagenet") -> keras.Model:
        return keras.applications.MobileNetV2(
            alpha=self.width_multiplier, weights=weights, classifier_activation=None
        )

    def stem(self, images: KerasTensor) -> KerasTensor:
        x = self.conv_norm(images, make_divisible(32 * self.width_multiplier), 3, 2, "stem")
        return layers.ReLU(6.0, name="stem_relu")(x)

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        x, blocks = stem_output, []
        for number, (expansion, full, units, first) in enumerate(_STAGES, start=1):
            channels = self.divisible(full * self.width_multiplier, width, width)
            for unit in range(1, units + 1):
                prefix = f"{name}_stage_{number}_unit_{unit}"
                strides = first if unit == 1 else 1
                x = self._unit(x, expansion, channels, strides, prefix)
            if number in _BLOCK_ENDS:
                blocks.append(x)
        head = self.divisible(1280 * max(1.0, self.width_multiplier), width, width)
        x = self.conv_norm(x, head, 1, 1, f"{name}_head")
        x = layers.ReLU(6.0, name=f"{name}_head_relu")(x)
        features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return Branch((*blocks, x), features)

    def _unit(
        self, x: KerasTensor, expansion: int, channels: int, strides: int, name: str
    ) -> KerasTensor:
        y = x
        if expansion > 1:
            y = self.conv_norm(y, x.shape[-1] * expansion, 1, 1, f"{name}_expand")
            y = layers.ReLU(6.0, name=f"{name}_expand_relu")(y)
        y = self.depthwise_norm(y, 3, strides, f"{name}_depthwise")
        y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
        y = self.conv_norm(y, channels, 1, 1, f"{name}_project")
        if strides == 1 and x.shape[-1] == channels:
            y = layers.Add(name=f"{name}_add")([x, y])
        return y
