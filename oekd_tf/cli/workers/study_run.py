"""Trains and evaluates one run of a study in a worker process.

    python -m oekd_tf.cli.workers.study_run --config_json=config.json --workdir=runs/study/seed_0

`oekd compare` starts it; started again it resumes.
"""

import os
from pathlib import Path

from absl import flags

from oekd_tf import config as config_module
from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core import machine
from oekd_tf.core.processes import end_with_parent

_CONFIG = flags.DEFINE_string("config_json", None, "File of the run's config.")
_WORKDIR = flags.DEFINE_string("workdir", None, "As of oekd_tf.train.")
_CORES = flags.DEFINE_list("cores", [], "Numbers of those to train on; all if unset.")


def main() -> None:
    end_with_parent()
    flags.mark_flags_as_required(["config_json", "workdir"])
    command_line.run(_work)


def _work() -> None:
    if _CORES.value:
        # Before TensorFlow counts them.
        os.sched_setaffinity(0, [int(core) for core in _CORES.value])
    command_line.quiet_tensorflow()
    from oekd_tf.studies.evaluate_run import evaluate_run
    from oekd_tf.training import train
    from oekd_tf.training.workdir import run_folder

    config = config_module.from_json(Path(_CONFIG.value).read_text())
    # Before training, because files may have changed when it ends.
    commit = machine.commit()
    train(config, _WORKDIR.value)
    offline = bool(config.teacher_workdir)
    evaluate_run(run_folder(_WORKDIR.value, config.only_student, offline=offline), commit)


if __name__ == "__main__":
    main()
