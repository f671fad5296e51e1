"""The base class of formats, and a format's name with what precedes it."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oekd_tf.core.records import Contract, KindFacts

if TYPE_CHECKING:
    import numpy as np

    from oekd_tf.device.micro_model import MicroModel

STAGES = ("pruned", "clustered", "qat")

# After fine-tuning the student differs from the Keras student on purpose: no agreement asked.
_TUNED_DROP = 0.02
_TUNED_ADVICE = {
    "pruned": "less sparsity",
    "clustered": "more clusters, or a lower learning rate",
    "qat": "a lower learning rate",
}


class Source(NamedTuple):
    """What a file is converted from.

    Attributes:
        folder: SavedModel that `write_converter_input` wrote.
        student: Name of the student, for errors.
        calibration_images: Training images, (images, height, width, channels), raw, that the
            ranges of activations are measured on; None where the format measures none, or the
            student knows them, having been trained in int8.
        calibration_batch_size: Number of images at a time; 1 unless the SavedModel's batch is
            free.
        base: Content of the student's file of the kind that is named by `Kind.derives_from`.
        validation_images: Images held out of training, of the calibration images' form, that a
            kind may choose by; None where there are none.
        facts: Facts for the manifest, to which `convert` adds what only it finds; None where
            nobody asks.
    """

    folder: str | Path
    student: str
    calibration_images: "np.ndarray | None" = None
    calibration_batch_size: int = 1
    base: bytes = b""
    validation_images: "np.ndarray | None" = None
    facts: KindFacts | None = None


class About(NamedTuple):
    """What a file may say beside the network.

    Attributes:
        student: Name of the student.
        contract: What it was trained on, with the names of the classes.
        images: Raw pixels of the test images, (images, height, width, channels).
    """

    student: str
    contract: Contract
    images: "np.ndarray"


class Kind:
    """What a student is written as; its name is that of the module that defines it.

    A subclass sets the attributes and overrides `run`, and either `convert` or, where `converted`
    is False, `write`.

    Attributes:
        order: Place among the formats in messages, the least first.
        file_name: Name of the file or folder, without what the student went through before.
        converted: Whether `convert` makes the file's content, in a process that has no Keras
            model; otherwise `write` makes it of the network itself.
        derives_from: Name of a kind whose file is made first and given to `convert`; "" for none.
        allowed_stages: Those of `STAGES` that a student may go through before.
        calibrated: Whether ranges of activations are measured on training images.
        validated: Whether something is chosen on validation images.
        max_accuracy_drop: Largest difference by which the file's test accuracy may be below the
            Keras student's, from 0 to 1.
        min_agreement: Least share of test images with the Keras student's top class.
        advice: What to try when the file loses more than that.
        for_microcontrollers: Whether TensorFlow Lite Micro must run it.

    Example:
        The file `float32_gzip.py`, below its imports:

        >>> class Float32Gzip(ExactKind):
        ...     order = 25
        ...     file_name = "float32.tflite.gz"
        ...     derives_from = "float32"
        ...
        ...     def convert(self, source):
        ...         return gzip.compress(source.base, mtime=0)
        ...
        ...     def run(self, path, images):
        ...         from oekd_tf.device.tflite_model import TfliteModel
        ...
        ...         content = gzip.decompress(path.read_bytes())
        ...         return TfliteModel(content).logits(images), {}
    """

    order: int = 1000
    file_name: str = ""
    converted: bool = True
    derives_from: str = ""
    allowed_stages: tuple[str, ...] = ("pruned", "clustered")
    calibrated: bool = False
    validated: bool = False
    max_accuracy_drop: float = 0.02
    min_agreement: float = 0.0
    advice: str = ""
    for_microcontrollers: bool = False

    @property
    def name(self) -> str:
        """The name that users write, without what precedes it."""
        return type(self).__module__.rpartition(".")[2]

    def convert(self, source: Source) -> bytes:
        """A student as the content of a file.

        Args:
            source: What to convert.

        Returns:
            The file's content.

        Raises:
            ExportError: The student cannot be converted.
        """
        raise NotImplementedError

    def save(self, content: bytes, path: Path, about: About) -> None:
        """Puts what `convert` gave where it belongs: a file of this content, unless overridden.

        Args:
            content: The content.
            path: File or folder to write.
            about: What the file may say beside the network.
        """
        del about
        path.write_bytes(content)

    def micro_model(self, path: Path) -> "MicroModel | None":
        """A written file in TensorFlow Lite Micro; None for what is no TFLite file.

        Args:
            path: The file or folder.

        Raises:
            ValueError: It does not run there.
        """
        del path
        return None

    def write(self, network: Any, path: Path) -> None:
        """Writes a network, where `converted` is False.

        Args:
            network: Float32 student of `plain_student`, or a tf_keras model.
            path: File or folder to write.
        """
        raise NotImplementedError

    def run(self, path: Path, images: "np.ndarray") -> tuple["np.ndarray", KindFacts]:
        """Opens a written file, checks what it holds, and runs images.

        Args:
            path: The file or folder.
            images: Raw pixels, (images, height, width, channels).

        Returns:
            Logits, (images, classes), and the facts for the manifest that only this kind of file
            has, under names of `oekd_tf.core.records.KindFacts`.

        Raises:
            ExportError: The file holds what does not belong there.
        """
        raise NotImplementedError


class ExactKind(Kind):
    """A kind of float file: what it loses is a fault of the conversion, not of rounding."""

    max_accuracy_drop = 0.005
    min_agreement = 0.99
    advice = (
        "the conversion is at fault; check the student's own layers for operations that "
        "behave otherwise in inference"
    )


class Format(NamedTuple):
    """A form of a student.

    Attributes:
        name: Name that users write.
        stages: What the student goes through before, of `STAGES`.
        kind: What it is written as.
    """

    name: str
    stages: tuple[str, ...]
    kind: Kind

    @property
    def file_name(self) -> str:
        """Name of the file or folder in the student's folder."""
        return self.name.removesuffix(self.kind.name) + self.kind.file_name

    @property
    def calibrated(self) -> bool:
        """Whether ranges are measured on training images: not where they were learned."""
        return self.kind.calibrated and "qat" not in self.stages

    @property
    def max_accuracy_drop(self) -> float:
        """Largest difference by which its accuracy may be below the Keras student's."""
        own = self.kind.max_accuracy_drop
        return max(own, _TUNED_DROP) if self.stages else own

    @property
    def exact(self) -> bool:
        """Whether it must answer as the Keras student does."""
        return not self.stages and self.kind.min_agreement > 0

    @property
    def min_agreement(self) -> float:
        """Least share of test images with the Keras student's top class."""
        return 0.0 if self.stages else self.kind.min_agreement

    @property
    def advice(self) -> str:
        """What to try when it loses more."""
        if not self.stages:
            return self.kind.advice
        tuned = " or ".join(_TUNED_ADVICE[stage] for stage in self.stages)
        return f"try more epochs of fine-tuning, {tuned}"


def gzip_size(content: bytes) -> int:
    """Size of a file's content when it is compressed, in bytes."""
    return len(gzip.compress(content, mtime=0))
