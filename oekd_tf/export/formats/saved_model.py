"""A student as SavedModel, for TensorFlow and its servers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oekd_tf.core.records import KindFacts
from oekd_tf.export.formats.parts.base import ExactKind

if TYPE_CHECKING:
    import numpy as np

_BATCH = 256


class SavedModel(ExactKind):
    """A folder whose signature takes raw images and gives logits and probabilities."""

    order = 10
    file_name = "saved_model"
    converted = False

    def write(self, network: Any, path: Path) -> None:
        """Writes a SavedModel.

        The signature `serve`, also `serving_default`, takes `images`, uint8 of shape
        (batch, height, width, channels) with any batch size, and returns float32 `logits` and
        `probabilities`, (batch, classes).

        Args:
            network: Float32 student of `plain_student`, or a tf_keras model.
            path: Folder to write.
        """
        import tensorflow as tf

        from oekd_tf.export.formats.parts.signature import write_signature

        def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
            logits = network(tf.cast(images, tf.float32), training=False)
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

        spec = tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8, name="images")
        write_signature(path, serve, spec)

    def run(self, path: Path, images: "np.ndarray") -> tuple["np.ndarray", KindFacts]:
        """Opens a SavedModel and runs its signature.

        Args:
            path: The folder.
            images: Raw pixels, (images, height, width, channels).

        Returns:
            Logits, (images, classes), and no further facts.
        """
        import numpy as np
        import tensorflow as tf

        from oekd_tf.export.formats.parts.signature import SIGNATURE

        pixels = images.astype(np.uint8)
        signature = tf.saved_model.load(str(path)).signatures[SIGNATURE]
        starts = range(0, len(pixels), _BATCH)
        batches = (tf.constant(pixels[start : start + _BATCH]) for start in starts)
        return np.concatenate([signature(images=batch)["logits"].numpy() for batch in batches]), {}
