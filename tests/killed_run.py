"""Starts `oekd_tf.train`, with SIGKILL, SIGTERM, SIGINT or a full disk at a given point of it.

    python tests/killed_run.py POINT COUNT --config=... --workdir=...

The process gets the real signal; only its moment is chosen here: at the COUNT-th passing of POINT.
"""

import functools
import os
import resource
import signal
import sys

from oekd_tf.cli.parts.flags import quiet_tensorflow

quiet_tensorflow()

from oekd_tf.cli import train  # noqa: E402
from oekd_tf.models.distributed import cluster  # noqa: E402
from oekd_tf.training import run  # noqa: E402
from oekd_tf.training.callbacks import (  # noqa: E402
    MetricsCsv,
    Preemption,
    checkpoint_files,
)

# Where, before or after what, and with what.
POINTS = {
    "before_the_log_line": (MetricsCsv, "on_epoch_end", signal.SIGKILL),
    "before_the_checkpoint": (checkpoint_files, "save", signal.SIGKILL),
    "within_the_checkpoint": (checkpoint_files, "sha256", signal.SIGKILL),
    "before_old_checkpoints_go": (checkpoint_files, "delete_old", signal.SIGKILL),
    "step": (Preemption, "on_train_batch_end", signal.SIGTERM),
    "step_killed": (Preemption, "on_train_batch_end", signal.SIGKILL),
    "step_ctrl_c": (Preemption, "on_train_batch_end", signal.SIGINT),
    "step_ctrl_c_twice": (Preemption, "on_train_batch_end", signal.SIGINT),
    "validation": (Preemption, "on_test_batch_end", signal.SIGTERM),
    "epoch_end": (Preemption, "on_epoch_end", signal.SIGTERM),
}


def save_weights():
    """Has each worker write its own weights after training, beside its workdir."""
    original = run.fit

    def fit(config, data, model, hosts, workdir, log):
        seconds = original(config, data, model, hosts, workdir, log)
        index = cluster.from_environment().index
        checkpoint_files.save(f"of_worker_{index}", model, checkpoint_files.Position(1))
        return seconds

    run.fit = fit


def arm(point, count):
    if point == "full_disk":
        # No file may grow beyond this: a checkpoint's weights do, a log does not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
        return
    if point == "weights":
        save_weights()
        return
    owner, name, number = POINTS[point]
    original = getattr(owner, name)
    passed = 0

    @functools.wraps(original)
    def armed(*arguments, **keywords):
        nonlocal passed
        passed += 1
        if passed == count:
            for _ in range(2 if point.endswith("twice") else 1):
                os.kill(os.getpid(), number)
        return original(*arguments, **keywords)

    setattr(owner, name, armed)


if __name__ == "__main__":
    point, count = sys.argv[1:3]
    del sys.argv[1:3]
    if point != "none":
        arm(point, int(count))
    train.main()
