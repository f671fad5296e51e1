"""Batch normalisation in what belongs to a method."""

import keras
from keras import layers


def batch_norm(name: str) -> layers.BatchNormalization:
    """A batch normalisation over the whole batch, in float32, whatever the number of replicas.

    Args:
        name: Name of the layer.

    Returns:
        The layer, with PyTorch's momentum, in which the methods' codes are written.
    """
    return layers.BatchNormalization(
        momentum=0.9,
        epsilon=1e-5,
        dtype="float32",
        # Under JAX a step sees the whole batch, and Keras has no such argument.
        synchronized=keras.backend.backend() == "tensorflow",
        name=name,
    )
