"""DenseNet-BC for 32×32 images, at any width."""

import keras
from keras import layers

from oekd_tf.backbones.backbone import Branch
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.core.types import KerasTensor


@keras.saving.register_keras_serializable("oekd_tf")
class DenseNet(ConvolutionalBackbone):
    """DenseNet-BC: three dense blocks of (depth − 4) / 6 bottleneck layers each.

    A width scales the growth rate, floor(growth_rate · width), and with it every layer; the
    stem keeps its 2 · growth_rate channels. Blocks 1 and 2 end with their transition, block 3 with
    the last batch normalisation and ReLU.

    Args:
        depth: Number of layers, 6n + 4; the paper uses 100 with growth rate 12, 250 with 24, and
            190 with 40.
        growth_rate: Number of channels that each layer adds.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are the nearest multiples of
            it; 1 is the paper's rounding.

    Raises:
        ValueError: The depth is not 6n + 4, or the growth rate below 1.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     DenseNet(depth=100, growth_rate=12), input_shape=(32, 32, 3), num_classes=100)

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993, section 3.
    """

    def __init__(
        self,
        depth: int = 100,
        growth_rate: int = 12,
        *,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-5,
        channel_multiple: int = 1,
    ):
        if not isinstance(depth, int) or depth < 10 or (depth - 4) % 6:
            raise ValueError(
                "The depth of a DenseNet-BC must be 6n + 4 with n ≥ 1: 40, 100, 190, 250, ... "
                f"Received: depth={depth}"
            )
        if not isinstance(growth_rate, int) or growth_rate < 1:
            raise ValueError(f"growth_rate must be whole and at least 1. Received: {growth_rate}")
        super().__init__(
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.depth = depth
        self.growth_rate = growth_rate

    def stem(self, images: KerasTensor) -> KerasTensor:
        return self.conv(images, 2 * self.growth_rate, 3, 1, "stem")

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        growth = self.scaled(self.growth_rate, width)
        x, blocks = stem_output, []
        for block in (1, 2, 3):
            prefix = f"{name}_block_{block}"
            x = dense_block(self, x, (self.depth - 4) // 6, growth, prefix)
            if block < 3:
                x = transition(self, x, width, prefix)
            else:
                x = layers.ReLU(name=f"{name}_relu")(self.norm(x, f"{name}_norm"))
            blocks.append(x)
        features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return Branch(tuple(blocks), features)


def dense_block(
    family: ConvolutionalBackbone, x: KerasTensor, size: int, growth: int, name: str
) -> KerasTensor:
    """A dense block of bottleneck layers.

    Args:
        family: Family whose convolutions and normalisations are used.
        x: Input of the block.
        size: Number of layers.
        growth: Number of channels that each layer adds.
        name: Prefix of the layers' names.

    Returns:
        Output of the block, with size · growth more channels than the input.
    """
    for number in range(1, size + 1):
        layer = f"{name}_layer_{number}"
        y = layers.ReLU(name=f"{layer}_1_relu")(family.norm(x, f"{layer}_1_norm"))
        y = family.conv(y, 4 * growth, 1, 1, f"{layer}_1")
        y = layers.ReLU(name=f"{layer}_2_relu")(family.norm(y, f"{layer}_2_norm"))
        y = family.conv(y, growth, 3, 1, f"{layer}_2")
        x = layers.Concatenate(name=f"{layer}_concat")([x, y])
    return x


def transition(
    family: ConvolutionalBackbone, x: KerasTensor, width: float, name: str
) -> KerasTensor:
    """A transition, which halves channels (rounded down, also to a multiple) and resolution.

    Args:
        family: Family whose convolutions and normalisations are used.
        x: Output of a dense block.
        width: Width of the student.
        name: Prefix of the layers' names.

    Returns:
        Input of the next block.
    """
    name = f"{name}_transition"
    channels = x.shape[-1] // 2
    if width < 1 and channels >= family.channel_multiple:
        channels -= channels % family.channel_multiple
    x = layers.ReLU(name=f"{name}_relu")(family.norm(x, f"{name}_norm"))
    x = family.conv(x, channels, 1, 1, name)
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)
