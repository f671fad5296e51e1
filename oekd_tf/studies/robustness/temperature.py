"""Temperature scaling: one number that makes a classifier's probabilities honest."""

import numpy as np

from oekd_tf.studies.metrics import negative_log_likelihood

# Far beyond what networks need.
_LEAST, _MOST = 0.02, 50.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that logits are divided by for the best likelihood of the labels.

    Args:
        logits: Logits on validation images, (images, classes).
        labels: Class indices, (images,).

    Returns:
        The temperature, from 0.02 to 50; above 1 where the classifier is too sure of itself.

    Raises:
        ValueError: The arrays do not belong together, or a logit is not finite.

    Example:
        >>> probabilities = softmax(test_logits / fit_temperature(logits, labels))

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
        arXiv 1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    logits = np.asarray(logits, np.float64)
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite. Received: NaN or infinity")
    # The likelihood is a function of one minimum in 1/T, and so of its logarithm.
    found = minimize_scalar(
        lambda power: negative_log_likelihood(logits / np.exp(power), labels),
        bounds=(np.log(_LEAST), np.log(_MOST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))
