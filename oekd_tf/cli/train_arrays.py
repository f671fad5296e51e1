"""Trains what a config file describes on NumPy arrays, on any backend of Keras.

    KERAS_BACKEND=jax oekd train_arrays --config=configs/cifar100_resnet110.py \\
        --arrays=cifar100.npz --workdir=runs/cifar100_resnet110
    KERAS_BACKEND=jax oekd train_arrays --arrays=mine.npz --config.epochs=100
    KERAS_BACKEND=jax oekd train_arrays --arrays=mine.npz --config.only_student=5

The file holds x_train, y_train, x_test and y_test, as keras.datasets gives them. Run again with the
same workdir it resumes from the last checkpoint. TensorFlow need not be installed; the trained
network, ensemble.keras in the workdir, is exported where it is.

All fields of a config, with default and meaning: oekd train_arrays --helpfields
"""

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.native_output import quiet_native_output
from oekd_tf.core.signals import importing
from oekd_tf.core.streams import say

_CONFIG = command_line.ConfigFlag(own_data=True)
_ARRAYS = flags.DEFINE_string("arrays", None, "The .npz file of the images and labels.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/<config.name> if not given."
)


def main() -> None:
    flags.mark_flag_as_required("arrays")
    command_line.run(_train, doc=__doc__, config=_CONFIG)


def _train() -> None:
    config = _CONFIG.value
    workdir = _WORKDIR.value or f"runs/{config.name}"
    say(f"training {config.name!r} in {workdir}")
    # Where TensorFlow is installed Keras loads it, and it speaks.
    with quiet_native_output(), importing():
        from oekd_tf.training import train_arrays

    train_arrays(config, _ARRAYS.value, workdir, say)


if __name__ == "__main__":
    main()
