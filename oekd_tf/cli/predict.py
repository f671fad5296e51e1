"""Stores a run's logits on its training images, for students that follow them.

    oekd predict --workdir=runs/wide --save_logits=wide.npz
    oekd train --config=mine.py --config.data.teacher_logits=wide.npz \\
        --config.method.arguments.teacher=stored --config.data.augmentation='()'

The second run then has the first one as a voice in its ensemble teacher, without its cost. Both
must be of the same training images, and the second without augmentation, because stored logits are
of images as they are.
"""

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.streams import say
from oekd_tf.training.workdir import require_run

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
_SAVE_LOGITS = flags.DEFINE_string("save_logits", None, "The .npz file to write.")
_NETWORK = flags.DEFINE_string(
    "network", "", "student_1 and so on, or teacher; student 1, or the one there is, if unset."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the run's data are now, if they moved.")


def main() -> None:
    flags.mark_flags_as_required(["workdir", "save_logits"])
    command_line.run(_predict, doc=__doc__)


def _predict() -> None:
    require_run(_WORKDIR.value)
    command_line.quiet_tensorflow()
    from oekd_tf.training.predict import predict_run

    predict_run(_WORKDIR.value, _SAVE_LOGITS.value, _NETWORK.value, _DATA_DIR.value, say)


if __name__ == "__main__":
    main()
