"""One file of an export: converted, written, opened again and run on real images."""

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import check, formats, manifest
from oekd_tf.export.errors import ExportError


class Job(NamedTuple):
    """What to make of a student. Of plain values only: jobs travel to other processes.

    Attributes:
        student: Its name.
        format_name: Of `oekd_tf.export.formats`.
        source: What `write_converter_input` wrote.
        path: The file to write; for "saved_model" the folder that is there already.
        images: A .npy file of the test images.
        logits: The .npy file to write the file's answers to.
        calibration: A .npy file of training images, or "".
        calibration_batch_size: Images at a time.
    """

    student: str
    format_name: str
    source: str
    path: str
    images: str
    logits: str
    calibration: str = ""
    calibration_batch_size: int = 1

    @property
    def name(self) -> str:
        return f"{self.student} {self.format_name}"


def run_job(job: Job) -> dict[str, Any]:
    """Writes a file and runs what is then on the disk.

    Args:
        job: What to make.

    Returns:
        The file's facts for the manifest, without size, accuracy and agreement.

    Raises:
        ExportError: The student cannot be converted, or the file holds what does not belong there.
        OSError: It cannot be written.
    """
    what = formats.parse(job.format_name)
    path, images = Path(job.path), np.load(job.images, mmap_mode="r")
    if what.kind_name != "saved_model":
        path.write_bytes(_convert(what, job))
    logits, facts = _run(what, path, images)
    np.save(job.logits, logits)
    return facts


def _convert(what: formats.Format, job: Job) -> bytes:
    # TensorFlow is imported where it is needed: a process that only checks starts at once.
    if what.kind_name == "onnx":
        from oekd_tf.export.onnx import convert_to_onnx

        return convert_to_onnx(job.source, job.student)
    from oekd_tf.export import tflite

    if what.kind_name == "weight_only_int4":
        from oekd_tf.export.weight_only import quantize_weights_to_int4

        return quantize_weights_to_int4(
            tflite.convert("float32", job.source, job.student), job.student
        )
    calibration = np.load(job.calibration, mmap_mode="r") if what.calibrated else None
    return tflite.convert(
        what.kind_name, job.source, job.student, calibration, job.calibration_batch_size
    )


def _run(what: formats.Format, path: Path, images: np.ndarray) -> tuple[np.ndarray, dict]:
    if what.kind_name == "saved_model":
        from oekd_tf.export.saved_model import run_saved_model

        return run_saved_model(path, images.astype(np.uint8)), {}
    content = path.read_bytes()
    facts: dict[str, Any] = {"gzip_bytes": len(gzip.compress(content, mtime=0))}
    if what.kind_name == "onnx":
        from oekd_tf.export.onnx import run_onnx

        logits, more = run_onnx(content, images)
        return logits, {**facts, **more}
    found = check.contents(content)
    check.check_contents(found, what, f"{path.parent.name}/{path.name}")
    model = TfliteModel(content)
    facts |= {
        "input": manifest.tensor_facts(model.input),
        "output": manifest.tensor_facts(model.output),
        "operations": found.operations,
        "tensor_types": found.tensor_types,
    }
    for side in ("input", "output"):
        if facts[side]["dtype"] != what.kind.io_type:
            raise ExportError(
                f"The {side} of {path.parent.name}/{path.name} must be {what.kind.io_type}. "
                f"Received: {facts[side]['dtype']}"
            )
    return model.logits(images), facts
