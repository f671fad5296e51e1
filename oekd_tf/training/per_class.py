"""How a run's networks do on each class of the test split."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict

from oekd_tf.core import classes
from oekd_tf.core.files import temporary_path
from oekd_tf.core.records import ClassScores, PerClass
from oekd_tf.models.online_ensemble import OnlineEnsemble

CONFUSION = "confusion.npz"

# Digits of shares in summary.json.
_DIGITS = 6


def confusions(config: ConfigDict, data: Any, model: keras.Model) -> dict[str, np.ndarray]:
    """Confusion matrices of all networks on the test split.

    Args:
        config: The run's config.
        data: The data set.
        model: The trained ensemble, or the student, on one device.

    Returns:
        By name, "student_1" and so on and "teacher", matrices of `oekd_tf.classes.confusion`.
    """
    found: dict[str, np.ndarray] = {}
    for images, labels in _each(data.test(min(config.batch_size, data.num_test))):
        outputs = model.predict_on_batch(images)
        if not isinstance(model, OnlineEnsemble):
            outputs = {model.name: outputs}
        for name, logits in outputs.items():
            matrix = classes.confusion(
                np.asarray(logits).argmax(-1), np.asarray(labels), data.num_classes
            )
            found[name] = found.get(name, 0) + matrix
    return found


def save_confusions(matrices: dict[str, np.ndarray], workdir: Path) -> None:
    """Writes the matrices to a run's folder."""
    with temporary_path(workdir / CONFUSION) as partial, partial.open("wb") as file:
        arrays: dict[str, Any] = dict(matrices)
        np.savez_compressed(file, **arrays)


def per_class(data: Any, matrices: dict[str, np.ndarray]) -> PerClass:
    """The entry of `summary.json`.

    Args:
        data: The data set.
        matrices: From `confusions`.

    Returns:
        Recall of each class, and what follows from it, by network.
    """
    first = next(iter(matrices.values()))
    # Labels that are in files alone are not read once more for a report.
    at_hand = data.labels_at_hand or "class_counts" in vars(data) or "memory" in data.held
    return {
        "class_names": list(data.class_names),
        "train_examples": data.class_counts.tolist() if at_hand else None,
        "test_examples": first.sum(axis=1).tolist(),
        "networks": {name: _scores(matrix, data.class_names) for name, matrix in matrices.items()},
    }


def _scores(matrix: np.ndarray, names: Sequence[str]) -> ClassScores:
    recall = classes.recall(matrix)
    worst = classes.worst_class(recall)
    lowest = recall[worst]
    assert lowest is not None, "The worst class has images"
    return {
        "balanced_accuracy": round(classes.balanced_accuracy(recall), _DIGITS),
        "worst_class": names[worst],
        "worst_recall": round(lowest, _DIGITS),
        "recall": [None if one is None else round(one, _DIGITS) for one in recall],
    }


def _each(batches: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(batches, keras.utils.PyDataset):
        return (batches[index] for index in range(len(batches)))
    return iter(batches)
