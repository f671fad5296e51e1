"""Construction of functional models that share a stem, from a backbone."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import layers

from oekd_tf.backbones.backbone import Backbone
from oekd_tf.core.keras_internals import deep_recursion
from oekd_tf.core.types import KerasTensor
from oekd_tf.models.size import count_parameters


class Branches(NamedTuple):
    """The parts of an ensemble; all models share layers.

    Attributes:
        stem: Model from raw images to the output of the common base block, or to normalised images
            if students do not share a stem.
        branches: For each student a model from the output of `stem` to block outputs, features and
            logits.
        students: For each student a flat model from raw images to logits.
        blocks: For each student the symbolic block outputs.
        features: For each student the symbolic input of the classifier.
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
        backbone: Network family.
        image_shape: (height, width, channels).
        num_classes: Number of classes.
        widths: Width of each student.
        mean: Mean of each channel, in pixel units.
        std: Standard deviation of each channel, in pixel units.
        shared_stem: Whether students share one stem.

    Returns:
        The models.

    Raises:
        ValueError: A branch's blocks do not fit the pseudo teacher's in number, height or width, or
            two students have the same channels after these were rounded to a `channel_multiple`.
    """
    with deep_recursion():
        return _build(backbone, image_shape, num_classes, widths, mean, std, shared_stem)


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
    # In float32 under any policy, because half precision would round small differences of pixels.
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
        # In float32 under any policy, because half precision is too coarse for a softmax.
        logits = layers.Dense(num_classes, dtype="float32", name=f"{name}_logits")(branch.features)
        blocks.append(tuple(branch.blocks))
        features.append(branch.features)
        _check_blocks(blocks, name)
        students.append(keras.Model(images, logits, name=name))
        outputs = [*branch.blocks, branch.features, logits]
        branches.append(keras.Model(stem_output, outputs, name=f"{name}_branch"))
    stem = keras.Model(images, stem_output, name="stem")
    _check_sizes(backbone, widths, branches)
    return Branches(stem, branches, students, blocks, features)


def _check_blocks(blocks: list[tuple[KerasTensor, ...]], name: str) -> None:
    shapes = [tuple(block.shape[1:-1]) for block in blocks[-1]]
    expected = [tuple(block.shape[1:-1]) for block in blocks[0]]
    if not shapes or shapes != expected or any(len(shape) != 2 for shape in shapes):
        raise ValueError(
            "At every width a backbone's branch must give the same number of blocks, of the same "
            f"(height, width). Received: {shapes} for {name}, {expected} for student_1"
        )


def _check_sizes(
    backbone: Backbone, widths: Sequence[float], branches: Sequence[keras.Model]
) -> None:
    """Raises if widths that differ were rounded to the same channels."""
    multiple = getattr(backbone, "channel_multiple", 1)
    # The paper's own rounding may do so, too, as it always has.
    if multiple == 1:
        return
    sizes = [count_parameters(branch) for branch in branches]
    for (wide, size), (narrow, other) in itertools.pairwise(zip(widths, sizes, strict=True)):
        if size == other:
            raise ValueError(
                f"widths must give every student other channels, rounded to multiples of {multiple}"
                f". Received: {wide:g} and {narrow:g}, which give the same"
            )
