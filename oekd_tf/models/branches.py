"""Assembles a backbone's stem and branches into functional models that share their layers."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
from keras import layers

from oekd_tf.backbones.backbone import Backbone
from oekd_tf.core.types import KerasTensor

# Keras walks a functional graph by recursion, a few frames a layer: enough for 10,000 layers.
_RECURSION_LIMIT = 100_000


class Branches(NamedTuple):
    """The parts of an ensemble; all models share layers.

    Attributes:
        stem: From raw images to the common base block's output; to normalised images where
            students do not share one.
        branches: For each student, from what `stem` gives to its block outputs, what its
            classifier sees and, last, logits.
        students: For each student, from raw images to logits, as one flat model.
        blocks: For each student, its symbolic block outputs.
        features: For each student, what its classifier sees, symbolic.
    """

    stem: keras.Model
    branches: list[keras.Model]
    students: list[keras.Model]
    blocks: list[tuple[KerasTensor, ...]]
    features: list[KerasTensor]


def build_branches(
    backbone: Backbone,
    image_shape: Sequence[int],
    num_classes: int,
    widths: Sequence[float],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    shared_stem: bool = True,
) -> Branches:
    """Builds the stem once and a branch and a classifier for every width.

    Args:
        backbone: The network family.
        image_shape: (height, width, channels).
        num_classes: Size of the logits.
        widths: One a student.
        mean: One a channel, in pixel units.
        std: One a channel, in pixel units.
        shared_stem: Whether there is one stem for all.

    Returns:
        The models.

    Raises:
        ValueError: A branch's blocks do not fit the pseudo teacher's in number, height or width.
    """
    with _deep_recursion():
        return _build(backbone, image_shape, num_classes, widths, mean, std, shared_stem)


@contextlib.contextmanager
def _deep_recursion() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _RECURSION_LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _build(
    backbone: Backbone,
    image_shape: Sequence[int],
    num_classes: int,
    widths: Sequence[float],
    mean: Sequence[float],
    std: Sequence[float],
    shared_stem: bool,
) -> Branches:
    images = keras.Input(tuple(image_shape), name="images", dtype="float32")
    # In float32 under any policy: half precision would round the pixels' differences.
    normalised = layers.Rescaling(
        scale=[1.0 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name="normalization",
    )(images)
    stem_output = backbone.stem(normalised) if shared_stem else normalised
    branches, students, blocks, features = [], [], [], []
    for number, width in enumerate(widths, start=1):
        name = f"student_{number}"
        own_stem = stem_output if shared_stem else backbone.stem(normalised)
        branch = backbone.branch(own_stem, width, name)
        # In float32 under any policy: a softmax of half-precision logits loses small classes.
        logits = layers.Dense(num_classes, dtype="float32", name=f"{name}_logits")(branch.features)
        blocks.append(tuple(branch.blocks))
        features.append(branch.features)
        _check_blocks(blocks, name)
        students.append(keras.Model(images, logits, name=name))
        outputs = [*branch.blocks, branch.features, logits]
        branches.append(keras.Model(stem_output, outputs, name=f"{name}_branch"))
    stem = keras.Model(images, stem_output, name="stem")
    return Branches(stem, branches, students, blocks, features)


def _check_blocks(blocks: list[tuple[KerasTensor, ...]], name: str) -> None:
    shapes = [tuple(block.shape[1:-1]) for block in blocks[-1]]
    expected = [tuple(block.shape[1:-1]) for block in blocks[0]]
    if not shapes or shapes != expected or any(len(shape) != 2 for shape in shapes):
        raise ValueError(
            "At every width a backbone's branch must give the same number of blocks, of the same "
            f"(height, width). Received: {shapes} for {name}, {expected} for student_1"
        )
