"""The end of a training does not wait for what reads ahead."""

import subprocess
import sys

import small_runs

# On one core, where a tuning thread of tf.data holds an iterator for as long as it has lived.
CODE = """
import os, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
from oekd_tf.data import load

images, labels = np.zeros((256, 8, 8, 3), np.uint8), np.arange(256) % 2
data = load({"train": (images, labels), "test": (images, labels)})
for batches in (data.train(32, seed=0), data.validation(8).repeat()):
    iterator = iter(batches)
    start = time.monotonic()
    while time.monotonic() < start + 2.8:
        next(iterator)
    start = time.monotonic()
    del iterator
    print(time.monotonic() - start)
"""


def test_an_iterator_is_freed_at_once():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=200, check=False,
        env=small_runs.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # It took 2.3 s with tuning on.
    assert max(map(float, done.stdout.split())) < 1
