"""CIFAR-style ResNets for 32×32 images, at any width."""

import keras
from keras import layers

from oekd_tf.backbones.backbone import Branch
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.core.types import KerasTensor

_CHANNELS = (16, 32, 64)


@keras.saving.register_keras_serializable("oekd_tf")
class CifarResNet(ConvolutionalBackbone):
    """CIFAR-style ResNet: three blocks of (depth − 2) / 6 basic residual units each.

    Args:
        depth: Number of layers, 6n + 2; 8, 20, 32, 44, 56, 110 and 1202 are common.
        stem_units: Number of residual units of the first block that belong to the common base
            block, at full width in every student; for ablations. The paper's has none.
        stem_channels: Number of channels of the stem's convolution. The paper's has 16.
        stem_strides: Strides of the stem's convolution. With 2 all that follows has a quarter of
            the pixels, for devices of little memory. The paper's has 1.
        features_before_relu: Whether block outputs for the feature loss are before the last ReLU
            of the block; in the paper they are after it.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are the nearest multiples of
            it; 1 is the paper's rounding.

    Raises:
        ValueError: The depth is not 6n + 2, or the stem leaves no unit of the first block to the
            branches.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     CifarResNet(depth=20), input_shape=(32, 32, 3), num_classes=10)

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2,
        with a 1×1 projection where a unit changes the shape.
    """

    def __init__(
        self,
        depth: int = 20,
        *,
        stem_units: int = 0,
        stem_channels: int = 16,
        stem_strides: int = 1,
        features_before_relu: bool = False,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-5,
        channel_multiple: int = 1,
    ):
        if not isinstance(depth, int) or depth < 8 or (depth - 2) % 6:
            raise ValueError(
                "The depth of a CIFAR ResNet must be 6n + 2 with n ≥ 1: 8, 20, 32, 44, 56, 110, "
                f"... Received: depth={depth}"
            )
        units = (depth - 2) // 6
        if not isinstance(stem_units, int) or not 0 <= stem_units < units:
            raise ValueError(
                f"stem_units must be from 0 to {units - 1}, so that a unit of the first block is "
                f"left to the branches. Received: {stem_units}"
            )
        if not isinstance(stem_channels, int) or stem_channels < 1:
            raise ValueError(
                f"stem_channels must be a whole number, at least 1. Received: {stem_channels}"
            )
        if stem_strides not in (1, 2):
            raise ValueError(f"stem_strides must be 1 or 2. Received: {stem_strides}")
        super().__init__(
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.depth = depth
        self.stem_units = stem_units
        self.stem_channels = stem_channels
        self.stem_strides = stem_strides
        self.features_before_relu = bool(features_before_relu)

    def stem(self, images: KerasTensor) -> KerasTensor:
        x = self.conv_norm(images, self.stem_channels, 3, self.stem_strides, "stem")
        x = layers.ReLU(name="stem_relu")(x)
        for unit in range(1, self.stem_units + 1):
            _, x = self._unit(x, _CHANNELS[0], 1, f"stem_unit_{unit}")
        return x

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        x, blocks = stem_output, []
        for block, full in enumerate(_CHANNELS, start=1):
            channels = self.scaled(full, width)
            first = self.stem_units + 1 if block == 1 else 1
            for unit in range(first, (self.depth - 2) // 6 + 1):
                strides = 2 if block > 1 and unit == 1 else 1
                total, x = self._unit(x, channels, strides, f"{name}_block_{block}_unit_{unit}")
            blocks.append(total if self.features_before_relu else x)
        features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return Branch(tuple(blocks), features)

    def _unit(
        self, x: KerasTensor, channels: int, strides: int, name: str
    ) -> tuple[KerasTensor, KerasTensor]:
        """The output of a residual unit, before and after its last ReLU."""
        shortcut = x
        if strides != 1 or x.shape[-1] != channels:
            shortcut = self.conv_norm(x, channels, 1, strides, f"{name}_shortcut")
        y = self.conv_norm(x, channels, 3, strides, f"{name}_1")
        y = layers.ReLU(name=f"{name}_1_relu")(y)
        y = self.conv_norm(y, channels, 3, 1, f"{name}_2")
        y = layers.Add(name=f"{name}_add")([y, shortcut])
        return y, layers.ReLU(name=f"{name}_relu")(y)
