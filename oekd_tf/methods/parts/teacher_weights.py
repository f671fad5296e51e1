"""How much each student counts in a teacher of unequal students.

Pure functions of tensors, on any Keras backend. Weights are not negative and sum to 1 over
students, unless it is said otherwise, and no gradient flows into them.
"""

import numpy as np
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses

# A student whose cross-entropy is a nat higher counts 1/55 as much.
SHARPNESS = 4.0
# The barrier in each of Newton's steps, and what shares of a step are tried.
_BARRIERS = (0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, *(6 * [1e-4]))
_SHARES = (1.0, 0.5, 0.2, 0.05, 0.005, 0.0)
# Of the largest number in Newton's equations, what its rounding may take away.
_ROUNDING = 1e-5
# Of the mean error, so that equal students have a covariance that can be inverted.
_RIDGE = 1e-3


def by_cross_entropy(cross_entropy: Tensor) -> Tensor:
    """softmax over students of −4 times their cross-entropy.

    Args:
        cross_entropy: (students, ...), in nats.

    Returns:
        The same shape; sums to 1 over the first axis.

    Example:
        >>> by_cross_entropy(np.array([1.0, 1.0]))  # [0.5, 0.5]
    """
    return ops.stop_gradient(ops.softmax(-SHARPNESS * cross_entropy, axis=0))


def best_only(cross_entropy: Tensor) -> Tensor:
    """All of the weight on the student with the least cross-entropy.

    Args:
        cross_entropy: (students, ...).

    Returns:
        The same shape, ones and zeros.

    Source: "KDCL-Naive" of Guo et al., CVPR 2020.
    """
    students = cross_entropy.shape[0]
    return ops.one_hot(ops.argmin(cross_entropy, axis=0), students, axis=0, dtype="float32")


def of_the_better(cross_entropy: Tensor) -> Tensor:
    """For each student the same weight on all that have a lower cross-entropy than it.

    Args:
        cross_entropy: (students,).

    Returns:
        (students, students), a row for each student; the best student has only itself.

    Example:
        >>> of_the_better(np.array([1.0, 2.0, 3.0]))  # [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]
    """
    students = cross_entropy.shape[0]
    better = ops.cast(cross_entropy[None, :] < cross_entropy[:, None], "float32")
    count = ops.sum(better, axis=1, keepdims=True)
    alone = ops.cast(ops.equal(count, 0), "float32") * ops.eye(students, dtype="float32")
    return ops.stop_gradient(better / ops.maximum(count, 1.0) + alone)


def on_the_simplex(logits: Tensor, labels: Tensor) -> Tensor:
    """The weights w, none below 0 and of sum 1, with the least CE(y, Σ_i w_i z_i) of a batch.

    A convex problem, which Newton's method solves with a barrier, μ Σ log w_i, that falls to
    0.0001: no weight is 0 quite, there is one solution even for equal students, and its
    cross-entropy is within 0.0005 nats of the least of up to five students.

    Args:
        logits: All students' logits on the whole batch, (students, batch, classes).
        labels: Class indices or probabilities, as in `losses.label_loss`.

    Returns:
        (students,).

    Source: "KDCL-Linear" of Guo et al., "Online Knowledge Distillation via Collaborative
    Learning", CVPR 2020.
    """
    given = ops.stop_gradient(logits)
    students, classes = given.shape[0], given.shape[-1]
    labels = losses.label_probabilities(labels, classes, given.dtype)
    # No equations can be solved with NaN; the weights are NaN then, and the loss says so.
    logits = ops.where(ops.isfinite(given), given, 0.0)
    size = ops.maximum(ops.cast(ops.shape(logits)[1], "float32"), 1.0)
    # What all students have in common does not matter to the weights.
    apart = logits - ops.mean(logits, axis=0, keepdims=True)
    shares = ops.convert_to_tensor(_SHARES, dtype="float32")[:, None]
    weights = ops.full((students,), 1.0 / students, dtype="float32")
    for barrier in _BARRIERS:
        probabilities = ops.softmax(losses.ensemble_logits(logits, weights), axis=-1)
        slope = ops.einsum("sbc,bc->s", apart, probabilities - labels) / size
        expected = ops.einsum("sbc,bc->sb", apart, probabilities)
        scaled = (apart - expected[..., None]) * ops.sqrt(probabilities)
        curvature = ops.einsum("sbc,tbc->st", scaled, scaled) / size
        # In units of each weight, in which the barrier is round.
        system = weights[:, None] * curvature * weights[None]
        ridge = barrier + _ROUNDING * ops.max(system)
        system = system + ridge * ops.eye(students, dtype="float32")
        sides = ops.stack([weights * slope - barrier, weights], axis=1)
        along, normal = ops.unstack(ops.solve(system, sides), axis=1)
        step = normal * ops.sum(weights * along) / ops.sum(weights * normal) - along
        # No weight loses more than nine tenths.
        step = step * ops.minimum(1.0, 0.9 / ops.maximum(ops.max(-step), 1e-6))
        tried = weights * (1.0 + shares * step)
        tried = tried / ops.sum(tried, axis=1, keepdims=True)
        mixtures = ops.einsum("rs,sbc->rbc", tried, logits)
        costs = ops.sum(losses.label_loss(labels, mixtures), axis=-1) / size
        costs = costs - barrier * ops.sum(ops.log(tried), axis=1)
        weights = ops.take(tried, ops.argmin(costs), axis=0)
    return ops.where(ops.all(ops.isfinite(given)), weights, np.nan)


def by_covariance(covariance: np.ndarray) -> np.ndarray:
    """w = C⁻¹1 / (1ᵀC⁻¹1), the weights of sum 1 of the mixture with the least mean square error.

    Args:
        covariance: C_ij, the mean over examples and classes of (p_i − y)(p_j − y), (students,
            students). A thousandth of its mean diagonal is added to the diagonal.

    Returns:
        (students,); some may be below 0.

    Example:
        >>> by_covariance(np.diag([1.0, 3.0]))  # about [0.75, 0.25]

    Source: "KDCL-General" of Guo et al., CVPR 2020.
    """
    students = len(covariance)
    ridge = _RIDGE * np.trace(covariance) / students + 1e-12
    solved = np.linalg.solve(covariance + ridge * np.eye(students), np.ones(students))
    return solved / solved.sum()
