"""How far training has come, for weights that change with it."""

import dataclasses

from keras import ops

from oekd_tf.core.types import Tensor

SCHEDULES = ("constant", "linear", "sigmoid", "fade")


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far training has come.

    In evaluation, and where nothing is known of the step, training counts as finished: every
    ramp is at its end.

    Attributes:
        step: Steps of the optimizer so far, a number or a scalar tensor; None is finished.
        steps_per_epoch: Steps in an epoch; None where it is not known.
        epochs: Number of epochs of the whole training; None where it is not known.

    Example:
        >>> float(Progress(step=5, steps_per_epoch=10, epochs=4).linear(epochs=1.0))
        0.5
    """

    step: Tensor | None = None
    steps_per_epoch: int | None = None
    epochs: int | None = None

    @property
    def finished(self) -> bool:
        """Whether ramps are at their end."""
        return self.step is None

    @property
    def epoch(self) -> Tensor:
        """Epochs so far, with the part of the one under way.

        Raises:
            ValueError: The number of steps in an epoch is not known.
        """
        if self.step is None:
            return self._known("epochs")
        return ops.cast(self.step, "float32") / self._known("steps_per_epoch")

    @property
    def fraction(self) -> Tensor:
        """Share of the whole training that is done, from 0 to 1.

        Raises:
            ValueError: The length of the training is not known.
        """
        if self.step is None:
            return 1.0
        return ops.minimum(self.epoch / self._known("epochs"), 1.0)

    def linear(self, epochs: float) -> Tensor:
        """A share that rises in a line from 0 to 1 over the first epochs.

        Args:
            epochs: Number of epochs, at least 0; 0 is no rise.

        Returns:
            A scalar from 0 to 1; the number 1 where there is no rise.

        Raises:
            ValueError: The number of steps in an epoch is not known.
        """
        if self.step is None or not epochs:
            return 1.0
        steps = round(epochs * self._known("steps_per_epoch"))
        if not steps:
            return 1.0
        return ops.minimum(ops.cast(self.step, "float32") / steps, 1.0)

    def schedule(self, name: str, share: float) -> Tensor:
        """A share of a weight that depends on how much of the training is done.

        Args:
            name: One of `SCHEDULES`: "constant"; "linear" and "sigmoid" rise to 1; "fade" falls in
                a line from 1 to 0.
            share: Share of all epochs after which it is at its end.

        Returns:
            A scalar from 0 to 1; the number 1 where it is constant.

        Raises:
            ValueError: The length of the training is not known.

        Example:
            >>> float(Progress(step=1, steps_per_epoch=1, epochs=4).schedule("fade", 0.5))
            0.5
        """
        if name == "constant":
            return 1.0
        if name == "sigmoid":
            return self.sigmoid(share)
        done = 1.0 if self.step is None else ops.minimum(self.fraction / share, 1.0)
        return 1.0 - done if name == "fade" else done

    def sigmoid(self, share: float) -> Tensor:
        """The ramp exp(−5 (1 − p)²), where p rises from 0 to 1 over a share of the training.

        Args:
            share: Share of all epochs after which the ramp is at 1; 0.27 is the 80 epochs of 300
                that ONE, OKDDip and PCL use.

        Returns:
            A scalar from exp(−5) = 0.0067 to 1.

        Raises:
            ValueError: The length of the training is not known.

        Source: Laine and Aila, https://arxiv.org/abs/1610.02242, section 2.1.
        """
        if self.step is None or not share:
            return 1.0
        done = ops.minimum(self.fraction / share, 1.0)
        return ops.exp(-5.0 * ops.square(1.0 - done))

    def _known(self, what: str) -> float:
        value = getattr(self, what)
        if value is None:
            raise ValueError(
                "A weight that changes with the epoch needs the length of the training: `fit` "
                "tells it where the data set's size or steps_per_epoch is known, "
                f"`ensemble.plan(steps_per_epoch, epochs)` always. Received: {what}=None"
            )
        return value
