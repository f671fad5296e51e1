"""ResNets for 224×224 images, at any width."""

import math

import keras
from keras import layers

from oekd_tf.backbones.backbone import Branch, scale_channels
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.core.types import KerasTensor

# Numbers of residual units of the four stages; from depth 50 on they are bottlenecks.
_UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_EXPANSION = 4


@keras.saving.register_keras_serializable("oekd_tf")
class ResNet(ConvolutionalBackbone):
    """ResNet-18, 34, 50, 101 and 152; the base class of ResNeXt and Wide ResNet.

    A width scales each residual unit's outer and inner channels, floor(channels · width); the
    stem keeps its 64. With groups, a width scales their number, floor(groups · width) and at
    least 1, and a group keeps its size: so groups always divide the channels, and with a
    `channel_multiple` there are as many as make a multiple of channels. The first and the
    second stage are block 1, the third is block 2, the fourth block 3.

    Args:
        depth: Number of layers: 18, 34, 50, 101 or 152.
        groups: Number of groups of the 3×3 convolution of a bottleneck at full width.
        width_per_group: Number of channels of each group in the first stage; it doubles from stage
            to stage.
        stem_kernel: Kernel size of the stem: 7, with stride 2 and max pooling, for images like
            ImageNet's; or 3, with stride 1 and no pooling, for images of 32×32.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are the nearest multiples of
            it; 1 is the paper's rounding.

    Raises:
        ValueError: An argument breaks its rule, or groups are asked of a network without
            bottlenecks (18 and 34).

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     ResNet(depth=50), input_shape=(224, 224, 3), num_classes=1000)

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, table 1; as
        in torchvision, a bottleneck's stride is that of its 3×3 convolution.
    """

    def __init__(
        self,
        depth: int = 50,
        *,
        groups: int = 1,
        width_per_group: int = 64,
        stem_kernel: int = 7,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-5,
        channel_multiple: int = 1,
    ):
        if depth not in _UNITS:
            raise ValueError(
                f"The depth of a ResNet must be one of {', '.join(map(str, _UNITS))}. "
                f"Received: depth={depth}"
            )
        whole = isinstance(groups, int) and isinstance(width_per_group, int)
        if (
            not whole
            or min(groups, width_per_group) < 1
            or (depth < 50 and (groups, width_per_group) != (1, 64))
        ):
            raise ValueError(
                "groups and width_per_group must be whole, above 0, and 1 and 64 below depth 50. "
                f"Received: groups={groups} and width_per_group={width_per_group} at depth={depth}"
            )
        if stem_kernel not in (3, 7):
            raise ValueError(f"stem_kernel must be 7 or 3. Received: {stem_kernel}")
        super().__init__(
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.depth = depth
        self.groups = groups
        self.width_per_group = width_per_group
        self.stem_kernel = stem_kernel

    def stem(self, images: KerasTensor) -> KerasTensor:
        if self.stem_kernel == 3:
            return layers.ReLU(name="stem_relu")(self.conv_norm(images, 64, 3, 1, "stem"))
        x = layers.ZeroPadding2D(3, name="stem_pad")(images)
        x = self.conv_norm(x, 64, 7, 2, "stem", padding="valid")
        x = layers.ReLU(name="stem_relu")(x)
        # Zero padding does not change the maximum after a ReLU.
        x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        return layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        x, blocks = stem_output, []
        for stage, units in enumerate(_UNITS[self.depth], start=1):
            for unit in range(1, units + 1):
                strides = 2 if stage > 1 and unit == 1 else 1
                x = self.unit(x, stage, strides, width, f"{name}_stage_{stage}_unit_{unit}")
            if stage > 1:
                blocks.append(x)
        features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return Branch(tuple(blocks), features)

    def unit(
        self, x: KerasTensor, stage: int, strides: int, width: float, name: str
    ) -> KerasTensor:
        """A residual unit of a stage, 1 to 4: a bottleneck, or two 3×3 convolutions."""
        planes = 64 * 2 ** (stage - 1)
        bottleneck = self.depth >= 50
        channels = self.scaled(planes * (_EXPANSION if bottleneck else 1), width)
        shortcut = x
        if strides != 1 or x.shape[-1] != channels:
            shortcut = self.conv_norm(x, channels, 1, strides, f"{name}_shortcut")
        if bottleneck:
            y = self.bottleneck(x, stage, channels, strides, width, name)
        else:
            y = self.conv3x3(x, channels, strides, f"{name}_1")
            y = layers.ReLU(name=f"{name}_1_relu")(y)
            y = self.conv3x3(y, channels, 1, f"{name}_2")
        y = layers.Add(name=f"{name}_add")([y, shortcut])
        return layers.ReLU(name=f"{name}_relu")(y)

    def bottleneck(
        self, x: KerasTensor, stage: int, channels: int, strides: int, width: float, name: str
    ) -> KerasTensor:
        """1×1 to the inner channels, 3×3 in groups, 1×1 to the outer channels."""
        group_channels = self.width_per_group * 2 ** (stage - 1)
        groups = self.groups
        if groups == 1:
            inner = self.scaled(group_channels, width)
        else:
            # As many groups as it takes for a multiple of channels.
            multiple = self.channel_multiple // math.gcd(self.channel_multiple, group_channels)
            groups = scale_channels(groups, max(width, 1 / groups), multiple)
            inner = groups * group_channels
        y = layers.ReLU(name=f"{name}_1_relu")(self.conv_norm(x, inner, 1, 1, f"{name}_1"))
        y = self.conv3x3(y, inner, strides, f"{name}_2", groups=groups)
        y = layers.ReLU(name=f"{name}_2_relu")(y)
        return self.conv_norm(y, channels, 1, 1, f"{name}_3")

    def conv3x3(
        self, x: KerasTensor, channels: int, strides: int, name: str, groups: int = 1
    ) -> KerasTensor:
        """A 3×3 convolution and its normalisation, padded by one pixel on every side."""
        if strides == 1:
            return self.conv_norm(x, channels, 3, 1, name, groups=groups)
        # "same" would pad an even size at its end only.
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        return self.conv_norm(x, channels, 3, strides, name, groups=groups, padding="valid")
