"""Wide ResNet for 224×224 images, at any width."""

import keras

from oekd_tf.backbones.resnet import ResNet


@keras.saving.register_keras_serializable("oekd_tf")
class WideResNet(ResNet):
    """ResNet with wider bottlenecks: Wide-ResNet-50-2 and 101-2.

    A width scales inner and outer channels as ResNet's.

    Args:
        depth: Number of layers: 50, 101 or 152.
        width_factor: Factor of the inner channels relative to ResNet.
        stem_kernel: Kernel size of the stem, as in `ResNet`: 7, or 3 for images of 32×32.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are the nearest multiples of
            it; 1 is the paper's rounding.

    Raises:
        ValueError: A rule of `ResNet` is broken, or the factor is below 1.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     WideResNet(depth=50), input_shape=(224, 224, 3), num_classes=1000)

    Reference:
        Zagoruyko and Komodakis, "Wide Residual Networks", arXiv 1605.07146, section 3.5.
    """

    def __init__(
        self,
        depth: int = 50,
        width_factor: int = 2,
        *,
        stem_kernel: int = 7,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-5,
        channel_multiple: int = 1,
    ):
        super().__init__(
            depth,
            width_per_group=64 * width_factor,
            stem_kernel=stem_kernel,
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.width_factor = width_factor
