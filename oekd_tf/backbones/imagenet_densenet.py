"""DenseNet for 224×224 images, at any width."""

import keras
from keras import layers

from oekd_tf.backbones.backbone import Branch
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.backbones.densenet import dense_block, transition
from oekd_tf.core.types import KerasTensor

# Numbers of layers of the four dense blocks.
_SIZES = {
    121: (6, 12, 24, 16),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}


@keras.saving.register_keras_serializable("oekd_tf")
class ImageNetDenseNet(ConvolutionalBackbone):
    """DenseNet-121, 169 and 201: four dense blocks of growth rate 32.

    A width scales the growth rate, floor(32 · width), and with it every layer; the stem keeps its
    64 channels. The first and the second dense block, each with its transition, are block 1; the
    third is block 2; the fourth, with the last batch normalisation and ReLU, is block 3.

    Args:
        depth: Number of layers: 121, 169 or 201.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are the nearest multiples of
            it; 1 is the paper's rounding.

    Raises:
        ValueError: The depth is none of these.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     ImageNetDenseNet(depth=121), input_shape=(224, 224, 3), num_classes=1000)

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993, table 1; layer
        by layer the network of `keras.applications.DenseNet121`.
    """

    def __init__(
        self,
        depth: int = 121,
        *,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1.001e-5,
        channel_multiple: int = 1,
    ):
        if depth not in _SIZES:
            raise ValueError(
                f"The depth of an ImageNet DenseNet must be one of {', '.join(map(str, _SIZES))}. "
                f"Received: depth={depth}"
            )
        super().__init__(
            synchronized_batch_norm=synchronized_batch_norm,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            channel_multiple=channel_multiple,
        )
        self.depth = depth

    def imagenet(self, weights: str | None = "imagenet") -> keras.Model:
        return getattr(keras.applications, f"DenseNet{self.depth}")(
            weights=weights, classifier_activation=None
        )

    def stem(self, images: KerasTensor) -> KerasTensor:
        x = layers.ZeroPadding2D(3, name="stem_pad")(images)
        x = self.conv_norm(x, 64, 7, 2, "stem", padding="valid")
        x = layers.ReLU(name="stem_relu")(x)
        x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        return layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        growth = self.scaled(32, width)
        x, blocks = stem_output, []
        for stage, size in enumerate(_SIZES[self.depth], start=1):
            prefix = f"{name}_stage_{stage}"
            x = dense_block(self, x, size, growth, prefix)
            if stage < 4:
                x = transition(self, x, width, prefix)
            else:
                x = layers.ReLU(name=f"{name}_relu")(self.norm(x, f"{name}_norm"))
            if stage > 1:
                blocks.append(x)
        features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return Branch(tuple(blocks), features)
