"""Whether a classifier notices images that are of none of its classes."""

import numpy as np

from oekd_tf.device.predictions import probabilities


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the curve of true against false positives of a score.

    It is the probability that a random image of the data set has a higher score than a random one
    of another; ties count half.

    Args:
        inside: Scores of images of the data set, (images,).
        outside: Scores of other images, (others,).

    Returns:
        From 0 to 1; 0.5 for a score that tells nothing.

    Raises:
        ValueError: There is no score.

    Example:
        >>> auroc([0.9, 0.8], [0.1, 0.8])
        0.875
    """
    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    if inside.ndim != 1 or outside.ndim != 1 or not len(inside) or not len(outside):
        raise ValueError(
            "inside and outside must be scores, at least one each. "
            f"Received: shapes {inside.shape} and {outside.shape}"
        )
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    above = ranks.sum() - len(inside) * (len(inside) + 1) / 2
    return float(above / (len(inside) * len(outside)))


def top_probability(logits: np.ndarray) -> np.ndarray:
    """The probability of the top class as a score.

    Args:
        logits: Logits, (images, classes).

    Returns:
        Scores, (images,).

    Reference:
        Hendrycks, Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution
        Examples", ICLR 2017, arXiv 1610.02136.
    """
    return probabilities(logits).max(-1)


def negative_energy(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of the logits' exponentials as a score.

    Args:
        logits: Logits, (images, classes).

    Returns:
        Scores, (images,).

    Reference:
        Liu, Wang, Owens, Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020,
        arXiv 2010.03759.
    """
    logits = np.asarray(logits, np.float64)
    most = logits.max(-1)
    return most + np.log(np.exp(logits - most[:, None]).sum(-1))


def phase_noise(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Images of noise that has each image's colours and frequencies, and none of its shapes.

    The phases of an image's Fourier transform are moved by those of white noise, the same for all
    channels.

    Args:
        images: Raw pixels, uint8, (images, height, width, channels).
        seed: Random seed.

    Returns:
        Images, uint8, of the same shape.
    """
    random = np.random.default_rng(seed)
    white = random.normal(size=(*images.shape[:3], 1))
    moved = np.exp(1j * np.angle(np.fft.fft2(white, axes=(1, 2))))
    # The mean stays.
    moved[:, 0, 0] = 1
    pixels = np.fft.ifft2(np.fft.fft2(images, axes=(1, 2)) * moved, axes=(1, 2)).real
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
