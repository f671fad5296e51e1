"""How large a network is: parameters and floating-point operations."""

import math

import keras


def count_parameters(model: keras.Model) -> int:
    """Trainable parameters; the moving statistics of batch normalisation do not count."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def count_flops(model: keras.Model) -> int:
    """Floating-point operations for one image: two for each multiply-add.

    Convolutions, depthwise and grouped ones too, and dense layers count; normalisation,
    activations, additions and pooling, a few percent in all, do not. The field's tables often
    give multiply-adds, half of this.

    Args:
        model: A functional model with known image size.

    Returns:
        The number of operations.

    Example:
        >>> count_flops(ensemble.students[0])
    """
    return sum(_layer_flops(layer) for layer in model.layers)


def _layer_flops(layer: keras.Layer) -> int:
    if isinstance(layer, keras.Model):
        return count_flops(layer)
    if isinstance(layer, keras.layers.SeparableConv2D):
        outputs = math.prod(layer.output.shape[1:3])
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return 2 * outputs * kernels
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        # A kernel holds each output channel's weights once, so groups need no case of their own.
        return 2 * math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return 2 * math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    return 0
