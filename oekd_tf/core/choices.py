"""Choices of users, and rules that several modules share."""

import itertools
from collections.abc import Sequence

# In the order of application; the first cannot follow another.
AUGMENTATIONS = ("random_resized_crop", "pad_crop", "flip", "color_jitter", "rand_augment")
# Augmentations that do not need TensorFlow.
ARRAY_AUGMENTATIONS = ("pad_crop", "flip")
CACHES = ("auto", "decoded", "encoded", "none")
SAMPLINGS = ("natural", "balanced")
CLASS_WEIGHTS = ("none", "balanced")
STRATEGIES = ("auto", "none", "mirrored", "multi_worker", "tpu")
STEM_GRADIENTS = ("all", "mean", "pseudo_teacher", "none")
FEATURE_SCALES = ("absolute", "relative")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
# Half precision's least normal number: gradients that still overflow at this loss scale are not
# finite at all, or of no use.
LEAST_LOSS_SCALE = 2.0**-14
OPTIMIZERS = ("adam", "adamw", "sgd")
LABEL_NOISES = ("symmetric", "pair")
OVERLAY_SOURCES = ("pseudo_teacher", "ensemble")
SLICES = ("l1", "bn_scale", "first", "random")
SCHEDULES = ("constant", "step", "cosine")


def are_widths(widths: Sequence[float]) -> bool:
    """Whether widths start with 1, the pseudo teacher's, and strictly decrease, all above 0."""
    falling = all(wide > narrow for wide, narrow in itertools.pairwise(widths))
    return bool(widths) and widths[0] == 1 and falling and widths[-1] > 0
