"""Exports every student of a finished run.

python -m oekd_tf.export --workdir=runs/demo --output=savedmodels/demo
"""

from absl import flags

from oekd_tf import command_line
from oekd_tf.config import FORMATS

_WORKDIR = flags.DEFINE_string("workdir", None, "A run's folder.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Where to export to; the config's if unset.")
_FORMATS = flags.DEFINE_list("formats", list(FORMATS), f"Among {', '.join(FORMATS)}.")
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace an export that is there.")


def main() -> None:
    command_line.run(_export)


def _export() -> None:
    command_line.quiet_tensorflow()
    from oekd_tf.training import export_run

    export_run(_WORKDIR.value, _OUTPUT.value, tuple(_FORMATS.value), _OVERWRITE.value)


if __name__ == "__main__":
    main()
