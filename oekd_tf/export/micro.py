"""Runs an exported file in TensorFlow Lite Micro, on real images."""

from pathlib import Path

import numpy as np

from oekd_tf.core.records import MicroFacts
from oekd_tf.device import micro_model
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export.formats import Kind

# Where arithmetic is in integers, kernels that round otherwise are a step apart.
_MOST_STEPS = 1.0
# Of the largest logit, where it is in float.
_MOST_OF_FLOAT = 1e-3
_LEAST_IMAGES = 1


def run(
    kind: Kind, path: Path, images: np.ndarray, labels: np.ndarray, logits: np.ndarray, count: int
) -> MicroFacts | None:
    """Whether and how TensorFlow Lite Micro runs a file.

    Args:
        kind: What the file is.
        path: The file or folder.
        images: Raw pixels of the test images, (images, height, width, channels).
        labels: Their class indices, (images,).
        logits: What LiteRT gave with the file, (images, classes).
        count: Number of images to run, evenly spread over all; at least one is.

    Returns:
        Facts for the manifest; `unfit` says why it does not run there. None if the file is no
        TFLite file.

    Raises:
        ImportError: TensorFlow Lite Micro is not installed.

    Example:
        >>> run(formats.kind("int8"), path, test_images, test_labels, logits, 1000)["arena_bytes"]
    """
    facts: MicroFacts = {"runtime": micro_model.version()}
    try:
        model = kind.micro_model(path)
    except ValueError as error:
        return {**facts, "unfit": str(error).rpartition("of which it says: ")[2]}
    if model is None:
        return None
    count = min(max(count, _LEAST_IMAGES), len(images))
    # A split may be sorted by class.
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    images, labels, logits = images[chosen], labels[chosen], logits[chosen]
    found = model.logits(images)
    plain = TfliteModel(model.content, reference=True).logits(images)
    difference = float(np.abs(found - plain).max())
    if model.output_scale:
        # Steps are whole; what float32 adds to thousands of them says nothing.
        difference = round(difference / model.output_scale, 2)
        most, unit = _MOST_STEPS, "steps"
    else:
        most, unit = _MOST_OF_FLOAT * float(np.abs(plain).max()), "in logits"
    if not difference <= most:
        return {
            **facts,
            "unfit": f"its outputs differ by up to {difference:.3g} {unit} from those of LiteRT",
        }
    return {
        **facts,
        "arena_bytes": model.arena_bytes,
        "images": count,
        "accuracy": float((found.argmax(-1) == labels).mean()),
        "agreement": float((found.argmax(-1) == logits.argmax(-1)).mean()),
        "largest_difference": difference,
    }
