"""Weights that were trained before, from wherever a user has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from oekd_tf.backbones.backbone import Backbone
from oekd_tf.backbones.parts import channels
from oekd_tf.backbones.parts.preprocessing import MODES, first_pixels, mode_of
from oekd_tf.backbones.parts.tape import Tape, Value, record
from oekd_tf.core.keras_files import load_model, student_of
from oekd_tf.core.types import Tensor
from oekd_tf.core.variables import as_array
from oekd_tf.models.arguments import per_channel

RULE = (
    "initial_weights must be None, 'imagenet', a .keras file, the folder of a finished run, or a "
    "Keras model."
)
IMAGENET = "imagenet"


class Source(NamedTuple):
    """A network that was trained before.

    Attributes:
        layers: Its layers with weights, in order: name and weights.
        pixels: Mean and standard deviation with which it takes images, in pixel units; None if it
            does not say.
        name: What it is, for messages.
        tape: Its steps after what prepares the image; None if only the weights are known.
        model: The network, likewise.
    """

    layers: list[tuple[str, list[np.ndarray]]]
    pixels: tuple[Any, Any] | None
    name: str
    tape: Tape | None = None
    model: keras.Model | None = None


def find_source(given: Any, backbone: Backbone, image_shape: Sequence[int]) -> Source:
    """The network that `initial_weights` names.

    Args:
        given: `initial_weights` of `OnlineEnsemble`.
        backbone: The ensemble's network family.
        image_shape: Shape of its images.

    Returns:
        The network.

    Raises:
        ValueError: There is none, or it cannot be read.
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, str) and given == IMAGENET:
        model = _imagenet(backbone, image_shape)
        name = f"imagenet ({model.name})"
    elif isinstance(given, (str, Path)):
        model, name = load_model(given, RULE), str(given)
    else:
        model, name = given, getattr(given, "name", repr(given))
    return _of_model(student_of(model, RULE), name)


def source_of(backbone: Backbone) -> Source | None:
    """What a family brings its own weights of; None for a family that begins at random."""
    weights = getattr(backbone, "initial_weights", lambda: None)()
    if weights is None:
        return None
    return Source(list(weights.items()), backbone.pixels, repr(backbone))


def pixels_of(
    mean: Any, std: Any, source: Source | None, backbone: Backbone, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels: what is given, or what belongs to the network.

    Args:
        mean: Mean, or None.
        std: Standard deviation, or None.
        source: What students begin with.
        backbone: The ensemble's network family.
        channels: Number of channels of images.

    Returns:
        Both, in pixel units, a number for each channel.

    Raises:
        ValueError: The network takes images of another number of channels, or was trained with
            another mean or standard deviation than the given one.
    """
    pixels = (source.pixels if source else None) or getattr(backbone, "pixels", None)
    known = max((len(v) for v in pixels or () if isinstance(v, Sequence)), default=1)
    if known not in (1, channels):
        raise ValueError(
            f"input_shape must have {known} channels, as the images of the network that students "
            f"begin with. Received: {channels}"
        )
    found = []
    for name, given, own in zip(("mean", "std"), (mean, std), pixels or (None, None), strict=True):
        value = (127.5 if own is None else own) if given is None else given
        found.append(per_channel(value, channels, name))
        if source is None or own is None:
            continue
        trained_with = per_channel(own, channels, name)
        if not np.allclose(found[-1], trained_with, rtol=1e-3):
            raise ValueError(
                f"{name} must be left out where students begin with trained weights, whose network "
                f"knows its own, {trained_with}. Received: {given}"
            )
    return found[0], found[1]


def _of_model(model: keras.Model, name: str) -> Source:
    tape, pixels = first_pixels(record(model))
    mode = mode_of(model.name)
    if pixels is None and mode is not None and not MODES[mode].flips:
        # As a network of keras.applications is given its images, also one from a file.
        channels_in = tape.input.channels or 1
        pixels = (
            per_channel(MODES[mode].mean, channels_in, "mean"),
            per_channel(MODES[mode].std, channels_in, "std"),
        )
    layers = [
        (step.name, [np.array(as_array(weight)) for weight in weights])
        for step in tape.steps
        if (weights := channels.channel_weights(step.operation))
    ]
    return Source(layers, pixels, name, tape, model)


def _imagenet(backbone: Backbone, image_shape: Sequence[int]) -> keras.Model:
    if tuple(image_shape)[-1] != 3:
        raise ValueError(
            "initial_weights='imagenet' must have images of three channels. "
            f"Received: {tuple(image_shape)}"
        )
    try:
        return backbone.imagenet()
    except NotImplementedError:
        raise ValueError(
            f"{RULE} Received: 'imagenet', which keras.applications does not have for {backbone!r}"
        ) from None
    except Exception as error:
        # A server that does not answer, a file that was cut short, a width it has no weights of.
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            "initial_weights='imagenet' must be fetched by Keras, once, and could not be; a .keras "
            f"file needs no network. Received: {reason[:200]}"
        ) from None


def run(tape: Tape, images: Tensor, end: Value) -> Tensor:
    """A value of a network on images, averaged over pixels if it has any.

    Args:
        tape: The network's steps.
        images: What its first step takes, of any height and width.
        end: The value.

    Returns:
        An array, (batch, channels).
    """
    values = {tape.input: images}
    for step in tape.steps:
        values[step.output] = step.run(step.operation, values)
        if step.output is end:
            break
    found = values[end]
    return ops.mean(found, axis=(1, 2)) if len(found.shape) == 4 else found
