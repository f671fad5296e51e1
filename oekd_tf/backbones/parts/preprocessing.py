"""How pixels are prepared for a network that was trained elsewhere."""

import re
from typing import Any, NamedTuple

import numpy as np
from keras import layers, ops

from oekd_tf.backbones.parts.tape import Tape


class Mode(NamedTuple):
    """A way of keras.applications to prepare images, (pixel − mean) / std.

    Attributes:
        mean: Mean in pixel units, a number or one for each of red, green and blue.
        std: Standard deviation, likewise.
        flips: Whether the network then takes blue first.
    """

    mean: Any
    std: Any
    flips: bool = False


# Source: the `mode` of keras.applications.imagenet_utils.preprocess_input.
MODES = {
    "none": Mode(0.0, 1.0),
    "tf": Mode(127.5, 127.5),
    "torch": Mode((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": Mode((123.68, 116.779, 103.939), 1.0, flips=True),
}
# By the names of models of keras.applications that do not prepare images themselves.
_BY_NAME = (
    (r"densenet\d", "torch"),
    (r"(resnet\d+v2|mobilenet_|mobilenetv2_|xception|inception|NASNet)", "tf"),
    (r"(resnet\d+$|vgg\d)", "caffe"),
)


def mode_of(name: str) -> str | None:
    """The mode of a network of keras.applications, by its model's name."""
    return next((mode for pattern, mode in _BY_NAME if re.match(pattern, name)), None)


def first_pixels(tape: Tape) -> tuple[Tape, tuple[tuple, tuple] | None]:
    """Splits off the Rescaling and Normalization that a network begins with.

    Args:
        tape: The network's steps.

    Returns:
        The steps after them, and the mean and standard deviation of each channel, in pixel units,
        that come to the same; None if there are none.

    Raises:
        ValueError: They turn light into dark.
    """
    value, count = tape.input, 0
    for step in tape.steps:
        if not isinstance(step.operation, layers.Rescaling | layers.Normalization):
            break
        if step.inputs != (value,):
            break
        value, count = step.output, count + 1
    if not count:
        return tape, None
    if any(value in step.inputs for value in [tape.input] for step in tape.steps[count:]):
        return tape, None
    offset, scale = _line(tape, count)
    if not (scale > 0).all():
        raise ValueError(
            "What a network begins with must leave brighter pixels brighter. "
            f"Received: a scale of {scale.tolist()}"
        )
    # Of float32's digits, so that what was given as 100 is not 100.0000019.
    mean, std = (
        tuple(float(f"{value:.7g}") + 0.0 for value in values)
        for values in (-offset / scale, 1.0 / scale)
    )
    return Tape(value, tape.steps[count:], tape.output), (mean, std)


def _line(tape: Tape, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What the first steps make of black, and of one more."""
    channels = tape.input.channels
    ends = []
    for pixel in (0.0, 255.0):
        image = ops.full((1, 1, 1, channels), pixel, dtype="float32")
        for step in tape.steps[:count]:
            image = step.operation(image)
        ends.append(np.asarray(ops.convert_to_numpy(image), np.float64).reshape(channels))
    return ends[0], (ends[1] - ends[0]) / 255.0
