"""Evaluates a run of a study: writes its test logits, and what made them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core import machine
from oekd_tf.core.errors import RecordError
from oekd_tf.core.files import temporary_path, write_text
from oekd_tf.core.json_files import read_json
from oekd_tf.core.records import Evaluation
from oekd_tf.training.summary import read_summary

EVALUATION = "evaluation.json"
LOGITS = "test_logits.npz"


def evaluate_run(folder: str | Path, commit: str | None = None) -> None:
    """Evaluates a finished run: writes `test_logits.npz`, then `evaluation.json`.

    Args:
        folder: Folder of the run; its newest checkpoint is that of the last epoch.
        commit: Commit of the code that trained it.

    Raises:
        ConfigError: The folder holds no finished run.
    """
    from oekd_tf.models.online_ensemble import OnlineEnsemble
    from oekd_tf.training import restore_run

    folder = Path(folder)
    config, data, model = restore_run(folder)
    print("taking the logits of the test split ...", flush=True)
    logits: dict[str, list[np.ndarray]] = {}
    labels = []
    for images, batch_labels in data.test(config.batch_size):
        outputs = model.predict_on_batch(images)
        if not isinstance(model, OnlineEnsemble):
            outputs = {model.name: outputs}
        for name, values in outputs.items():
            logits.setdefault(name, []).append(np.asarray(values, np.float32))
        labels.append(batch_labels.numpy())
    arrays: dict[str, Any] = {"labels": np.concatenate(labels)}
    arrays |= {name: np.concatenate(values) for name, values in logits.items()}
    with temporary_path(folder / LOGITS) as partial:
        np.savez(partial, **arrays)
    summary = read_summary(folder)
    evaluation: Evaluation = {
        "config": config.to_dict(),
        "summary": summary,
        "image_shape": list(data.image_shape),
        "num_classes": data.num_classes,
        "curves": read_curves(folder / "metrics.csv"),
        "commit": commit,
        "machine": machine.machine(),
        "versions": machine.versions(),
    }
    # Last, because this file marks a finished run.
    write_text(folder / EVALUATION, json.dumps(evaluation, indent=1) + "\n")


def read_evaluation(folder: str | Path) -> Evaluation:
    """Reads what `evaluate_run` wrote.

    Args:
        folder: Folder of the run.

    Raises:
        RecordError: There is no such file, or a field is not what it must be.
    """
    path = Path(folder) / EVALUATION
    try:
        return read_json(path, Evaluation, "a run's evaluation", RecordError)
    except FileNotFoundError:
        raise RecordError(f"A finished run must hold {EVALUATION}. Received: {folder}") from None


def read_curves(path: str | Path) -> dict[str, list[float]]:
    """Loss and accuracies by epoch.

    Args:
        path: Path of the run's `metrics.csv`.

    Returns:
        Values of each column, "epoch" first; accuracies from 0 to 1.
    """
    from oekd_tf.training.callbacks.metrics_csv import read_metrics

    rows = read_metrics(path)
    columns = [name for name in (rows[0] if rows else {}) if _is_curve(name)]
    curves: dict[str, list[float]] = {"epoch": [int(row["epoch"]) for row in rows]}
    for row in rows:
        for name in columns:
            if not math.isfinite(float(row[name] or "nan")):
                raise RecordError(
                    f"{path} must have a finite {name} of each epoch. Received: "
                    f"{row[name] or 'none'} of epoch {row['epoch']}"
                )
    # Six digits are more than a picture shows, and a third of the file.
    curves |= {name: [float(f"{float(row[name]):.6g}") for row in rows] for name in columns}
    return curves


def _is_curve(name: str) -> bool:
    return name in ("loss", "val_loss") or name.endswith("accuracy")


def is_curve_alone(name: str) -> bool:
    """Whether a column is one of a student trained alone."""
    return name in ("epoch", "loss", "val_loss", "accuracy", "val_accuracy")
