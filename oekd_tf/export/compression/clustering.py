"""Kernels of few different weights, with tensorflow-model-optimization.

Source: Han, Mao, Dally, "Deep Compression", https://arxiv.org/abs/1510.00149, section 3.
"""

from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras


def clusterable(twin: Any, clusters: int, keep_zeros: bool) -> Any:
    """A model whose kernels have few values each, which are trained.

    Depthwise kernels, biases, batch normalisation, and kernels of no more weights than clusters
    stay as they are.

    Args:
        twin: Model of `make_twin`; its layers are wrapped, so give a copy.
        clusters: Number of values that a kernel has.
        keep_zeros: Whether weights that are zero stay so; zero is then one of the values.

    Returns:
        A tf_keras model to train.
    """
    init = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS

    def wrap(layer: Any) -> Any:
        kind = type(layer).__name__
        if kind not in ("Conv2D", "Dense") or layer.kernel.shape.num_elements() <= clusters:
            return layer
        return _cluster(layer, clusters, init, keep_zeros)

    return tf_keras.models.clone_model(twin, clone_function=wrap)


def strip(model: Any) -> Any:
    """The model without what made it clusterable, its clustered weights in place."""
    return tfmot.clustering.keras.strip_clustering(model)


def clusters_by_layer(kernels: dict[str, np.ndarray]) -> dict[str, int]:
    """Number of different weights of each kernel.

    Args:
        kernels: Kernels by name of their layer.

    Returns:
        Counts, by name of the layer.

    Example:
        >>> clusters_by_layer({"conv": np.array([0.0, 1.0, 1.0])})
        {'conv': 2}
    """
    return {name: len(np.unique(kernel)) for name, kernel in kernels.items()}


def _cluster(layer: Any, clusters: int, init: Any, keep_zeros: bool) -> Any:
    if not keep_zeros:
        return tfmot.clustering.keras.cluster_weights(layer, clusters, init)
    # Keeping sparsity has no name in the package's public interface; its guide imports it so.
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

    return cluster.cluster_weights(layer, clusters, init, preserve_sparsity=True)
