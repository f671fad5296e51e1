"""Exports the features of a run's students as TFLite files, for retrieval.

    oekd embeddings --workdir=runs/demo
    oekd embeddings --workdir=runs/demo --output=embeddings/demo --students=student_5

Each file takes raw images and gives the features that the student's classifier would have been
given. `embeddings.json` beside them says how close they are to the Keras student's: the cosine
similarity, and how many test images have the same nearest neighbour.
"""

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.streams import say
from oekd_tf.training.workdir import require_run

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder to make; that of the run's export, with _embeddings, if unset."
)
_FORMATS = flags.DEFINE_list(
    "formats", ["float32", "int8"], "Among float32, float16, dynamic, int8, uint8 and int16x8."
)
_STUDENTS = flags.DEFINE_list("students", [], "Names of those to export; all if unset.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the run's data are now, if they moved.")


def main() -> None:
    flags.mark_flag_as_required("workdir")
    command_line.run(_export, doc=__doc__)


def _export() -> None:
    require_run(_WORKDIR.value)
    command_line.quiet_tensorflow()
    from oekd_tf.training.embeddings import export_embeddings_of_run

    export_embeddings_of_run(
        _WORKDIR.value,
        _OUTPUT.value,
        [name.strip() for name in _FORMATS.value],
        [name.strip() for name in _STUDENTS.value],
        _DATA_DIR.value,
        say,
    )


if __name__ == "__main__":
    main()
