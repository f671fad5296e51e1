"""How far a file's answers are from the student's, and whether that is too far."""

from collections.abc import Mapping

import numpy as np

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
    top = logits.argmax(-1)
    return {
        "accuracy": float((top == labels).mean()),
        "agreement": float((top == reference.argmax(-1)).mean()),
        "largest_logit_difference": float(np.abs(logits - reference).max()),
    }


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
