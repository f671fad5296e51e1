"""Finds when a cascade of two students should ask the larger one.

    oekd cascade --exports=savedmodels/demo --workdir=runs/demo \\
        --cascade=student_5,student_1 --format=int8 --max_accuracy_drop=0.005

finds, on the run's validation split, the threshold of the smaller student's top probability
under which the cascade is cheapest while its accuracy stays within --max_accuracy_drop of the
larger student's; says what it does on the test split, where nothing was chosen, and whether it
costs clearly more accuracy there than it may; and writes it into the export's manifest, where
`oekd classify` finds it. A student's cost is its FLOPs, or its median latency on --device.

Needs TensorFlow, for the data.
"""

from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.cli.parts import device_flags as command_line
from oekd_tf.core.records import Manifest
from oekd_tf.core.tables import markdown_table
from oekd_tf.device.cascade import (
    Operation,
    PairedDrop,
    choose_threshold,
    evaluate_cascade,
    paired_drop,
)
from oekd_tf.device.exported import (
    ExportedFile,
    find_file,
    read_export,
    update_manifest,
    verified_path,
)
from oekd_tf.device.measurements import choose_device, median_ms
from oekd_tf.device.tflite_model import TfliteModel


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_line.Parser("cascade", __doc__)
    parser.add_argument("--exports", required=True, help="an export's folder")
    parser.add_argument("--workdir", required=True, help="the folder of the run it is from")
    parser.add_argument("--data_dir", help="where the run's data are now, if they moved")
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
    splits = _splits(Path(flags.workdir), flags.data_dir, manifest)
    results: dict[str, dict[str, Any]] = {}
    drops: dict[str, PairedDrop] = {}
    small_cost, large_cost = costs
    chosen: Operation | None = None
    for split, (images, labels) in splits.items():
        print(f"{split}: {len(labels)} images")
        small, large = (model.logits(images) for model in models)
        if chosen is None:
            chosen = choose_threshold(
                small, large, labels, small_cost, large_cost, flags.max_accuracy_drop
            )
        together = evaluate_cascade(chosen.threshold, small, large, labels, small_cost, large_cost)
        alone = [float((each.argmax(-1) == labels).mean()) for each in (small, large)]
        results[split] = {
            "images": len(labels),
            "small_accuracy": alone[0],
            "large_accuracy": alone[1],
            "accuracy": together.accuracy,
            "mean_cost": together.mean_cost,
            "share_asked": together.share_asked,
        }
        drops[split] = paired_drop(chosen.threshold, small, large, labels)
        results[split] |= drops[split]._asdict()
    assert chosen is not None, "A threshold is chosen on the first split"
    entry: Any = {
        "threshold": chosen.threshold,
        "max_accuracy_drop": flags.max_accuracy_drop,
        "cost": unit,
        "small_cost": small_cost,
        "large_cost": large_cost,
        "sha256": [file.facts["sha256"] for file in files],
        **results,
    }
    key = f"{','.join(flags.cascade)}/{flags.format}"
    update_manifest(
        flags.exports, lambda manifest: manifest.setdefault("cascades", {}).update({key: entry})
    )
    print(f"\n{markdown_table(_rows(flags.cascade, entry))}\n")
    print("\n".join(_drop_lines(flags.cascade[1], flags.max_accuracy_drop, drops, results)))
    print(f"{key}: asks {flags.cascade[1]} where the top probability is below {chosen.threshold:g}")
    if results["test"]["mean_cost"] >= costs[1]:
        print(f"{flags.cascade[1]} alone costs no more: this cascade saves nothing")


def _drop_lines(
    large: str,
    allowed: float,
    drops: dict[str, PairedDrop],
    results: dict[str, dict[str, Any]],
) -> list[str]:
    """What the validation split promises of accuracy, and what the test split says to it."""
    promised, found = drops["validation"], drops["test"]
    lines = [
        f"validation promises a drop of {100 * promised.drop:.2f} points from {large} alone, of "
        f"{100 * allowed:.2f} allowed",
        f"test: a drop of {100 * found.drop:.2f} points, 95 % interval [{100 * found.low:.2f}, "
        f"{100 * found.high:.2f}]; of {results['test']['images']:,} images {found.lost} lost, "
        f"{found.won} won",
    ]
    if found.low > allowed:
        lines.append(
            "Remark: the test drop is clearly larger than allowed. The validation split may hold "
            "images that are nearly those of training, such as frames of one video: split by group."
        )
    elif found.drop > allowed:
        lines.append("Remark: the test drop is larger than allowed, which may be chance.")
    return lines


def _costs(
    flags: Namespace, manifest: Manifest, files: Sequence[ExportedFile]
) -> tuple[list[float], str]:
    """Costs of the students per image, and their unit."""
    if not flags.device:
        return [float(file.student["flops"]) for file in files], "FLOPs"
    device = choose_device(manifest, flags.device)
    costs = []
    for file in files:
        cost = median_ms(manifest, file, device, flags.threads)
        if cost is None:
            raise ValueError(
                f"No latency of {file.key} was measured on {device} with --threads="
                f"{flags.threads}. Run: oekd bench --exports={flags.exports} --device={device}"
            )
        costs.append(cost)
    return costs, f"ms on {device}, threads: {flags.threads}"


def _splits(
    workdir: Path, data_dir: str | None, manifest: Manifest
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of a run's validation and test split."""
    if find_spec("tensorflow") is None:
        raise ValueError(
            "Choosing a threshold needs the run's data, and so TensorFlow. "
            "Received: an environment without it"
        )
    from oekd_tf.cli.parts.flags import quiet_tensorflow
    from oekd_tf.training.workdir import require_run

    require_run(workdir)
    quiet_tensorflow()
    from oekd_tf.training import load_data_of_run, read_config

    data = load_data_of_run(workdir, read_config(workdir), data_dir)
    if not data.num_validation or not data.num_test:
        raise ValueError(
            "A cascade needs a validation split to choose on and a test split to tell what it "
            f"does. Received: {data.splits_summary()}"
        )
    contract = manifest.get("contract")
    if contract is not None and contract["splits"] is not None:
        own = data.contract
        if (contract["class_names"], contract["splits"]) != (own["class_names"], own["splits"]):
            raise ValueError(
                "--workdir must be the run that the export is from. Received: "
                f"{workdir}, whose classes or splits are others"
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
