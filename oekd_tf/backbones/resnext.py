"""ResNeXt for 224×224 images, at any width."""

import keras

from oekd_tf.backbones.resnet import ResNet


@keras.saving.register_keras_serializable("oekd_tf")
class ResNeXt(ResNet):
    """ResNet whose 3×3 convolutions are grouped: ResNeXt-50 32×4d, ResNeXt-101 32×8d.

    A width scales the number of groups, floor(groups · width) and at least 1; a group keeps its
    channels, so that it divides at every width. Outer channels scale as ResNet's.

    Args:
        depth: Number of layers: 50, 101 or 152.
        groups: Number of groups of the 3×3 convolutions at full width.
        width_per_group: Number of channels of each group in the first stage.
        stem_kernel: Kernel size of the stem, as in `ResNet`: 7, or 3 for images of 32×32.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are the nearest multiples of
            it; 1 is the paper's rounding.

    Raises:
        ValueError: A rule of `ResNet` is broken.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     ResNeXt(depth=50), input_shape=(224, 224, 3), num_classes=1000)

    Reference:
        Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", arXiv
        1611.05431, table 1.
    """

    def __init__(
        self,
        depth: int = 50,
        *,
        groups: int = 32,
        width_per_group: int = 4,
        stem_kernel: int = 7,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-5,
        channel_multiple: int = 1,
    ):
        super().__init__(
            depth,
            groups=groups,
            width_per_group=width_per_group,
            stem_kernel=stem_kernel,
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
