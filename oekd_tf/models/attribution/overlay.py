"""Integrated gradients laid over training images, as an augmentation."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from oekd_tf.core.choices import OVERLAY_SOURCES
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.losses import label_probabilities
from oekd_tf.methods.parts.progress import Progress
from oekd_tf.models.attribution.gradients import class_gradient, quadrature

# Maps are raised to a power from 1 to this one, drawn evenly on a logarithmic scale.
_LARGEST_POWER = 2.0


@keras.saving.register_keras_serializable("oekd_tf")
class IntegratedGradientsOverlay(keras.layers.Layer):
    """Shows students, in some training images, where the pseudo teacher or all of them look.

    A share of each batch becomes half the image and half its map: integrated gradients of the
    label's logit, summed over channels without their sign, to a random power from 1 to 2, then
    scaled from 0 to 255. Maps are of the images as they are augmented, so that each lies where it
    belongs; a copy of the network makes them, which is taken every few epochs. There is no overlay
    before the first copy, because what random weights look at is noise.

    The copy is part of the ensemble's checkpoints and of its `.keras` file, and of no student.
    Under TensorFlow only.

    Args:
        share: Share of a batch that is overlaid, above 0 and at most 1; at least one image.
        source: Whose logit: the "pseudo_teacher"'s, or the "ensemble"'s, the mean of all students'.
        refresh_epochs: Epochs from one copy to the next, at least 1.
        steps: Gradients of an image, at least 1: nodes of Gauss-Legendre quadrature.
        paired: Whether an image has its own map. With False it has another's of the share: a
            control that tells whether it matters where the map is from.
        seed: Random seed of the powers.
        name: Name of the layer.

    Raises:
        ValueError: An argument breaks its rule.

    Example:
        >>> overlay = oekd_tf.attribution.IntegratedGradientsOverlay(share=0.1, refresh_epochs=5)
        >>> ensemble = oekd_tf.OnlineEnsemble(backbone, (32, 32, 3), 10, overlay=overlay)

    Reference:
        Hernandez, Chang, Nordling, "Model compression using knowledge distillation with integrated
        gradients", arXiv 2506.14440, where maps are of one teacher that is trained before.
    """

    def __init__(
        self,
        share: float = 0.1,
        source: str = "pseudo_teacher",
        refresh_epochs: int = 5,
        steps: int = 8,
        paired: bool = True,
        seed: int = 0,
        *,
        name: str = "overlay",
        **kwargs: Any,
    ):
        super().__init__(name=name, trainable=False, **kwargs)
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1. Received: {share}")
        if source not in OVERLAY_SOURCES:
            raise ValueError(f"source must be one of {OVERLAY_SOURCES}. Received: {source!r}")
        for argument, value in (("refresh_epochs", refresh_epochs), ("steps", steps)):
            if value < 1:
                raise ValueError(f"{argument} must be at least 1. Received: {value}")
        self.share = float(share)
        self.source = source
        self.refresh_epochs = int(refresh_epochs)
        self.steps = int(steps)
        self.paired = bool(paired)
        self.seed = int(seed)

    def follow(self, students: Sequence[keras.Model], colour: Sequence[float]) -> None:
        """Makes the copy; called once, when the ensemble is made.

        Not Keras's `build`, which keeps its arguments: the students would be parts of this layer.

        Args:
            students: The functional models.
            colour: Of an image that is nothing to them, in pixel units, one number per channel.

        Raises:
            ValueError: Keras has another backend than TensorFlow.
        """
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "overlay must be None, unless Keras's backend is tensorflow. Received: an overlay "
                f"under {keras.backend.backend()}"
            )
        sources = list(students) if self.source == "ensemble" else [students[0]]
        variables = {id(v): v for student in sources for v in student.variables}
        floats = [v for v in variables.values() if keras.backend.is_float_dtype(v.dtype)]
        # In a function, where Keras does not find the students' layers as parts of this one.
        self._sources = lambda: (sources, floats)
        self._copies = [
            self.add_weight(
                shape=variable.shape,
                dtype=variable.dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                name=f"{variable.path.replace('/', '_')}_copy",
            )
            for variable in floats
        ]
        self._colour = tuple(float(value) for value in colour)
        self.built = True

    def on(self, images: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        """A batch with its share overlaid.

        Args:
            images: Raw pixels, (batch, height, width, channels), or with a view per student
                (batch, students, height, width, channels).
            labels: Class indices (batch,), or class probabilities (batch, classes).
            progress: How far training has come.

        Returns:
            Images of the same shape and type.
        """
        import tensorflow as tf

        images, labels = ops.convert_to_tensor(images), ops.convert_to_tensor(labels)
        shape = ops.shape(images)
        count = tf.cast(tf.round(self.share * tf.cast(shape[0], tf.float32)), tf.int32)
        count = tf.minimum(tf.maximum(count, 1), shape[0])

        def overlaid() -> Tensor:
            seen = images[:count]
            own = labels[:count]
            if len(images.shape) == 5:
                own = ops.repeat(own, images.shape[1], axis=0)
                seen = tf.reshape(seen, (-1, *images.shape[2:]))
            maps = self.maps(seen, own)
            if not self.paired:
                maps = ops.roll(maps, images.shape[1] if len(images.shape) == 5 else 1, axis=0)
            power = _LARGEST_POWER ** tf.random.stateless_uniform(
                (tf.shape(maps)[0],), (self.seed, tf.cast(progress.step, tf.int32))
            )
            mixed = tf.reshape(lay_over(seen, maps, power), tf.shape(images[:count]))
            return tf.concat([mixed, images[count:]], axis=0)

        found = tf.cond(progress.step >= self._between(progress), overlaid, lambda: images)
        return tf.ensure_shape(found, images.shape)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Where the copy looks: the sum over channels of |integrated gradients|.

        Args:
            images: Raw pixels, (images, height, width, channels).
            labels: Class indices or class probabilities.

        Returns:
            Float32, at least 0, (images, height, width).
        """
        import tensorflow as tf

        sources, variables = self._sources()
        values = [
            (v, ops.convert_to_tensor(c)) for v, c in zip(variables, self._copies, strict=True)
        ]

        def logits(points: Tensor) -> Tensor:
            with keras.StatelessScope(state_mapping=values, initialize_variables=False):
                found = [ops.cast(s(points, training=False), "float32") for s in sources]
            return sum(found) / len(found)

        colour = tf.constant(self._colour, tf.float32)
        away = tf.cast(images, tf.float32) - colour
        classes = sources[0].output_shape[-1]
        probabilities = label_probabilities(labels, classes)
        places, weights = np.array(list(quadrature(self.steps)), np.float32).T
        # All places in one batch: many small passes take several times as long.
        points = colour + places[:, None, None, None, None] * away
        shape = tf.shape(points)
        points = tf.reshape(points, (-1, *away.shape[1:]))
        gradients = class_gradient(logits, points, tf.tile(probabilities, (self.steps, 1)))
        mean = tf.tensordot(tf.constant(weights), tf.reshape(gradients, shape), axes=1)
        return tf.stop_gradient(tf.reduce_sum(tf.abs(away * mean), axis=-1))

    def finish_step(self, progress: Progress) -> None:
        """Takes a new copy after the last step of every `refresh_epochs` epochs.

        Args:
            progress: How far training has come, the step included.
        """
        _, variables = self._sources()
        step: Any = progress.step
        due = step % self._between(progress) == 0
        for variable, copy in zip(variables, self._copies, strict=True):
            # Not within a condition, in which replicas could not agree on a value.
            copy.assign(ops.where(due, ops.convert_to_tensor(variable), copy))

    def get_config(self) -> dict[str, Any]:
        names = ("share", "source", "refresh_epochs", "steps", "paired", "seed")
        own = {name: getattr(self, name) for name in names}
        return {**own, "name": self.name}

    def get_build_config(self) -> None:
        """The ensemble builds the overlay, from its students."""

    def _between(self, progress: Progress) -> Any:
        """Steps from one copy to the next."""
        if progress.steps_per_epoch is None:
            raise ValueError(
                "The number of steps in an epoch must be known for an overlay that is refreshed "
                "every few epochs: call plan(steps_per_epoch, epochs). Received: None"
            )
        step: Any = progress.step
        return ops.cast(self.refresh_epochs * progress.steps_per_epoch, step.dtype)


def lay_over(images: Tensor, maps: Tensor, power: Tensor) -> Tensor:
    """Half of each image and half of its map, as grey from 0 to 255.

    Args:
        images: Raw pixels, (images, height, width, channels).
        maps: At least 0, (images, height, width).
        power: What each map is raised to, (images,), before it is scaled from its least value to
            its largest. A map of one value is black.

    Returns:
        Images of the same shape and type; whole numbers are rounded.
    """
    import tensorflow as tf

    largest = tf.reduce_max(maps, axis=(1, 2), keepdims=True)
    sharp = tf.math.divide_no_nan(maps, largest) ** power[:, None, None]
    least = tf.reduce_min(sharp, axis=(1, 2), keepdims=True)
    scaled = tf.math.divide_no_nan(sharp - least, 1.0 - least)
    mixed = 0.5 * tf.cast(images, tf.float32) + 127.5 * scaled[..., None]
    whole = keras.backend.is_int_dtype(images.dtype)
    return tf.cast(tf.round(mixed) if whole else mixed, images.dtype)
