"""One file of an export: converted, written, opened again and run on real images."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.core.errors import ExportError
from oekd_tf.core.records import KindFacts
from oekd_tf.export import formats


class Job(NamedTuple):
    """What to make of a student. Of plain values only: jobs travel to other processes.

    Attributes:
        student: Name of the student.
        format_name: Name of the format, of `oekd_tf.export.formats`.
        source: SavedModel that `write_converter_input` wrote.
        path: File to write; where the format is not converted, what is there already.
        images: A .npy file of the golden images and the test images.
        logits: The .npy file to write the file's answers to.
        calibration: A .npy file of training images, or "".
        calibration_batch_size: Number of images at a time in calibration.
        labels: A .npy file of the test images' class indices.
        contract: A JSON file of the contract, with the names of the classes.
        validation: A .npy file of images held out of training, or "".
        golden_images: Number of images at the start of `images` that are the golden vectors' and
            have no labels.
        micro_images: Number of test images that TensorFlow Lite Micro runs; 0 runs none, where the
            format is not made for it.
    """

    student: str
    format_name: str
    source: str
    path: str
    images: str
    logits: str
    calibration: str = ""
    calibration_batch_size: int = 1
    validation: str = ""
    labels: str = ""
    contract: str = ""
    golden_images: int = 0
    micro_images: int = 0

    @property
    def name(self) -> str:
        """Student and format, as messages name the file."""
        return f"{self.student} {self.format_name}"


def run_job(job: Job) -> KindFacts:
    """Writes a file and runs what is then on the disk.

    Args:
        job: What to make.

    Returns:
        The file's facts for the manifest, without path, size, accuracy and agreement.

    Raises:
        ExportError: The student cannot be converted, or the file holds what does not belong there.
        OSError: It cannot be written.
    """
    form = formats.parse(job.format_name)
    path, everything = Path(job.path), np.load(job.images, mmap_mode="r")
    images = everything[job.golden_images :]
    found_in_conversion: KindFacts = {}
    if form.kind.converted:
        source = formats.Source(
            folder=job.source,
            student=job.student,
            calibration_images=np.load(job.calibration, mmap_mode="r") if form.calibrated else None,
            calibration_batch_size=job.calibration_batch_size,
            validation_images=np.load(job.validation, mmap_mode="r") if job.validation else None,
            facts=found_in_conversion,
        )
        contract = json.loads(Path(job.contract).read_bytes())
        about = formats.About(job.student, contract, images)
        form.kind.save(_content(form.kind, source), path, about)
    logits, facts = form.kind.run(path, everything)
    facts = {**found_in_conversion, **facts}
    np.save(job.logits, logits)
    logits = logits[job.golden_images :]
    if job.micro_images or form.kind.for_microcontrollers:
        # Here, because it loads LiteRT, which a process that only sends jobs has no use for.
        from oekd_tf.export import micro

        found = micro.run(form.kind, path, images, np.load(job.labels), logits, job.micro_images)
        if found is not None:
            facts["micro"] = found
        if form.kind.for_microcontrollers and (found is None or "unfit" in found):
            reason = found["unfit"] if found else "it is no TFLite file"
            raise ExportError(f"TensorFlow Lite Micro must run {job.name}. Received: {reason}")
    return facts


def _content(kind: formats.Kind, source: formats.Source) -> bytes:
    if kind.derives_from:
        source = source._replace(base=_content(formats.kind(kind.derives_from), source))
    return kind.convert(source)
