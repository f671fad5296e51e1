"""Trains, evaluates and exports what a config file describes.

    python -m oekd_tf.train --config=configs/demo.py --workdir=runs/demo

Started again with the same workdir it goes on where it stopped. `--config.field=value` overrides
a field of the config.
"""

from absl import flags
from ml_collections import config_flags

from oekd_tf import command_line
from oekd_tf.config import find_config

with command_line.naming_fields():
    _CONFIG = config_flags.DEFINE_config_file(
        "config", find_config("configs/demo.py"), "Config file.", lock_config=True
    )
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; runs/<config.name> if unset.")


def main() -> None:
    command_line.run(_train)


def _train() -> None:
    config = _CONFIG.value
    workdir = _WORKDIR.value or f"runs/{config.name}"
    print(f"training {config.name!r} in {workdir}", flush=True)
    command_line.quiet_tensorflow()
    from oekd_tf.training import train

    train(config, workdir)


if __name__ == "__main__":
    main()
