"""The base class of convolutional families: convolution, normalisation, squeeze-excite."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from oekd_tf.backbones.backbone import (
    Backbone,
    check_multiple,
    fit_multiple,
    make_divisible,
    scale_channels,
)
from oekd_tf.core.types import KerasTensor


class ConvolutionalBackbone(Backbone):
    """A family of convolutions without bias, each with a batch normalisation.

    Args:
        synchronized_batch_norm: Whether batch statistics are over all replicas of a
            `tf.distribute` strategy.
        batch_norm_momentum: Momentum of the moving statistics; Keras's default of 0.99 is too slow
            for short runs.
        batch_norm_epsilon: Constant added to the variance.
        channel_multiple: Numbers of channels of narrower students are multiples of it, which suits
            the vector units of devices; 1 is the paper's rounding. The full-width student and the
            stem are always the source network's.

    Raises:
        ValueError: The momentum is not within [0, 1), the epsilon not above 0, or the multiple no
            whole number of at least 1.
    """

    def __init__(
        self,
        *,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-5,
        channel_multiple: int = 1,
    ):
        if not 0 <= batch_norm_momentum < 1:
            raise ValueError(
                "batch_norm_momentum must be at least 0 and below 1. "
                f"Received: {batch_norm_momentum}"
            )
        if not 0 < batch_norm_epsilon < 1:
            raise ValueError(
                f"batch_norm_epsilon must be above 0 and below 1. Received: {batch_norm_epsilon}"
            )
        check_multiple(channel_multiple)
        self.synchronized_batch_norm = synchronized_batch_norm
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_epsilon = batch_norm_epsilon
        self.channel_multiple = channel_multiple

    def scaled(self, channels: int, width: float) -> int:
        """`scale_channels` with the family's multiple."""
        return scale_channels(channels, width, self.channel_multiple)

    def divisible(self, channels: float, width: float, scale: float = 1.0) -> int:
        """Number of channels of a mobile network's layer, `make_divisible` of channels · scale.

        Its paper rounds to multiples of 8 already, so that a multiple of 1, 2, 4 or 8 changes
        nothing. With another one, students below full width have the nearest common multiple of
        both.

        Args:
            channels: Number of channels of the full-width student, before it is rounded.
            width: Width of the student.
            scale: What its channels are multiplied by: the width, or 1 if `channels` are made
                from those of a layer that is scaled already.

        Returns:
            The number of channels.
        """
        divisor = math.lcm(8, self.channel_multiple)
        papers = make_divisible(channels * scale)
        if divisor == 8 or width == 1:
            return papers
        return fit_multiple(channels * scale, make_divisible(channels), divisor)

    @property
    def kernel_initializer(self) -> Any:
        """A new initializer, because one for all layers would give them the same weights."""
        return keras.initializers.HeNormal()

    def norm(self, x: KerasTensor, name: str) -> KerasTensor:
        """Batch normalisation in the layer `name`."""
        return layers.BatchNormalization(
            momentum=self.batch_norm_momentum,
            epsilon=self.batch_norm_epsilon,
            synchronized=self.synchronized_batch_norm,
            name=name,
        )(x)

    def conv(
        self,
        x: KerasTensor,
        channels: int,
        kernel: int,
        strides: int,
        name: str,
        *,
        groups: int = 1,
        padding: str = "same",
    ) -> KerasTensor:
        """A convolution without bias in the layer `<name>_conv`."""
        return layers.Conv2D(
            channels,
            kernel,
            strides=strides,
            padding=padding,
            groups=groups,
            use_bias=False,
            kernel_initializer=self.kernel_initializer,
            name=f"{name}_conv",
        )(x)

    def conv_norm(
        self, x: KerasTensor, channels: int, kernel: int, strides: int, name: str, **kwargs: Any
    ) -> KerasTensor:
        """A convolution, then batch normalisation in the layer `<name>_norm`."""
        return self.norm(self.conv(x, channels, kernel, strides, name, **kwargs), f"{name}_norm")

    def depthwise_norm(self, x: KerasTensor, kernel: int, strides: int, name: str) -> KerasTensor:
        """A depthwise convolution without bias, then batch normalisation."""
        x = layers.DepthwiseConv2D(
            kernel,
            strides=strides,
            padding="same",
            use_bias=False,
            # Keras overestimates the fan-in of depthwise kernels.
            depthwise_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),
            name=f"{name}_conv",
        )(x)
        return self.norm(x, f"{name}_norm")

    def squeeze_excite(
        self,
        x: KerasTensor,
        channels: int,
        activation: str,
        gate: Callable[[KerasTensor, str], KerasTensor],
        name: str,
    ) -> KerasTensor:
        """Squeeze-and-excitation (Hu et al., arXiv 1709.01507).

        Args:
            x: Input, (batch, height, width, channels).
            channels: Number of channels of the bottleneck.
            activation: Activation of the bottleneck.
            gate: Function from the second convolution's output and a name to factors from 0 to 1.
            name: Prefix of the layers' names.

        Returns:
            Output of the same shape as `x`.
        """
        y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
        y = layers.Conv2D(
            channels, 1, kernel_initializer=self.kernel_initializer, name=f"{name}_reduce"
        )(y)
        y = layers.Activation(activation, name=f"{name}_{activation}")(y)
        y = layers.Conv2D(
            x.shape[-1], 1, kernel_initializer=self.kernel_initializer, name=f"{name}_expand"
        )(y)
        return layers.Multiply(name=f"{name}_multiply")([x, gate(y, f"{name}_gate")])
