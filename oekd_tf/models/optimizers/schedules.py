"""Schedules as pure functions of the number of steps done.

Those of the learning rate are ordinary Keras schedules, so that any Keras optimizer takes them and
a saved optimizer keeps them.
"""

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
from keras import ops

Schedule: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def constant(learning_rate: float) -> Schedule:
    """The same learning rate for all steps."""
    return learning_rate


def step_decay(learning_rate: float, boundaries: Sequence[int], factor: float = 0.1) -> Schedule:
    """The learning rate times `factor` from each boundary on.

    Source: https://arxiv.org/abs/2011.07449, section 4 (×0.1 at epochs 200 and 300 of 350).

    Args:
        learning_rate: At the start.
        boundaries: Numbers of steps done at which it falls, rising.
        factor: What it is multiplied by at each.

    Returns:
        The schedule.

    Raises:
        ValueError: The boundaries do not rise, or one is below 1 or too large to count to.

    Example:
        >>> schedule = step_decay(0.1, boundaries=[200, 300])
        >>> float(schedule(199)), float(schedule(200)), float(schedule(300))  # 0.1, 0.01, 0.001
    """
    boundaries = list(boundaries)
    rising = all(a < b for a, b in itertools.pairwise(boundaries))
    # Keras compares them with the number of steps, an int32.
    if not rising or any(not 1 <= boundary < 2**31 for boundary in boundaries):
        raise ValueError(
            "Boundaries must rise, be at least 1 step and below 2,147,483,648. "
            f"Received: {boundaries}"
        )
    if not boundaries:
        return constant(learning_rate)
    values = [learning_rate * factor**i for i in range(len(boundaries) + 1)]
    # Keras's schedule falls after its boundary, the recipes say at.
    return keras.optimizers.schedules.PiecewiseConstantDecay([b - 1 for b in boundaries], values)


def cosine(
    learning_rate: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0
) -> Schedule:
    """A linear rise from 0 and half a cosine down.

    Source: Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, equation 5, without restarts.

    Args:
        learning_rate: At the end of the warm-up.
        steps: In all, warm-up included; the last value holds from there on.
        warmup_steps: Length of the rise.
        final_fraction: Of `learning_rate`, at the end.

    Returns:
        The schedule.

    Raises:
        ValueError: The warm-up is not shorter than the whole.

    Example:
        >>> schedule = cosine(0.1, steps=100, warmup_steps=10)
        >>> float(schedule(0)), float(schedule(10)), float(schedule(100))  # 0.0, 0.1, 0.0
    """
    if not 0 <= warmup_steps < steps:
        raise ValueError(
            f"The warm-up must be shorter than the training, {steps} steps. "
            f"Received: {warmup_steps} steps"
        )
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=final_fraction)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        steps - warmup_steps,
        alpha=final_fraction,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )


def warmup_share(steps_done: Any, steps: int) -> Any:
    """A linear rise from 0 to 1, for the weights of the distillation and feature losses.

    Not in the paper: at the start a teacher that knows nothing yet is not worth following.

    Args:
        steps_done: A number or a scalar tensor.
        steps: Length of the rise; 0 is none.

    Returns:
        From 0 to 1, float32; the number 1 where there is no rise.

    Example:
        >>> [float(warmup_share(step, 4)) for step in (0, 1, 4, 9)]  # 0.0, 0.25, 1.0, 1.0
    """
    if not steps:
        return 1.0
    return ops.minimum(ops.cast(steps_done, "float32") / float(steps), 1.0)
