"""Trains what a config file describes on arrays, on any backend of Keras.

    KERAS_BACKEND=jax python -m oekd_tf.train_arrays --config=configs/cifar100_resnet110.py \\
        --arrays=cifar100.npz --workdir=runs/cifar100_resnet110

The file holds x_train, y_train, x_test and y_test, as keras.datasets gives them. Started again with
the same workdir it goes on where it stopped. TensorFlow need not be installed; the trained network,
ensemble.keras in the workdir, is exported where it is.
"""

from absl import flags
from ml_collections import config_flags

from oekd_tf import command_line
from oekd_tf.config import find_config

with command_line.naming_fields():
    _CONFIG = config_flags.DEFINE_config_file(
        "config", find_config("configs/demo.py"), "Config file.", lock_config=True
    )
_ARRAYS = flags.DEFINE_string("arrays", None, "The .npz file of the images and labels.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; runs/<config.name> if unset.")


def main() -> None:
    flags.mark_flag_as_required("arrays")
    command_line.run(_train)


def _train() -> None:
    config = _CONFIG.value
    workdir = _WORKDIR.value or f"runs/{config.name}"
    print(f"training {config.name!r} in {workdir}", flush=True)
    from oekd_tf.array_training import train_arrays

    train_arrays(config, _ARRAYS.value, workdir)


if __name__ == "__main__":
    main()
