"""Logits of a finished run on its training images, stored for students that follow them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.errors import ConfigError
from oekd_tf.data.teacher_logits import save_logits
from oekd_tf.models.online_ensemble import OnlineEnsemble
from oekd_tf.training.restore import restore_run

_BATCH = 256


def predict_run(
    workdir: str | Path,
    output: str | Path,
    network: str = "",
    data_dir: str | Path | None = None,
    log: Callable[[str], None] = print,
) -> np.ndarray:
    """Writes a run's logits on its training images, as they are without augmentation.

    Args:
        workdir: Folder of a finished run, of an ensemble or of a student alone.
        output: The .npz file to write.
        network: "student_1" and so on, or "teacher", the ensemble teacher; student 1, or the one
            that was trained alone, if "".
        data_dir: Where the run's data are now; where they were if None.
        log: Called with each progress message.

    Returns:
        The logits, one row for each training example by its index, (examples, classes).

    Raises:
        ConfigError: The workdir holds no run, or there is no such network.
        OSError: The file cannot be written.
    """
    output = Path(output)
    if output.suffix != ".npz":
        raise ConfigError(f"--save_logits must end with .npz. Received: {str(output)!r}")
    if output.exists():
        raise ConfigError(f"--save_logits must not be there yet. Received: {str(output)!r}")
    _, data, model = restore_run(workdir, data_dir)
    predicted, name = _network(model, network)
    log(f"{name} on {data.num_train:,} training images of {data.name} ...")
    logits = None
    for examples, images in data.in_order(_BATCH).as_numpy_iterator():
        found = predicted(images)
        if logits is None:
            # Examples that are held out have rows of their own, which are not read.
            logits = np.zeros((data.num_examples, found.shape[-1]), np.float32)
        logits[examples] = found
    assert logits is not None, "There are training images"
    save_logits(output, logits, data)
    log(f"logits: {output}")
    return logits


def _network(model: Any, name: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    if not isinstance(model, OnlineEnsemble):
        if name not in ("", model.name):
            raise ConfigError(f"--network must be '' or {model.name!r}. Received: {name!r}")
        return model.predict_on_batch, model.name
    chosen = name or model.students[0].name
    if chosen not in model.output_names:
        raise ConfigError(
            f"--network must be '' or one of {', '.join(model.output_names)}. Received: {name!r}"
        )
    return lambda images: model.predict_on_batch(images)[chosen], chosen
