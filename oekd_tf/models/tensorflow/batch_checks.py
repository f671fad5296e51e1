"""Input and NaN checks inside the TensorFlow training step.

What is known while a step is traced raises at once; values are asserted in the graph, and
`with_clear_errors` turns a failed assertion into one line. XLA drops assertions.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from oekd_tf.core.choices import LEAST_LOSS_SCALE
from oekd_tf.core.errors import NonFiniteLossError
from oekd_tf.core.tensorflow_internals import has_merge_call
from oekd_tf.methods.parts.method import Method
from oekd_tf.models.distributed.strategy import join_replicas


class CheckedModel(Protocol):
    """What errors are made of: the ensemble whose step is checked."""

    image_shape: tuple[int, int, int]
    num_classes: int
    distribute_strategy: Any
    method: Method
    optimizer: Any
    trained_variables: Sequence[Any]


_MARKER = "oekd_tf.batch_checks"
_FAILED = re.compile(rf"\[{re.escape(_MARKER)} (\w+)\]((?: \[[^\]:]*\])*)")

# Interpolation and mixing round: 255 comes out as 255.00002, in float16 as 255.125.
_PIXEL_TOLERANCE = 0.25
_PROBABILITY_TOLERANCE = 1e-3

_SHAPE_RULE = "Images must be numbers of shape (batch, {}). "
_PIXEL_RULE = (
    "Images must be raw pixels from 0 to 255; normalisation is part of the network (mean, std). "
)
_FINITE_RULE = (
    "Training stopped: every loss and gradient must be finite; lower the learning rate, clip "
    "gradients, or check the images. "
)


def check_images(
    images: Any, image_shape: Sequence[int], *, first: tf.Tensor | bool, training: bool
) -> list[tf.Operation]:
    """Asserts that images are what the network takes.

    Args:
        images: A batch; may be empty, as a replica's share of a last batch.
        image_shape: (height, width, channels) that they must have.
        first: Whether it is the first batch of a training or an evaluation, which may not lie
            within 0 and 1 as a whole.
        training: Whether pixels must be from 0 to 255; evaluation takes others too.

    Returns:
        Operations that fail at run time; the step must depend on them.

    Raises:
        ValueError: The static shape or type is wrong.

    Example:
        >>> checks = check_images(images, (32, 32, 3), first=True, training=False)
        >>> with tf.control_dependencies(checks):
        ...     images = tf.identity(images)
    """
    shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
    rule = _SHAPE_RULE.format(", ".join(map(str, image_shape)))
    if shape is None or dtype is None:
        raise ValueError(f"{rule}Received: {type(images).__name__}")
    if tf.TensorShape(shape).rank is None:
        # How Keras traces a step whose batch has another rank than those before.
        raise ValueError(f"{rule}Received: another number of dimensions than in batches before")
    if not tf.TensorShape(shape).is_compatible_with((None, *image_shape)):
        raise ValueError(f"{rule}Received: shape {tuple(shape)}")
    if not (dtype.is_integer or dtype.is_floating):
        raise ValueError(f"{rule}Received: type {dtype.name}")
    checks = []
    if not tf.TensorShape(shape)[1:].is_fully_defined():
        size = tf.shape(images)[1:]
        checks += _assert("shape", tf.reduce_all(tf.equal(size, image_shape)), size)
    if dtype == tf.uint8 or (dtype.is_integer and not training):
        return checks
    pixels = images if dtype.is_floating else tf.cast(images, tf.float32)
    finite = tf.reduce_all(tf.math.is_finite(pixels))
    # Of no image at all the lowest pixel is inf and the highest -inf, which every rule allows.
    low = tf.cast(tf.reduce_min(pixels), tf.float32)
    high = tf.cast(tf.reduce_max(pixels), tf.float32)
    good = finite
    if training:
        good &= (low >= -_PIXEL_TOLERANCE) & (high <= 255 + _PIXEL_TOLERANCE)
    if dtype.is_floating:
        # Only at first, because a batch of black images is as good as any other.
        good &= ~(first & (low >= -_PIXEL_TOLERANCE) & (high > 0) & (high <= 1))
    return checks + _assert("images", good, finite, low, high)


def check_labels(labels: Any, num_classes: int) -> list[tf.Operation]:
    """Asserts that labels are classes of the network, or probabilities.

    A class index out of range would otherwise count as no class at all: a row of zeros.

    Args:
        labels: As in `oekd_tf.losses.label_loss`, which refuses other shapes.
        num_classes: Number of classes.

    Returns:
        Operations that fail at run time; the step must depend on them.

    Raises:
        ValueError: The labels are not numbers, or of another rank than those before.
    """
    if labels.shape.rank is None:
        # How Keras traces a step whose batch has another rank than those before.
        raise ValueError(
            "Labels must be of one shape, (batch,), (batch, 1) or (batch, classes), from one "
            "compile to the next. Received: another number of dimensions than in batches before"
        )
    if not (labels.dtype.is_integer or labels.dtype.is_floating):
        raise ValueError(
            "Labels must be class indices or class probabilities. "
            f"Received: type {labels.dtype.name}"
        )
    low, high = tf.reduce_min(labels), tf.reduce_max(labels)
    if labels.shape.rank == 2 and labels.shape[-1] == num_classes:
        kind, lowest, highest = "probabilities", -_PROBABILITY_TOLERANCE, 1 + _PROBABILITY_TOLERANCE
    else:
        kind, lowest, highest = "labels", 0, num_classes - 1
    if labels.dtype.is_integer:
        # In 64 bits, because the number of classes may be too large for the labels' own type.
        good = (tf.cast(low, tf.int64) >= 0) & (tf.cast(high, tf.int64) <= int(highest))
    else:
        good = tf.reduce_all((labels >= lowest) & (labels <= highest))
        if kind == "labels":
            good &= tf.reduce_all(tf.equal(labels, tf.floor(labels)))
    return _assert(kind, good, low, high)


def check_terms(terms: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The terms of the loss, which cannot be had unless all are finite.

    Args:
        terms: As `OnlineEnsemble.loss_terms` returns them.

    Returns:
        The same, dependent on the assertion.
    """
    values = tf.stack(list(terms.values()))
    with tf.control_dependencies(
        _assert("terms", tf.reduce_all(tf.math.is_finite(values)), values)
    ):
        return {name: tf.identity(value) for name, value in terms.items()}


def check_gradients(gradients: Sequence[Any], scale: Any = None) -> list[tf.Operation]:
    """Asserts that gradients are finite; one small operation a gradient.

    Args:
        gradients: In the order of the variables that the step trains; None where there is none.
        scale: What the loss was multiplied by, where an optimizer skips steps whose gradients
            overflow and lowers it: they may, unless it is as low as `LEAST_LOSS_SCALE`.

    Returns:
        Operations that fail at run time; the update must depend on them.
    """
    axes, zero = {}, tf.zeros(())
    sums = []
    for gradient in gradients:
        if gradient is None:
            sums.append(zero)
            continue
        values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        if values.dtype != tf.float32:
            values = tf.cast(values, tf.float32)
        rank = values.shape.rank
        if rank not in axes:
            axes[rank] = tf.range(tf.rank(values))
        sums.append(tf.raw_ops.Sum(input=values, axis=axes[rank]))
    finite = tf.math.is_finite(tf.stack(sums))
    first = tf.argmin(tf.cast(finite, tf.int32))
    good = tf.reduce_all(finite)
    if scale is not None:
        good |= tf.convert_to_tensor(scale) > LEAST_LOSS_SCALE
    return _assert("gradients", good, first)


def check_predicted(images: Any, when: str = "in prediction") -> None:
    """Raises a ValueError if pictures, as a whole, are scaled to 0 and 1.

    Args:
        images: The first batch of a `predict`, or one replica's share of it.
        when: What they are for, for the error.
    """
    dtype = getattr(images, "dtype", None)
    if dtype is None or not tf.as_dtype(dtype).is_floating or not tf.size(images):
        return
    low, high = (float(f(tf.cast(images, tf.float32))) for f in (tf.reduce_min, tf.reduce_max))
    if low >= -_PIXEL_TOLERANCE and 0 < high <= 1:
        raise _clear_image_error(["1", f"{low:g}", f"{high:g}"], when)


def of_all_replicas(checks: Sequence[Any]) -> Sequence[Any]:
    """Checks that let no replica of this host go on where another's have failed.

    Some variables, such as moving statistics, are each replica's own: without this a replica
    updates them while another refuses its share of the same batch.

    Args:
        checks: Operations or tensors of one replica; every replica must call this.

    Returns:
        An operation that depends on those of all replicas; on one device the same checks.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1 or not has_merge_call(context.strategy):
        return checks
    with tf.control_dependencies(checks):
        # Depends on what any of its replicas depends on.
        return [context.merge_call(lambda strategy: tf.no_op())]


def with_clear_errors(
    function: Callable, ensemble: CheckedModel, training: bool
) -> Callable[..., Any]:
    """A train or test function whose failed checks are one clear line.

    Args:
        function: What Keras made of the ensemble's step.
        ensemble: The ensemble.
        training: Whether it is the train function.

    Returns:
        The same function, which raises ValueError or `NonFiniteLossError` for a failed check.
    """
    join_replicas(ensemble.distribute_strategy)

    @functools.wraps(function)
    def checked(iterator: Any) -> Any:
        try:
            return function(iterator)
        except tf.errors.InvalidArgumentError as error:
            failed = _FAILED.search(error.message)
            if failed is None:
                raise
            kind, values = failed[1], re.findall(r"\[([^\]]*)\]", failed[2])
            clear = _clear_error(kind, values, ensemble, training)
        # Outside of the handler, which would hold on to TensorFlow's pages of trace.
        raise clear

    return checked


def _clear_error(kind: str, values: list[str], ensemble: CheckedModel, training: bool) -> Exception:
    # The failed step was not counted, because it updated nothing.
    when = (
        f"at step {int(ensemble.optimizer.iterations.numpy()) + 1}" if training else "in evaluation"
    )
    if kind == "shape":
        rule = _SHAPE_RULE.format(", ".join(map(str, ensemble.image_shape)))
        return ValueError(f"{rule}Received: images of {' × '.join(values[0].split())} {when}")
    if kind == "labels":
        return ValueError(
            f"Labels must be class indices from 0 to {ensemble.num_classes - 1}, whole numbers. "
            f"Received: labels from {values[0]} to {values[1]} {when}"
        )
    if kind == "probabilities":
        return ValueError(
            "Class probabilities must be from 0 to 1. "
            f"Received: from {values[0]} to {values[1]} {when}"
        )
    if kind == "images":
        return _clear_image_error(values, when)
    if kind == "terms":
        numbers = zip(ensemble.method.term_names, values[0].split(), strict=True)
        name, number = next(pair for pair in numbers if pair[1].lstrip("-") in ("nan", "inf"))
        return NonFiniteLossError(f"{_FINITE_RULE}Received: {name}={number} {when}")
    path = ensemble.trained_variables[int(values[0])].path
    scaled = isinstance(ensemble.optimizer, keras.optimizers.LossScaleOptimizer)
    least = ", even with the least loss scale" if scaled else ""
    return NonFiniteLossError(
        f"{_FINITE_RULE}Received: NaN or inf in the gradient of {path} {when}{least}"
    )


def _clear_image_error(values: list[str], when: str) -> Exception:
    finite, low, high = values
    if finite == "0":
        return NonFiniteLossError(
            f"{_PIXEL_RULE}Received: NaN or inf in the images {when}",
        )
    if float(low) >= -_PIXEL_TOLERANCE and float(high) <= 1:
        return ValueError(
            f"{_PIXEL_RULE}These look scaled already. "
            f"Received: pixels from {low} to {high} in the whole first batch, {when}"
        )
    return ValueError(f"{_PIXEL_RULE}Received: pixels from {low} to {high} {when}")


def _assert(kind: str, condition: tf.Tensor, *data: tf.Tensor) -> list[tf.Operation]:
    # tf.debugging.Assert would wrap it in a conditional, and has another message in eager mode.
    check = tf.raw_ops.Assert(condition=condition, data=[f"{_MARKER} {kind}", *data], summarize=8)
    return [] if check is None else [check]
