"""What a method learns of the network that it is to train."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """The branched network, as a method sees it when it builds its own layers.

    Attributes:
        widths: Width of each student; 1 is full width.
        num_classes: Number of classes.
        stem: Shape of the stem's output, (None, height, width, channels).
        blocks: For each student the shapes of its block outputs, (None, height, width, channels).
        features: For each student the shape of what its classifier sees, (None, channels).
        students: For each student the functional model from raw images to logits. A method must
            not keep them as attributes, or their weights would be its own too.
    """

    widths: tuple[float, ...]
    num_classes: int
    stem: Shape
    blocks: tuple[tuple[Shape, ...], ...]
    features: tuple[Shape, ...]
    students: tuple["keras.Model", ...]

    @property
    def block_channels(self) -> tuple[tuple[int, ...], ...]:
        """Number of channels of each block of each student."""
        return tuple(tuple(int(shape[-1] or 0) for shape in blocks) for blocks in self.blocks)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Number of channels that each student's classifier sees."""
        return tuple(int(shape[-1] or 0) for shape in self.features)
