"""Whether two networks look at the same places."""

import numpy as np


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of the maps of each image.

    Args:
        maps: Maps of one network, (images, height, width), as of `saliency`.
        others: Maps of another network, of the same images.

    Returns:
        From -1 to 1 for each image, (images,); 0 where a map is the same everywhere.

    Raises:
        ValueError: The maps are not of the same images.

    Example:
        >>> rank_correlation([[[1.0, 2.0, 3.0]]], [[[10.0, 30.0, 20.0]]])
        array([0.5])
    """
    maps, others = np.asarray(maps, np.float64), np.asarray(others, np.float64)
    if maps.ndim != 3 or maps.shape != others.shape:
        raise ValueError(
            "maps and others must both be (images, height, width) of the same images. "
            f"Received: shapes {maps.shape} and {others.shape}"
        )
    if not len(maps):
        return np.zeros(0)
    from scipy.stats import rankdata

    first, second = (
        rankdata(one.reshape(len(one), -1), axis=1) - (one[0].size + 1) / 2
        for one in (maps, others)
    )
    lengths = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return np.where(lengths > 0, (first * second).sum(1) / np.where(lengths > 0, lengths, 1), 0.0)
