"""Exports the students of a finished run.

    oekd export --workdir=runs/demo --output=savedmodels/demo --formats=float32,int8
    oekd export --workdir=runs/demo --formats=qat_int8 --set=fine_tuning.epochs=10
    oekd export --workdir=runs/demo --output=savedmodels/two --students=student_2,student_5
    oekd export --workdir=runs/demo --overwrite --rescue
    oekd export --workdir=runs/demo --overwrite --set=export.calibration_images=1000

`--rescue` adds a file `mixed.tflite` for students that lose too much in int8: the layers that lose
most stay in float32 or int16. `--set=export.calibration_images=1000` changes a field of the run's
config that has to do with the export (`export.*`, `fine_tuning.*`); it can be given several times.
"""

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.streams import say
from oekd_tf.export.formats import DEFAULT_FORMATS, RULE, parse

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
_OUTPUT = flags.DEFINE_string("output", None, "Where to export to; the config's if unset.")
_FORMATS = flags.DEFINE_list(
    "formats",
    None,
    f"Each {RULE}. The config's if unset, or {', '.join(DEFAULT_FORMATS)} if it names none.",
)
_STUDENTS = flags.DEFINE_list("students", [], "Names of those to export; all if unset.")
_OVERWRITE = flags.DEFINE_boolean("overwrite", None, "Replace an export that is there.")
_RESCUE = flags.DEFINE_boolean(
    "rescue", False, "Also write mixed: int8, with the layers that lose most in float32 or int16."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the run's data are now, if they moved.")
_SET = flags.DEFINE_multi_string("set", [], "FIELD=VALUE of the config, export.* or fine_tuning.*.")


def main() -> None:
    flags.mark_flag_as_required("workdir")
    command_line.run(_export, doc=__doc__)


def _export() -> None:
    formats = None if _FORMATS.value is None else tuple(_FORMATS.value)
    for name in formats or ():
        parse(name)
    for text in _SET.value:
        if "=" not in text:
            raise ValueError(f"--set must be FIELD=VALUE. Received: {text!r}")
    fields = dict(text.partition("=")[::2] for text in _SET.value)
    command_line.quiet_tensorflow(fine_tunes=True)
    from oekd_tf.training import export_run

    export_run(
        _WORKDIR.value,
        _OUTPUT.value,
        formats,
        _OVERWRITE.value,
        fields,
        _DATA_DIR.value,
        say,
        rescue=_RESCUE.value,
        students=[name.strip() for name in _STUDENTS.value],
    )


if __name__ == "__main__":
    main()
