"""Losses of online ensemble distillation (https://arxiv.org/abs/2011.07449, section 3).

Pure functions of tensors, on any Keras backend. Each returns one value an example and leaves
the mean over the batch to the caller, because under `tf.distribute` that batch is the global one.
Leading dimensions broadcast: all students can be given at once, stacked on a first axis.
"""

from collections.abc import Sequence

from keras import ops

from oekd_tf.core.types import Tensor

# Keeps the relative feature loss finite where a block's output is all zeros.
_LEAST_SQUARE = 0.01


def ensemble_logits(logits: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """The ensemble teacher's logits: the mean of all students' (equation 5).

    Args:
        logits: Students' logits, shape (students, batch, classes).
        weights: One weight a student, summing to 1; uniform when None.

    Returns:
        Logits of shape (batch, classes).

    Example:
        >>> ensemble_logits(np.array([[[0.0, 2.0]], [[4.0, 0.0]]]))  # [[2.0, 1.0]]
    """
    if weights is None:
        return ops.mean(logits, axis=0)
    weights = ops.reshape(ops.convert_to_tensor(weights, dtype=logits.dtype), (-1, 1, 1))
    return ops.sum(weights * logits, axis=0)


def label_loss(labels: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of the softmax of `logits` against the labels (equation 2).

    Args:
        labels: Class indices of shape (batch,) or (batch, 1), or class probabilities of shape
            (batch, classes).
        logits: Shape (..., batch, classes).

    Returns:
        Nats, shape (..., batch).

    Raises:
        ValueError: The labels' shape is none of these.

    Example:
        >>> label_loss(np.array([1]), np.array([[0.0, 0.0]]))  # [0.6931]
    """
    probabilities = label_probabilities(labels, logits.shape[-1], logits.dtype)
    return -ops.sum(probabilities * ops.log_softmax(logits, axis=-1), axis=-1)


def label_probabilities(labels: Tensor, num_classes: int, dtype: str = "float32") -> Tensor:
    """Labels as class probabilities of shape (batch, classes).

    Args:
        labels: As in `label_loss`.
        num_classes: Number of classes.
        dtype: Of the result.

    Returns:
        One-hot rows for class indices; soft labels as they are.

    Raises:
        ValueError: The labels' shape is neither that of indices nor of probabilities.
    """
    rank = len(labels.shape)
    if rank == 2 and labels.shape[-1] == num_classes and num_classes > 1:
        return ops.cast(labels, dtype)
    if rank == 2 and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, axis=-1)
    elif rank != 1:
        raise ValueError(
            "Labels must be class indices of shape (batch,) or (batch, 1), or class "
            f"probabilities of shape (batch, {num_classes}). Received: shape {labels.shape}"
        )
    return ops.one_hot(ops.cast(labels, "int32"), num_classes, dtype=dtype)


def label_weights(labels: Tensor, class_weight: Sequence[float], dtype: str = "float32") -> Tensor:
    """The weight of each example's label loss from those of the classes.

    Args:
        labels: As in `label_loss`.
        class_weight: One weight a class.
        dtype: Of the result.

    Returns:
        Shape (batch,); of soft labels the mean weight of the classes under them.

    Example:
        >>> label_weights(np.array([[0.5, 0.5]]), [1.0, 3.0])  # [2.0]
    """
    weights = ops.convert_to_tensor(class_weight, dtype=dtype)
    probabilities = label_probabilities(labels, weights.shape[0], dtype)
    return ops.sum(probabilities * weights, axis=-1)


def distillation_loss(
    teacher_logits: Tensor, logits: Tensor, temperature: float, attached: bool = False
) -> Tensor:
    """KL divergence from the softened teacher to the softened student, times T² (equation 6).

    The teacher is a target: no gradient flows into `teacher_logits`, unless it is `attached`. The
    factor T² keeps the
    gradient's size independent of the temperature (Hinton et al., arXiv 1503.02531, section 2).

    Args:
        teacher_logits: Shape (batch, classes).
        logits: Shape (..., batch, classes).
        temperature: T, above 0; both sides' logits are divided by it.
        attached: Whether gradients flow into the teacher.

    Returns:
        Nats times T², shape (..., batch).

    Example:
        >>> distillation_loss(np.array([[2.0, 0.0]]), np.array([[2.0, 0.0]]), 2.0)  # [0.0]
    """
    target = teacher_logits if attached else ops.stop_gradient(teacher_logits)
    teacher = ops.log_softmax(target / temperature, axis=-1)
    student = ops.log_softmax(logits / temperature, axis=-1)
    divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * divergence


def mutual_loss(logits: Tensor, temperature: float) -> Tensor:
    """Mean KL divergence from each of the other students to a student, times T².

    The target of deep mutual learning, in place of the ensemble teacher: Zhang et al., arXiv
    1706.00384, equation 7, where T is 1. The others are targets: no gradient flows into them.

    Args:
        logits: Shape (students, batch, classes), two students at least.
        temperature: T, above 0.

    Returns:
        Nats times T², shape (students, batch).

    Example:
        >>> mutual_loss(np.zeros((2, 1, 2)), 1.0)  # [[0.0], [0.0]]
    """
    return mean_over_others(
        [distillation_loss(peer, logits, temperature) for peer in ops.unstack(logits)]
    )


def mean_over_others(divergences: Sequence[Tensor]) -> Tensor:
    """For each student the mean of its divergences from all targets but its own.

    Args:
        divergences: For each target the divergence of every student, (students, batch).

    Returns:
        Shape (students, batch).

    Example:
        >>> mean_over_others([np.array([[9.0], [1.0]]), np.array([[2.0], [9.0]])])  # [[2], [1]]
    """
    # Its own is left out by a weight, because some divergences from oneself are not 0.
    others = 1.0 - ops.eye(len(divergences), dtype="float32")
    return ops.einsum("tsb,ts->sb", ops.stack(divergences), others) / (len(divergences) - 1)


def mean_of_others(logits: Tensor) -> Tensor:
    """For each student the mean of the other students' logits.

    Args:
        logits: Shape (students, batch, classes), two students at least.

    Returns:
        The same shape.

    Example:
        >>> mean_of_others(np.array([[[1.0]], [[2.0]], [[4.0]]]))  # [[[3]], [[2.5]], [[1.5]]]
    """
    return (ops.sum(logits, axis=0, keepdims=True) - logits) / (logits.shape[0] - 1)


def feature_loss(target: Tensor, adapted: Tensor, relative: bool = False) -> Tensor:
    """Mean squared error between the pseudo teacher's block output and a student's (equation 3).

    The pseudo teacher is a target: no gradient flows into `target`.

    Args:
        target: The pseudo teacher's block output F_{1,b}, shape (batch, height, width, channels).
        adapted: The student's after its channel adaptation layer, of the same shape.
        relative: Divide by the target's own mean square (plus 0.01): 1 for a student that gives
            zeros, whatever the scale of the block's output, which in a residual network grows
            with its depth. Not in the paper.

    Returns:
        The mean over height, width and channels in float32, shape (batch,).

    Example:
        >>> feature_loss(np.zeros((1, 2, 2, 3)), np.ones((1, 2, 2, 3)))  # [1.0]
    """
    target = ops.cast(ops.stop_gradient(target), "float32")
    error = ops.cast(adapted, "float32") - target
    axes = tuple(range(1, len(target.shape)))
    loss = ops.mean(ops.square(error), axis=axes)
    if relative:
        # An example's own scale, not the batch's: replicas see parts of a batch.
        loss = loss / (ops.mean(ops.square(target), axis=axes) + _LEAST_SQUARE)
    return loss
