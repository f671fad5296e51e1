"""Learning rate schedules and warm-up, as functions of the number of steps.

Learning rate schedules are Keras's own, so that any Keras optimizer takes and saves them.
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
        learning_rate: Initial learning rate.
        boundaries: Increasing numbers of steps at which the learning rate falls.
        factor: Factor of the learning rate at each boundary.

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
    # Keras's schedule falls after a boundary, recipes fall at it.
    return keras.optimizers.schedules.PiecewiseConstantDecay([b - 1 for b in boundaries], values)


def cosine(
    learning_rate: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0
) -> Schedule:
    """Linear warm-up from 0, then cosine decay.

    Source: Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, equation 5, without restarts.

    Args:
        learning_rate: Learning rate after the warm-up.
        steps: Number of steps, warm-up included; after them the learning rate is constant.
        warmup_steps: Number of steps of the warm-up.
        final_fraction: Final learning rate as a fraction of `learning_rate`.

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
    """Linear warm-up from 0 to 1, for the weights of the distillation and feature losses.

    Not in the paper: at the start of training the teacher is not accurate yet.

    Args:
        steps_done: Number of steps so far, a number or a scalar tensor.
        steps: Number of steps of the warm-up; 0 for none.

    Returns:
        A float32 scalar from 0 to 1; the number 1 without warm-up.

    Example:
        >>> [float(warmup_share(step, 4)) for step in (0, 1, 4, 9)]  # 0.0, 0.25, 1.0, 1.0
    """
    if not steps:
        return 1.0
    return ops.minimum(ops.cast(steps_done, "float32") / float(steps), 1.0)
