"""How far a file's answers are from the student's, and whether that is too far."""

from collections.abc import Mapping, Sequence

import numpy as np

from oekd_tf.core import classes
from oekd_tf.core.records import Comparison
from oekd_tf.export.formats import Format


def compare(logits: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> Comparison:
    """A file's logits against the Keras student's and the labels.

    Args:
        logits: Logits of the file, (images, classes).
        reference: Logits of the Keras student on the same images, (images, classes).
        labels: Class indices, (images,).

    Returns:
        Shares from 0 to 1, and the largest difference.

    Example:
        >>> compare(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]), np.array([1]))
        {'accuracy': 1.0, 'agreement': 1.0, 'largest_logit_difference': 1.0}
    """
    if not np.isfinite(logits).all():
        # Every other figure would be of no use.
        return {"accuracy": 0.0, "agreement": 0.0, "largest_logit_difference": float("inf")}
    top = logits.argmax(-1)
    return {
        "accuracy": float((top == labels).mean()),
        "agreement": float((top == reference.argmax(-1)).mean()),
        "largest_logit_difference": float(np.abs(logits - reference).max()),
    }


def class_recall(logits: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """Share of each class's images that have it on top.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).

    Returns:
        Shares from 0 to 1; None for a class without an image.
    """
    return classes.recall(classes.confusion(logits.argmax(-1), labels, logits.shape[-1]))


# Of fewer images a class's recall says little.
_LEAST_IMAGES = 10


def class_refusal(
    recall: Sequence[float | None],
    reference: Sequence[float | None],
    images: Sequence[int],
    names: Sequence[str],
    form: Format,
    limit: float,
) -> str | None:
    """Why a file may not be delivered because of one class, if so.

    Args:
        recall: The file's recall of each class.
        reference: The Keras student's.
        images: Number of test images of each class; classes of fewer than 10 are passed over.
        names: Names of the classes.
        form: Format of the file.
        limit: Largest difference by which a recall may be below the student's, from 0 to 1.

    Returns:
        The reason, which names the class that lost most; None if it may.

    Example:
        >>> class_refusal([1.0, 0.5], [1.0, 0.9], [50, 50], ["cat", "dog"], form, 0.1)
        'its recall of class dog must be at most 10 points below ...'
    """
    drops = [
        (before - after, index)
        for index, (after, before) in enumerate(zip(recall, reference, strict=True))
        if after is not None and before is not None and images[index] >= _LEAST_IMAGES
    ]
    # Exact shares must not fail by a rounding error.
    drop, worst = max(drops, default=(0.0, 0))
    if drop <= limit + 1e-9:
        return None
    return (
        f"its recall of class {names[worst]} must be at most {100 * limit:g} points below the "
        f"Keras student's {reference[worst]:.2%}; {form.advice}. Received: {recall[worst]:.2%} of "
        f"{images[worst]} test images"
    )


def refusal(
    found: Comparison,
    reference: float,
    form: Format,
    limits: Mapping[str, Mapping[str, float]],
) -> str | None:
    """Why a file may not be delivered, if so.

    Args:
        found: Comparison of the file with the Keras student.
        reference: Test accuracy of the Keras student, from 0 to 1.
        form: Format of the file, whose own limits hold where none is given.
        limits: "max_accuracy_drop" and "min_agreement", each by name of the format.

    Returns:
        The reason; None if it may.
    """
    if not np.isfinite(found["largest_logit_difference"]):
        return f"its logits must be finite; {form.advice}. Received: NaN or infinity"
    drop = limits["max_accuracy_drop"].get(form.name, form.max_accuracy_drop)
    # A bound that the accuracies meet exactly must not fail by a rounding error.
    if not found["accuracy"] >= reference - drop - 1e-9:
        return (
            f"its test accuracy must be at most {100 * drop:g} points below the Keras student's "
            f"{reference:.2%}; {form.advice}. Received: {found['accuracy']:.2%}"
        )
    agreement = limits["min_agreement"].get(form.name, form.min_agreement)
    if not found["agreement"] >= agreement:
        return (
            f"it must have the Keras student's top class on at least {agreement:.1%} of the test "
            f"images; {form.advice}. Received: {found['agreement']:.1%}"
        )
    return None
