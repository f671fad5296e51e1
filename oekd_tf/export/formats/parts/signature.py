"""SavedModels of one signature, which files are converted from or which are delivered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

SIGNATURE = "serve"


def write_converter_input(network: Any, path: str | Path, batch_size: int | None = 1) -> None:
    """Writes the SavedModel that TFLite and ONNX convert: raw float32 images to logits.

    Args:
        network: Float32 student of `plain_student`, or a tf_keras model.
        path: Folder to write.
        batch_size: Batch size of the file that is made of it; None leaves it free.
    """

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": network(images, training=False)}

    spec = tf.TensorSpec((batch_size, *network.input_shape[1:]), tf.float32, name="images")
    write_signature(path, serve, spec)


def write_signature(
    path: str | Path, function: Callable[[tf.Tensor], dict[str, tf.Tensor]], spec: tf.TensorSpec
) -> None:
    """Writes a function as a SavedModel, under `serve` and `serving_default`.

    Args:
        path: Folder to write.
        function: Function from a batch of images to the outputs by name.
        spec: Shape, type and name of the batch.
    """
    module = tf.Module()
    module.serve = tf.function(function, input_signature=[spec], autograph=False)
    signature = module.serve.get_concrete_function()
    # Holding the variables alone, not the layers, writes in a third of the time of `model.export`.
    module.variables_ = list(signature.variables)
    tf.saved_model.save(
        module,
        str(path),
        signatures={SIGNATURE: signature, "serving_default": signature},
        # Swish has a gradient of its own; tracing it for every layer takes as long as the rest.
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
