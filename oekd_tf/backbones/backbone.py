"""The base class of network families, and rules for numbers of channels."""

import abc
import inspect
import math
from typing import Any, NamedTuple

import keras
import numpy as np

from oekd_tf.core.types import KerasTensor


class Branch(NamedTuple):
    """The part of a student after the stem.

    Attributes:
        blocks: Outputs of the layer blocks, each (batch, height, width, channels). Block b has the
            same height and width at every width of the network.
        features: Input of the classifier, (batch, channels).
    """

    blocks: tuple[KerasTensor, ...]
    features: KerasTensor


class Backbone(abc.ABC):
    """A network family: a stem that all students share and a branch at any width.

    Subclass it to bring a network of your own: write `stem` and `branch` with Keras layers, keep
    the constructor's arguments as attributes of the same name, and register the class with
    `keras.saving.register_keras_serializable` so that a saved ensemble finds it again.

    Source: https://arxiv.org/abs/2011.07449, section 3.1 (common base block and layer blocks).

    Example:
        ```python
        @keras.saving.register_keras_serializable("my_project")
        class PlainCnn(oekd_tf.backbones.Backbone):
            def stem(self, images):
                return keras.layers.Conv2D(16, 3, padding="same", name="stem_conv")(images)

            def branch(self, stem_output, width, name):
                x, blocks = stem_output, []
                for number, channels in enumerate((16, 32, 64), start=1):
                    channels = oekd_tf.backbones.scale_channels(channels, width)
                    x = keras.layers.Conv2D(
                        channels, 3, strides=2, padding="same", activation="relu",
                        name=f"{name}_block_{number}")(x)
                    blocks.append(x)
                features = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
                return oekd_tf.backbones.Branch(tuple(blocks), features)
        ```
    """

    # Mean and standard deviation of pixels, where the family has its own.
    pixels: tuple[Any, Any] | None = None

    @abc.abstractmethod
    def stem(self, images: KerasTensor) -> KerasTensor:
        """Builds the common base block, always at full width.

        Args:
            images: Symbolic normalised images, (batch, height, width, channels).

        Returns:
            The symbolic input of every branch.
        """

    @abc.abstractmethod
    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        """Builds one student's layer blocks.

        Args:
            stem_output: Output of `stem`.
            width: Fraction of the full number of channels, in (0, 1].
            name: Prefix for the names of all layers, unique in the ensemble.

        Returns:
            The symbolic block outputs and final features.
        """

    def initial_weights(self) -> dict[str, list[np.ndarray]] | None:
        """Weights that student 1 begins with, by layer without prefix; None for random ones."""
        return None

    def imagenet(self, weights: str | None = "imagenet") -> keras.Model:
        """The same network of `keras.applications`, for `initial_weights="imagenet"`.

        Args:
            weights: Its weights; Keras fetches "imagenet", None is random.

        Returns:
            A model with classifier, which gives logits.

        Raises:
            NotImplementedError: There is none.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, read from the attributes of the same name."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        named = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
        return {n: getattr(self, n) for n in named if n not in ("self", "args", "kwargs")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Backbone":
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def scale_channels(channels: int, width: float, multiple: int = 1) -> int:
    """Number of channels of a layer at a width: floor(channels · width), or the nearest multiple.

    Args:
        channels: Number of channels at full width.
        width: Fraction of the full number of channels, in (0, 1].
        multiple: 1 for the paper's rounding. Above 1 the result is the multiple of it that is
            nearest to channels · width, as `fit_multiple` has it; at width 1 it is `channels`.

    Returns:
        The number of channels, at least 1.

    Raises:
        ValueError: The layer would be left with no channels, or has none at full width.

    Example:
        >>> scale_channels(64, 0.6), scale_channels(64, 0.6, multiple=8)
        (38, 40)
    """
    if channels < 1:
        raise ValueError(
            f"At full width every layer must have at least one channel. Received: {channels}"
        )
    # A product such as 100 · 0.29 is just below its integer in binary.
    scaled = math.floor(channels * width + 1e-6)
    if scaled < 1:
        raise ValueError(
            f"widths must leave every layer at least one channel, so at least 1/{channels} here. "
            f"Received: width={width} for a layer of {channels} channels"
        )
    if multiple == 1 or width == 1:
        return scaled
    return fit_multiple(channels * width, channels, multiple)


def check_multiple(channel_multiple: int) -> None:
    """Raises a ValueError if `channel_multiple` is no whole number of at least 1."""
    whole = isinstance(channel_multiple, int) and not isinstance(channel_multiple, bool)
    if not whole or channel_multiple < 1:
        raise ValueError(
            f"channel_multiple must be a whole number, at least 1. Received: {channel_multiple!r}"
        )


def fit_multiple(channels: float, most: int, multiple: int) -> int:
    """The nearest multiple of a number of channels that a layer may have.

    Args:
        channels: Number of channels, which may be fractional; halfway is rounded up.
        most: Number of channels of the layer at full width.
        multiple: What the result is a multiple of.

    Returns:
        At least one multiple, and at most the largest one within `most`. A layer of fewer channels
        than a multiple keeps all of them, because fewer would save a device nothing.

    Example:
        >>> [fit_multiple(c, 20, 8) for c in (1.5, 11.9, 12, 20)], fit_multiple(3, 6, 8)
        ([8, 8, 16, 16], 6)
    """
    if most < multiple:
        return most
    # A product such as 20 · 0.6 is just below its number in binary.
    nearest = math.floor(channels / multiple + 0.5 + 1e-6) * multiple
    return min(max(multiple, nearest), most // multiple * multiple)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one of it, and not below 90 % of `channels`.

    The rounding of mobile networks, as in keras.applications, which suits the vector units of
    devices.

    Args:
        channels: Number of channels after a width multiplier, which may be fractional.
        divisor: Divisor of the result.

    Returns:
        A multiple of the divisor.

    Raises:
        ValueError: The layer would have less than a channel before it is rounded.

    Example:
        >>> make_divisible(32 * 0.6)
        24
    """
    if not 1 <= channels + 1e-6 < math.inf:
        raise ValueError(
            "widths and a network's own multiplier must leave every layer at least one channel. "
            f"Received: {channels:g} of a channel, before it is rounded to {divisor}"
        )
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
