"""How far a student is from its teacher: the Kullback-Leibler divergence, and others like it.

Pure functions of tensors, on any Keras backend. All take the same arguments, and return one value
an example, times T². Leading dimensions broadcast. The teacher is a target, into which no gradient
flows unless it is `attached`.
"""

from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses

# Added to the standard deviation, as in the authors' code.
_LEAST_DEVIATION = 1e-7
# A logit that is none: far below any, and finite, so that its gradient is.
_NONE = -1e9


def kl(
    teacher: Tensor,
    logits: Tensor,
    temperature: float,
    labels: Tensor | None = None,
    attached: bool = False,
) -> Tensor:
    """T² KL(softmax(t/T) ‖ softmax(z/T)).

    Args:
        teacher: The teacher's logits t, (..., batch, classes).
        logits: The students' logits z, (..., batch, classes).
        temperature: T, above 0.
        labels: Not used.
        attached: Whether gradients flow into the teacher.

    Returns:
        Nats times T², (..., batch).

    Source: Hinton et al., https://arxiv.org/abs/1503.02531.
    """
    del labels
    return losses.distillation_loss(teacher, logits, temperature, attached)


def standardized_kl(
    teacher: Tensor,
    logits: Tensor,
    temperature: float,
    labels: Tensor | None = None,
    attached: bool = False,
) -> Tensor:
    """The divergence of standardised logits: a student need not reach its teacher's scale.

    Args:
        teacher: The teacher's logits; where they are a mean, standardised after it was taken.
        logits: As in `kl`.
        temperature: As in `kl`.
        labels: Not used.
        attached: As in `kl`.

    Returns:
        As `kl`.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024,
    https://arxiv.org/abs/2403.01427.
    """
    return kl(standardize(teacher), standardize(logits), temperature, labels, attached)


def standardize(logits: Tensor) -> Tensor:
    """Each example's logits minus their mean, over their standard deviation.

    Args:
        logits: (..., classes).

    Returns:
        The same shape. The deviation is the biased one, plus 1e-7.

    Example:
        >>> standardize(np.array([[1.0, 3.0]]))  # [[-1.0, 1.0]]
    """
    centred = logits - ops.mean(logits, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    # The root's slope is infinite at 0, where all logits are equal.
    flat = ops.equal(variance, 0.0)
    deviation = ops.where(flat, 0.0, ops.sqrt(ops.where(flat, 1.0, variance)))
    return centred / (deviation + _LEAST_DEVIATION)


def dkd(
    teacher: Tensor,
    logits: Tensor,
    temperature: float,
    labels: Tensor | None = None,
    attached: bool = False,
    *,
    target_weight: float = 1.0,
    others_weight: float = 8.0,
) -> Tensor:
    """Decoupled distillation: α TCKD + β NCKD, each times T².

    TCKD is the divergence between the probabilities of the true class and of all others; NCKD that
    among the classes which are not the true one.

    Args:
        teacher: As in `kl`.
        logits: As in `kl`.
        temperature: As in `kl`.
        labels: Class indices (batch,), or probabilities (batch, classes), of which the largest is
            the true class.
        attached: As in `kl`.
        target_weight: α.
        others_weight: β.

    Returns:
        As `kl`.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022,
    https://arxiv.org/abs/2203.08679, equation 7, with the authors' α and β for CIFAR-100.
    """
    teacher = teacher if attached else ops.stop_gradient(teacher)
    true = true_class(labels, logits)
    sides = [_true_and_others(side / temperature, true) for side in (teacher, logits)]
    (true_t, rest_t, others_t), (true_s, rest_s, others_s) = sides
    of_true = ops.exp(true_t) * (true_t - true_s) + ops.exp(rest_t) * (rest_t - rest_s)
    of_others = ops.sum(ops.exp(others_t) * (others_t - others_s) * (1.0 - true), axis=-1)
    return temperature**2 * (target_weight * of_true + others_weight * of_others)


def nkd(
    teacher: Tensor,
    logits: Tensor,
    temperature: float,
    labels: Tensor | None = None,
    attached: bool = False,
    *,
    others_weight: float = 1.5,
) -> Tensor:
    """Normalised distillation: − t_y log s_y − γ T² Σ_{c≠y} t̂_c log ŝ_c.

    The first part has T = 1. Hats are probabilities at T among the classes which are not the true
    one. It is a cross-entropy: a perfect student does not reach 0.

    Args:
        teacher: As in `kl`.
        logits: As in `kl`.
        temperature: As in `kl`.
        labels: As in `dkd`.
        attached: As in `kl`.
        others_weight: γ.

    Returns:
        Nats, (..., batch).

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
    Approach with Normalized Loss and Customized Soft Labels", ICCV 2023,
    https://arxiv.org/abs/2303.13005.
    """
    teacher = teacher if attached else ops.stop_gradient(teacher)
    true = true_class(labels, logits)
    of_teacher = ops.sum(ops.softmax(teacher, axis=-1) * true, axis=-1)
    of_true = -of_teacher * ops.sum(ops.log_softmax(logits, axis=-1) * true, axis=-1)
    _, _, others_t = _true_and_others(teacher / temperature, true)
    _, _, others_s = _true_and_others(logits / temperature, true)
    of_others = -ops.sum(ops.exp(others_t) * others_s * (1.0 - true), axis=-1)
    return of_true + others_weight * temperature**2 * of_others


def true_class(labels: Tensor, logits: Tensor) -> Tensor:
    """One-hot rows of the true class; of soft labels the most probable.

    Args:
        labels: As in `losses.label_loss`.
        logits: (..., classes).

    Returns:
        (batch, classes).
    """
    classes = logits.shape[-1]
    probabilities = losses.label_probabilities(labels, classes, logits.dtype)
    return ops.one_hot(ops.argmax(probabilities, axis=-1), classes, dtype=logits.dtype)


def _true_and_others(scores: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log probabilities of the true class, of not it, and of each other class among the others."""
    log = ops.log_softmax(scores, axis=-1)
    hidden = ops.where(true > 0, _NONE, log)
    rest = ops.logsumexp(hidden, axis=-1)
    return ops.sum(log * true, axis=-1), rest, ops.log_softmax(hidden, axis=-1)


DIVERGENCES = {"kl": kl, "standardized_kl": standardized_kl, "dkd": dkd, "nkd": nkd}
