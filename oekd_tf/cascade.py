"""Two students in a cascade: the larger is asked only where the smaller is not sure.

    python -m oekd_tf.cascade --exports=savedmodels/demo --workdir=runs/demo \\
        --cascade=student_5,student_1 --format=int8 --max_accuracy_drop=0.005

finds, on the run's validation split, the threshold of the smaller student's top probability
under which the cascade is cheapest while its accuracy stays within --max_accuracy_drop of the
larger student's; says what it does on the test split, where nothing was chosen; and writes it
into the export's manifest, where oekd_tf.classify finds it. A student's cost is its FLOPs, or its
median latency on --device.

The functions need numpy only; the binary needs TensorFlow, for the data.
"""

from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oekd_tf.device.predictions import probabilities

# Above any probability: the larger student is asked about every image.
ALWAYS_ASK = 2.0


class Operation(NamedTuple):
    """What a cascade does on some images at one threshold.

    Attributes:
        threshold: The larger student is asked where the smaller's top probability is below it.
        accuracy: Of 1.
        mean_cost: An image's, in the unit of the students' costs.
        share_asked: Share of images about which the larger student was asked.
    """

    threshold: float
    accuracy: float
    mean_cost: float
    share_asked: float


def evaluate_cascade(
    threshold: float,
    small_logits: np.ndarray,
    large_logits: np.ndarray,
    labels: np.ndarray,
    small_cost: float,
    large_cost: float,
) -> Operation:
    """What a cascade does on some images.

    Args:
        threshold: The larger student is asked where the smaller's top probability is below it.
        small_logits: The smaller student's, (images, classes).
        large_logits: The larger student's.
        labels: Class indices, (images,).
        small_cost: Of the smaller student, an image.
        large_cost: Of the larger student, an image; an image it is asked about costs both.

    Returns:
        Accuracy, mean cost and share asked.

    Raises:
        ValueError: The arrays do not belong together.

    Example:
        >>> evaluate_cascade(0.8, small_logits, large_logits, labels, 1.5e6, 18.7e6).accuracy
    """
    small_logits, large_logits, labels = _checked(small_logits, large_logits, labels)
    asked = probabilities(small_logits).max(-1) < threshold
    answers = np.where(asked, large_logits.argmax(-1), small_logits.argmax(-1))
    share = float(asked.mean())
    accuracy = float((answers == labels).mean())
    return Operation(float(threshold), accuracy, small_cost + share * large_cost, share)


def curve(
    small_logits: np.ndarray,
    large_logits: np.ndarray,
    labels: np.ndarray,
    small_cost: float,
    large_cost: float,
) -> list[Operation]:
    """What a cascade does at every threshold that makes a difference, the cheapest first.

    The first never asks the larger student, the last always does; those between lie halfway
    between two of the smaller student's top probabilities.

    Args:
        small_logits: As of `evaluate_cascade`, like the others.
        large_logits: The larger student's.
        labels: Class indices.
        small_cost: Of the smaller student.
        large_cost: Of the larger student.

    Returns:
        By rising threshold, and so by rising cost.
    """
    small_logits, large_logits, labels = _checked(small_logits, large_logits, labels)
    sure = probabilities(small_logits).max(-1)
    order = np.argsort(sure, kind="stable")
    sure, labels = sure[order], labels[order]
    small_right = small_logits[order].argmax(-1) == labels
    large_right = large_logits[order].argmax(-1) == labels
    count = len(labels)
    # Of those that are least sure, the first `asked` go to the larger student.
    asked = np.array([0, *(np.flatnonzero(np.diff(sure)) + 1), count])
    gained = np.concatenate([[0], np.cumsum(large_right.astype(int) - small_right.astype(int))])
    right = small_right.sum() + gained[asked]
    between = asked[1:-1]
    # Rounding may put the middle of two neighbours on the lower one, which would not be asked.
    halfway = np.maximum(
        (sure[between - 1] + sure[between]) / 2, np.nextafter(sure[between - 1], 2)
    )
    thresholds = [0.0, *halfway, ALWAYS_ASK]
    return [
        Operation(float(threshold), int(r) / count, small_cost + a / count * large_cost, a / count)
        for threshold, r, a in zip(thresholds, right, asked.tolist(), strict=True)
    ]


def choose_threshold(
    small_logits: np.ndarray,
    large_logits: np.ndarray,
    labels: np.ndarray,
    small_cost: float,
    large_cost: float,
    max_accuracy_drop: float = 0.0,
) -> Operation:
    """The cheapest threshold at which a cascade is nearly as accurate as the larger student.

    Choose it on validation data: on the images it was chosen on, a cascade looks better than it
    is.

    Args:
        small_logits: As of `evaluate_cascade`, like the others.
        large_logits: The larger student's.
        labels: Class indices.
        small_cost: Of the smaller student.
        large_cost: Of the larger student.
        max_accuracy_drop: By how much the accuracy may be below the larger student's, of 1.

    Returns:
        The threshold and what the cascade does with it on these images. There always is one: a
        cascade that always asks is as accurate as the larger student.

    Example:
        >>> choose_threshold(small_logits, large_logits, labels, 1.5e6, 18.7e6, 0.005).threshold
    """
    if not 0 <= max_accuracy_drop <= 1:
        raise ValueError(f"max_accuracy_drop must be from 0 to 1. Received: {max_accuracy_drop}")
    operations = curve(small_logits, large_logits, labels, small_cost, large_cost)
    # Accuracies are counts over a number of images: what is above rounding is a whole image.
    least = operations[-1].accuracy - max_accuracy_drop - 1e-9
    return next(operation for operation in operations if operation.accuracy >= least)


def _checked(
    small_logits: np.ndarray, large_logits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    small_logits, large_logits = np.asarray(small_logits), np.asarray(large_logits)
    labels = np.asarray(labels)
    shapes = small_logits.shape, large_logits.shape, labels.shape
    if (
        len(shapes[0]) != 2
        or not len(labels)
        or shapes[0] != shapes[1]
        or shapes[2] != shapes[0][:1]
    ):
        raise ValueError(
            "Both students' logits must be (images, classes) and labels (images,), not empty. "
            f"Received: {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    return small_logits, large_logits, labels


def main(argv: Sequence[str] | None = None) -> None:
    from oekd_tf.device import command_line

    parser = command_line.Parser("cascade", __doc__)
    parser.add_argument("--exports", required=True, help="an export's folder")
    parser.add_argument("--workdir", required=True, help="the folder of the run it is from")
    parser.add_argument(
        "--cascade", type=command_line.names, required=True, help="two students, small first"
    )
    parser.add_argument("--format", default="int8", help="of both students")
    parser.add_argument(
        "--max_accuracy_drop", type=command_line.share, default=0.0, help="0.005 or 0.5%%"
    )
    parser.add_argument("--device", help="count its latencies as cost, instead of FLOPs")
    parser.add_argument("--threads", type=command_line.positive_integer, default=1)
    command_line.run(parser, _find, argv)


def _find(flags: Namespace) -> None:
    from oekd_tf.device.exported import find_file, read_export, update_manifest, verified_path
    from oekd_tf.device.tflite_model import TfliteModel
    from oekd_tf.report import markdown_table

    if len(set(flags.cascade)) != 2:
        raise ValueError(
            "--cascade must name two students, the smaller first. "
            f"Received: {','.join(flags.cascade)}"
        )
    manifest = read_export(flags.exports)
    files = [find_file(manifest, name, flags.format) for name in flags.cascade]
    if not files[0].is_tflite:
        raise ValueError(f"--format must be a TFLite format. Received: {flags.format}")
    costs, unit = _costs(flags, manifest, files)
    if costs[0] >= costs[1]:
        raise ValueError(
            "--cascade must name the student that costs less first. Received: "
            f"{flags.cascade[0]} at {costs[0]:g} {unit}, {flags.cascade[1]} at {costs[1]:g}"
        )
    paths = [verified_path(flags.exports, file) for file in files]
    models = [TfliteModel(path, flags.threads) for path in paths]
    splits = _splits(Path(flags.workdir))
    results = {}
    chosen = None
    for split, (images, labels) in splits.items():
        print(f"{split}: {len(labels)} images")
        logits = [model.logits(images) for model in models]
        if chosen is None:
            chosen = choose_threshold(*logits, labels, *costs, flags.max_accuracy_drop)
        together = evaluate_cascade(chosen.threshold, *logits, labels, *costs)
        alone = [float((each.argmax(-1) == labels).mean()) for each in logits]
        results[split] = {
            "images": len(labels),
            "small_accuracy": alone[0],
            "large_accuracy": alone[1],
            "accuracy": together.accuracy,
            "mean_cost": together.mean_cost,
            "share_asked": together.share_asked,
        }
    entry = {
        "threshold": chosen.threshold,
        "max_accuracy_drop": flags.max_accuracy_drop,
        "cost": unit,
        "small_cost": costs[0],
        "large_cost": costs[1],
        "sha256": [file.facts["sha256"] for file in files],
        **results,
    }
    key = f"{','.join(flags.cascade)}/{flags.format}"
    update_manifest(
        flags.exports, lambda manifest: manifest.setdefault("cascades", {}).update({key: entry})
    )
    print(f"\n{markdown_table(_rows(flags.cascade, entry))}\n")
    print(f"{key}: asks {flags.cascade[1]} where the top probability is below {chosen.threshold:g}")
    if results["test"]["mean_cost"] >= costs[1]:
        print(f"{flags.cascade[1]} alone costs no more: this cascade saves nothing")


def _costs(flags: Namespace, manifest: dict, files: list) -> tuple[list[float], str]:
    """What each student costs an image, and the unit."""
    from oekd_tf.device.measurements import choose_device, median_ms

    if not flags.device:
        return [float(file.student["flops"]) for file in files], "FLOPs"
    device = choose_device(manifest, flags.device)
    costs = [median_ms(manifest, file, device, flags.threads) for file in files]
    for file, cost in zip(files, costs, strict=True):
        if cost is None:
            raise ValueError(
                f"Latencies must have been measured: run python -m oekd_tf.bench first. Received: "
                f"none of {file.key} on {device} with --threads={flags.threads}"
            )
    return costs, f"ms on {device}, threads: {flags.threads}"


def _splits(workdir: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of a run's validation and test split."""
    path = workdir / "config.json"
    if not path.exists():
        raise ValueError(f"A workdir must hold a run's config.json. Received: {workdir}")
    if find_spec("tensorflow") is None:
        raise ValueError(
            "Choosing a threshold needs the run's data, and so TensorFlow. "
            "Received: an environment without it"
        )
    from oekd_tf.command_line import quiet_tensorflow

    quiet_tensorflow()
    from oekd_tf import config
    from oekd_tf.training import load_data

    data = load_data(config.from_json(path.read_text()))
    if not data.num_validation or not data.num_test:
        raise ValueError(
            "A cascade needs a validation split to choose on and a test split to tell what it "
            f"does. Received: {data.splits_summary()}"
        )
    return {"validation": data.validation_arrays(), "test": data.test_arrays()}


def _rows(names: Sequence[str], entry: dict[str, Any]) -> list[dict[str, str]]:
    scale, unit = (1e-6, "MFLOPs") if entry["cost"] == "FLOPs" else (1.0, entry["cost"])
    validation, test = entry["validation"], entry["test"]
    columns = (
        (f"{names[0]} alone", "small_accuracy", entry["small_cost"], 0.0),
        (f"{names[1]} alone", "large_accuracy", entry["large_cost"], 1.0),
        ("cascade", "accuracy", test["mean_cost"], test["share_asked"]),
    )
    return [
        {
            "": name,
            "validation accuracy %": f"{100 * validation[accuracy]:.2f}",
            "test accuracy %": f"{100 * test[accuracy]:.2f}",
            f"mean {unit}": f"{scale * cost:.3f}",
            f"asks {names[1]} %": f"{100 * asked:.1f}",
        }
        for name, accuracy, cost, asked in columns
    ]


if __name__ == "__main__":
    main()
