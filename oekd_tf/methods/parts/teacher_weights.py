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
_STEPS = 24
# The first rate of the mirror descent, in units of one over what the logits differ by, and what it
# is multiplied by in the three steps that are tried each time.
_FIRST_RATE = 8.0
_FACTORS = (0.2, 1.0, 5.0)
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

    A convex problem. It is solved by mirror descent, whose every step takes the best of three
    rates. A batch's cross-entropy is then within 0.001 nats of the least, of students whose logits
    are of one scale; within 0.05 where one's are 30 times as large.

    Args:
        logits: All students' logits on the whole batch, (students, batch, classes).
        labels: Class indices or probabilities, as in `losses.label_loss`.

    Returns:
        (students,).

    Source: "KDCL-Linear" of Guo et al., "Online Knowledge Distillation via Collaborative
    Learning", CVPR 2020.
    """
    logits = ops.stop_gradient(logits)
    students, classes = logits.shape[0], logits.shape[-1]
    labels = losses.label_probabilities(labels, classes, logits.dtype)
    size = ops.maximum(ops.cast(ops.shape(logits)[1], "float32"), 1.0)
    # What all students have in common does not matter to the weights.
    apart = logits - ops.mean(logits, axis=0, keepdims=True)
    spread = ops.max(apart, axis=-1) - ops.min(apart, axis=-1)
    rate = _FIRST_RATE / ops.maximum(ops.max(ops.sum(spread, axis=1)) / size, 1e-3)
    factors = ops.convert_to_tensor((0.0, *_FACTORS), dtype="float32")
    scores = ops.zeros((students,), dtype="float32")
    for _ in range(_STEPS):
        error = ops.softmax(losses.ensemble_logits(logits, ops.softmax(scores)), axis=-1) - labels
        slope = ops.einsum("sbc,bc->s", logits, error) / size
        # Steps in the scores: weights change by a factor, and stay on the simplex.
        tried = scores[None] - (rate * factors)[:, None] * slope[None]
        mixtures = ops.einsum("rs,sbc->rbc", ops.softmax(tried, axis=-1), logits)
        best = ops.argmin(ops.sum(losses.label_loss(labels, mixtures), axis=-1))
        scores = ops.take(tried, best, axis=0)
        # None is better than where it stands: the next steps are smaller.
        chosen = ops.take(factors, best)
        rate = rate * ops.where(chosen > 0, chosen, _FACTORS[0] / 4)
    return ops.softmax(scores)


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
