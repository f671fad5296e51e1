"""Classifies image files with an exported student, or with two of them in a cascade.

    oekd classify --model=savedmodels/demo/student_5/int8.tflite shoe.jpg photos/
    oekd classify --exports=savedmodels/demo --cascade=student_5,student_1 shoe.jpg

In a cascade the second, larger student is asked only about images of which the first is not sure:
whose top probability is below the threshold that `oekd cascade` has found, or --threshold.
Needs numpy, ai-edge-litert, msgspec and pillow only.
"""

import dataclasses
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.cli.parts import device_flags as command_line
from oekd_tf.core.files import sha256
from oekd_tf.core.regular import irregular_kind
from oekd_tf.core.text import as_lines, printable
from oekd_tf.device.contract import Origin, read_origin
from oekd_tf.device.exported import find_file, read_export, verified_path
from oekd_tf.device.manifest import LABELS
from oekd_tf.device.pictures import check_pillow, image_files, read_image
from oekd_tf.device.predictions import probabilities, read_labels, top_predictions
from oekd_tf.device.tflite_model import TfliteModel


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_line.Parser("classify", __doc__)
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument("--model", help="a TFLite file")
    parser.add_argument("--cascade", type=command_line.names, help="two students, small first")
    parser.add_argument("--exports", help="the export's folder, with --cascade")
    parser.add_argument("--format", default="int8", help="of the cascade's students")
    parser.add_argument("--threshold", type=command_line.share, help="of the cascade")
    parser.add_argument("--top", type=command_line.positive_integer, default=5, help="classes")
    parser.add_argument(
        "--labels",
        help="a file of one label a line; labels.txt beside the model, or inside, if not given",
    )
    parser.add_argument("--threads", type=command_line.positive_integer, default=1)
    parser.add_argument(
        "--central_crop", type=command_line.positive_share,
        help="how much of the middle of an image of another size to take; as in training if not "
        "given",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object an image")
    command_line.run(parser, _classify, argv)


def _classify(flags: Namespace) -> None:
    paths, threshold = _models(flags)
    check_pillow()
    models = [TfliteModel(path, flags.threads) for path in paths.values()]
    classes = int(models[0].output["shape"][-1])
    first = next(iter(paths.values()))
    origin = read_origin(first)
    labels = read_labels(flags.labels, first, classes)
    alone = not flags.labels and not (first.parent / LABELS).exists()
    if alone and origin is not None and len(origin.class_names) == classes:
        labels = origin.class_names
    if origin is not None:
        _refuse_others(flags, first, models[0], origin, labels)
    shape, crop = models[0].image_shape, _crop(flags, first, origin)
    failed, others = False, Counter[str]()
    for given in flags.images:
        try:
            files, left_out = image_files(given)
        except (ValueError, OSError) as error:
            failed = _complain(error)
            continue
        others += left_out
        for path in files:
            try:
                image = read_image(path, shape, crop)
            except ValueError as error:
                failed = _complain(error)
                continue
            answered, logits = ask(models, image, threshold)
            _say(flags, path, list(paths)[answered], top_predictions(logits, labels, flags.top))
    if others:
        kinds = ", ".join(f"{count:,} {name}" for name, count in others.most_common())
        print(f"left out, not of a format that is read: {kinds}", file=sys.stderr)
    if failed:
        raise SystemExit(1)


def _refuse_others(
    flags: Namespace, path: Path, model: TfliteModel, origin: Origin, labels: Sequence[str]
) -> None:
    """Raises if a file or its labels are not those of the manifest or card beside it."""
    if origin.sha256 and sha256(path) != origin.sha256:
        raise ValueError(
            "--model must be the file that the manifest or card beside it says, or lie elsewhere. "
            f"Received: {path}, of another SHA-256"
        )
    names = as_lines(origin.class_names).splitlines()
    if not flags.labels and (path.parent / LABELS).exists() and list(labels) != names:
        raise ValueError(
            "labels.txt must have the class names of the manifest or card; --labels takes others. "
            f"Received: {path.parent / LABELS}, with others"
        )
    if origin.contract and tuple(origin.contract["image_shape"]) != tuple(model.image_shape):
        raise ValueError(
            "--model must take the images that its manifest, card or contract says, "
            f"{origin.contract['image_shape']}. Received: {path}, for {list(model.image_shape)}"
        )


def _crop(flags: Namespace, model: Path, origin: Origin | None) -> float | None:
    """Share of the center crop of pictures of another size; None for whole pictures."""
    if flags.central_crop is not None:
        return flags.central_crop
    contract = None if origin is None else origin.contract
    if contract is not None and contract["preparation"] is not None:
        return contract["preparation"]["crop"]
    print(
        f"How pictures became inputs in training is not known for {model}: assuming that of a "
        "picture of another shape the center was taken; --central_crop=0.875 takes less of it",
        file=sys.stderr,
    )
    return 1.0


def ask(
    models: Sequence[TfliteModel], image: np.ndarray, threshold: float
) -> tuple[int, np.ndarray]:
    """Runs the models of a cascade until one is confident.

    Args:
        models: Models, the cheapest first.
        image: Raw pixels, (height, width, channels).
        threshold: Top probability below which the next model runs.

    Returns:
        Index of the last model that ran, and its logits, (classes,).
    """
    last = len(models) - 1
    for number, model in enumerate(models):
        logits = model.logits(image[None])[0]
        if number == last or probabilities(logits).max() >= threshold:
            return number, logits
    raise ValueError("There must be at least one model. Received: none")


def _models(flags: Namespace) -> tuple[dict[str, Path], float]:
    """Paths of the models by name, and the threshold of the cascade."""
    if bool(flags.model) == bool(flags.cascade):
        raise ValueError(
            "Either --model or --cascade must be given. "
            f"Received: {'both' if flags.model else 'neither'}"
        )
    if flags.model:
        if not Path(flags.model).is_file():
            found = "a folder" if Path(flags.model).is_dir() else irregular_kind(flags.model)
            raise ValueError(
                "--model must be a TFLite file, such as student_1/int8.tflite of an export. "
                f"Received: {flags.model}, which is {found or 'not there'}"
            )
        return {flags.model: Path(flags.model)}, 0.0
    if len(flags.cascade) != 2 or not flags.exports:
        raise ValueError(
            "--cascade must name two students, and --exports their folder. Received: "
            f"--cascade={','.join(flags.cascade)} --exports={flags.exports or ''}"
        )
    manifest = read_export(flags.exports)
    files = [find_file(manifest, name, flags.format) for name in flags.cascade]
    key = f"{','.join(flags.cascade)}/{flags.format}"
    threshold = flags.threshold
    if threshold is None:
        known = manifest.get("cascades", {})
        if key not in known:
            raise ValueError(
                "A cascade's threshold must be found first, by oekd cascade, or given "
                f"as --threshold. Received: {key}, known: {', '.join(known) or 'none'}"
            )
        if known[key]["sha256"] != [file.facts["sha256"] for file in files]:
            raise ValueError(
                "A cascade's threshold must be found for these very files: run oekd cascade "
                f"again. Received: that of other files of {key}"
            )
        threshold = known[key]["threshold"]
    paths = {file.student["name"]: verified_path(flags.exports, file) for file in files}
    return paths, threshold


def _say(flags: Namespace, path: Path, name: str, predictions: list) -> None:
    if flags.json:
        answer = {"image": printable(path), "model": name}
        print(json.dumps({**answer, "predictions": [dataclasses.asdict(p) for p in predictions]}))
        return
    who = f" ({name})" if flags.cascade else ""
    answers = ", ".join(f"{printable(p.label)} {p.probability:.1%}" for p in predictions)
    _print(f"{printable(path)}{who}: {answers}")


def _complain(error: Exception) -> bool:
    _print(f"error: {printable(error)}", sys.stderr)
    return True


def _print(line: str, file: Any = None) -> None:
    """Prints a line on a terminal of any encoding."""
    file = file or sys.stdout
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=file)


if __name__ == "__main__":
    main()
