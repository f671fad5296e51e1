"""The rule of class indices, for every way in by which labels come."""

from typing import Any

import numpy as np

# Labels are held in 32 bits, with a sign; a number of classes, one more, must fit too.
_LARGEST = 2**31 - 2


def class_indices(
    labels: Any,
    num_classes: int | None = None,
    name: str = "Labels",
    error: type[ValueError] = ValueError,
) -> np.ndarray:
    """Labels as class indices in 32 bits, none of which has changed its value.

    Whole numbers in a float type are taken, as Keras takes them.

    Args:
        labels: Class indices, (examples,) or (examples, 1).
        num_classes: Number of classes; None if it is not known.
        name: What they are called in errors.
        error: Class of the error.

    Returns:
        Class indices in int32, (examples,).

    Raises:
        ValueError: A label is not a whole number from 0 to the last class, or there is not one
            for each example: one-hot rows, booleans, text. The message names the first of them.

    Example:
        >>> class_indices([0, 2, 3], 3)  # Labels must be ... Received: 3 at index 2
    """
    found = np.asarray(labels)
    last = "on" if num_classes is None else f"to {num_classes - 1}"
    rule = f"{name} must be class indices, whole numbers from 0 {last}, one an example"
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        rows = found.ndim == 2 and found.dtype.kind in "biuf"
        hint = "; of one-hot rows take labels.argmax(-1)" if rows else ""
        raise error(f"{rule}{hint}. Received: shape {found.shape}")
    if found.dtype.kind not in "iuf":
        shown = f", {_short(found[0])} at index 0" if len(found) else ""
        raise error(f"{rule}. Received: type {found.dtype.name}{shown}")
    # Half precision does not hold the largest; NaN fails all comparisons.
    numbers = found.astype(np.float64) if found.dtype.kind == "f" else found
    good = (numbers >= 0) & (numbers <= (_LARGEST if num_classes is None else num_classes - 1))
    if found.dtype.kind == "f":
        good &= numbers == np.floor(numbers)
    if not good.all():
        first = int(np.argmin(good))
        absent = "; -1 is TFDS's sign for no label" if found[first] == -1 else ""
        raise error(f"{rule}. Received: {found[first]} at index {first}{absent}")
    return found.astype(np.int32)


def count_classes(
    labels: np.ndarray, name: str = "Labels", error: type[ValueError] = ValueError
) -> int:
    """The number of classes that labels imply: the largest and one more.

    Args:
        labels: Class indices of the training examples, from `class_indices`.
        name: What they are called in errors.
        error: Class of the error.

    Returns:
        The number of classes.

    Raises:
        ValueError: More of these classes are without an example than with one, as where labels
            are numbers of another kind, or a single one is wrong.

    Example:
        >>> count_classes(np.array([0, 1, 4, 2]))
        5
    """
    there = np.unique(labels)
    classes = int(there[-1]) + 1
    without = classes - len(there)
    if without > len(there):
        raise error(
            f"{name} must be numbered from 0 on without wide gaps, or the number of classes be "
            f"given. Received: {there[-1]} at index {int(np.argmax(labels))}, and "
            f"{without:,} of {classes:,} classes without an example"
        )
    return classes


def are_rows(labels: Any, num_classes: int) -> bool:
    """Whether labels are rows of class probabilities, as `fit` takes them too."""
    shape = np.shape(labels)
    return len(shape) == 2 and shape[1] == num_classes > 1


def _short(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:40]} ..."
