import copy
import json

import pytest

WIDTHS = {1: (1.0, 1000, 40_000), 2: (0.5, 300, 12_000), 3: (0.25, 100, 5_000)}

# Accuracies by method and student, one a seed.
ACCURACIES = {
    ("ensemble", 0): {1: (0.70, 0.71, 0.72), 2: (0.60, 0.61, 0.62), 3: (0.52, 0.53, 0.52)},
    ("alone", 1): {1: (0.70, 0.70, 0.73)},
    ("alone", 2): {2: (0.62, 0.63, 0.64)},
    ("alone", 3): {3: (0.50, 0.50, 0.50)},
    ("offline", 3): {3: (0.51, 0.51, 0.51)},
    ("mutual", 3): {3: (0.50, 0.52, 0.51)},
    ("mutual", 2): {2: (0.60, 0.62, 0.61)},
    ("offline", 2): {2: (0.61, 0.62, 0.64)},
    ("hot", 0): {1: (0.70, 0.70, 0.70), 2: (0.66, 0.66, 0.66), 3: (0.53, 0.53, 0.53)},
}
SECONDS = {"ensemble": 60.0, "alone": 20.0, "offline": 25.0, "mutual": 50.0, "hot": 61.0}
BINS = [[0, 0.0, 0.0]] * 13 + [[400, 0.9, 0.5], [600, 0.95, 0.7]]


def record(method, student, seed):
    accuracies = ACCURACIES[method, student]
    students = []
    for number, values in accuracies.items():
        width, parameters, flops = WIDTHS[number]
        students.append(
            {
                "name": f"student_{number}", "width": width, "parameters": parameters,
                "flops": flops, "accuracy": values[seed], "nll": 1.0 + seed, "ece": 0.05,
                "reliability": BINS, "agreement": 0.8,
            }
        )  # fmt: skip
    names = ["accuracy"] if student else [f"student_{n}_accuracy" for n in accuracies]
    curves = {"epoch": [1, 2]}
    for name in names:
        curves |= {name: [0.2, 0.4], f"val_{name}": [0.3, 0.5]}
    teacher = {"accuracy": 0.75, "nll": 0.8, "ece": 0.02, "reliability": BINS}
    return {
        "method": method, "seed": seed, "student": student, "epochs": 2, "steps": 20,
        "replicas": 1, "train_seconds": SECONDS[method], "data": "some images",
        "image_shape": [8, 8, 3], "num_classes": 10, "test_images": 1000, "commit": "c0ffee",
        "versions": {"keras": "3"}, "students": students,
        "teacher": None if student else teacher, "curves": curves,
    }  # fmt: skip


@pytest.fixture
def results():
    """A study of three seeds, whose figures are set by hand."""
    from oekd_tf import config as config_module

    config = config_module.default_config()
    config.name = "three"
    config.epochs = 2
    config.ensemble.widths = tuple(width for width, _, _ in WIDTHS.values())
    keys = [(method, student) for method, student in ACCURACIES]
    return copy.deepcopy(
        {
            "schema": 1,
            "name": "three",
            "command": "python -m oekd_tf.compare --seeds=3",
            "config": json.loads(config_module.to_json(config)),
            "methods": {
                "ensemble": {}, "alone": {}, "offline": {}, "mutual": {},
                "hot": {"loss.temperature": 8.0},
            },
            "int8_bytes": {"width 1, 1000, 40000": 4000, "width 0.25, 100, 5000": None},
            "runs": [record(*key, seed) for key in keys for seed in (0, 1, 2)],
        }
    )  # fmt: skip
