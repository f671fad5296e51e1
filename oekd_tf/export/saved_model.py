"""Students as SavedModel."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SIGNATURE = "serve"


def plain_student(student: keras.Model) -> keras.Model:
    """A copy of a student in float32, outside of any distribution strategy.

    Exports are then the same whatever precision and devices the student was trained with.

    Args:
        student: A functional model.

    Returns:
        A model of the same layers and weights.
    """

    def in_float32(operation: keras.Operation) -> keras.Operation:
        config = operation.get_config()
        if isinstance(operation, keras.Layer):
            config["dtype"] = "float32"
        return type(operation).from_config(config)

    # A compiled model's clone would be compiled too, of losses that Keras cannot always restore.
    graph = keras.Model(student.inputs[0], student.outputs[0], name=student.name)
    copy = keras.models.clone_model(graph, clone_function=in_float32)
    copy.set_weights(student.get_weights())
    return copy


def write_saved_model(student: keras.Model, path: str | Path) -> None:
    """Writes a SavedModel that takes raw images and gives logits and probabilities.

    The signature `serve`, also `serving_default`, takes `images`, uint8 of shape
    (batch, height, width, channels) with any batch size, and returns float32 `logits` and
    `probabilities`, (batch, classes).

    Args:
        student: From `plain_student`.
        path: The folder.
    """

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = student(tf.cast(images, tf.float32), training=False)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    spec = tf.TensorSpec((None, *student.input_shape[1:]), tf.uint8, name="images")
    _write(path, serve, spec)


def write_converter_input(
    student: keras.Model, path: str | Path, batch_size: int | None = 1
) -> None:
    """Writes the SavedModel that TFLite and ONNX convert: raw float32 images to logits.

    Args:
        student: From `plain_student`, or a tf_keras model.
        path: The folder.
        batch_size: Of the file that is made of it; None leaves it free.
    """

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": student(images, training=False)}

    spec = tf.TensorSpec((batch_size, *student.input_shape[1:]), tf.float32, name="images")
    _write(path, serve, spec)


def run_saved_model(path: str | Path, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Opens a SavedModel and runs its signature.

    Args:
        path: The folder.
        images: uint8, (images, height, width, channels).
        batch_size: Images at a time; the last batch may be smaller.

    Returns:
        Logits, (images, classes).
    """
    signature = tf.saved_model.load(str(path)).signatures[SIGNATURE]
    starts = range(0, len(images), batch_size)
    batches = (tf.constant(images[start : start + batch_size]) for start in starts)
    return np.concatenate([signature(images=batch)["logits"].numpy() for batch in batches])


def _write(path: str | Path, function: object, spec: tf.TensorSpec) -> None:
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
