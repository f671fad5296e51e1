"""Size of networks: numbers of parameters and of floating-point operations."""

import math

import keras


def count_parameters(model: keras.Model) -> int:
    """Number of trainable parameters, without moving statistics of batch normalisation."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def count_flops(*models: keras.Model) -> int:
    """Number of floating-point operations for one image, two for each multiply-add.

    Convolutions, also depthwise and grouped ones, and dense layers count; normalisation,
    activations, additions and pooling, a few percent in all, do not. Papers often report
    multiply-adds (MACs): half of this number.

    Args:
        *models: Functional models with known image size; a layer that several share counts once.

    Returns:
        The number of operations.

    Example:
        >>> count_flops(ensemble.students[0])
        >>> count_flops(*ensemble.students)  # the stem once
    """
    layers = {id(layer): layer for model in models for layer in model.layers}
    return sum(map(_layer_flops, layers.values()))


def _layer_flops(layer: keras.Layer) -> int:
    if isinstance(layer, keras.Model):
        return count_flops(layer)
    if isinstance(layer, keras.layers.SeparableConv2D):
        outputs = math.prod(layer.output.shape[1:3])
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return 2 * outputs * kernels
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        # Grouped kernels hold only the weights that are used, so they need no special case.
        return 2 * math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return 2 * math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    return 0
