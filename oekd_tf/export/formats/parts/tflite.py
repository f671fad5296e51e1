"""Formats that are TFLite files, of TFLite's own operations only."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oekd_tf.core.errors import ExportError
from oekd_tf.core.records import KindFacts
from oekd_tf.export.formats.parts.base import About, Kind, Source, gzip_size

if TYPE_CHECKING:
    import numpy as np

    from oekd_tf.device.micro_model import MicroModel
    from oekd_tf.export.formats.parts.tflite_contents import Contents

# What a file of float arithmetic may hold beside its weights' own type.
FLOAT_TYPES = ("float32", "int32", "int64", "bool")


class TfliteKind(Kind):
    """A kind of TFLite file; a subclass says how the converter is set up.

    Attributes:
        tensor_types: TFLite tensor types that may occur in it.
        required_type: Type that its weights must have.
        io_type: Type of its input and output.
        missing_type_note: What an error says after the required type where that one is missing.
    """

    tensor_types: tuple[str, ...] = FLOAT_TYPES
    required_type: str = "float32"
    io_type: str = "float32"
    missing_type_note: str = ""

    def configure(self, converter: Any, calibrated: bool) -> None:
        """Sets up the converter; a float32 file needs nothing.

        Args:
            converter: `tf.lite.TFLiteConverter` whose attributes to set.
            calibrated: Whether it will measure the ranges of activations.
        """

    def convert(self, source: Source) -> bytes:
        """A student as the content of a TFLite file.

        Args:
            source: What to convert.

        Returns:
            The file's content.

        Raises:
            ExportError: An operation has no version of this kind in TFLite.
        """
        import tensorflow as tf

        from oekd_tf.core.native_output import quiet_native_output
        from oekd_tf.export.formats.parts.signature import SIGNATURE

        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(source.folder), signature_keys=[SIGNATURE]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        self.configure(converter, source.calibration_images is not None)
        if source.calibration_images is not None:
            converter.representative_dataset = _batches(
                source.calibration_images, source.calibration_batch_size
            )
        # The error must not leave the block, which would then show pages of native output.
        with quiet_native_output():
            try:
                return converter.convert()
            except Exception as caught:  # The converter raises classes of its own, not public ones.
                error = caught
        raise ExportError(
            "Every operation of a student must be one of TFLite's own to be converted. "
            f"Received: {source.student} to {self.name}, of which the converter says: "
            f"{_reason(error)}"
        ) from error

    def save(self, content: bytes, path: Path, about: About) -> None:
        """Writes a TFLite file that says what its classes and its input are.

        Args:
            content: The content.
            path: File to write.
            about: What the file says beside the network.
        """
        from oekd_tf.export.formats.parts.tflite_metadata import with_metadata

        path.write_bytes(with_metadata(content, about.student, about.contract))

    def run(self, path: Path, images: "np.ndarray") -> tuple["np.ndarray", KindFacts]:
        """Opens a TFLite file, checks what it holds, and runs images.

        Args:
            path: The file.
            images: Raw pixels, (images, height, width, channels).

        Returns:
            Logits, (images, classes), and for the manifest the compressed size, input and output,
            and how often each operation and tensor type occurs.

        Raises:
            ExportError: An operation or a type does not belong there, or the weights' type is
                missing.
            ValueError: The file is none that LiteRT runs on these images.
        """
        from oekd_tf.device import manifest
        from oekd_tf.device.tflite_model import TfliteModel
        from oekd_tf.export.formats.parts import tflite_contents

        content = self.content(path)
        found = tflite_contents.read(content)
        self.check(found, f"{path.parent.name}/{path.name}")
        model = TfliteModel(content)
        sides = {
            "input": manifest.tensor_facts(model.input),
            "output": manifest.tensor_facts(model.output),
        }
        for side, tensor in sides.items():
            if tensor["dtype"] != self.io_type:
                raise ExportError(
                    f"The {side} of {path.parent.name}/{path.name} must be {self.io_type}. "
                    f"Received: {tensor['dtype']}"
                )
        facts: KindFacts = {
            "gzip_bytes": gzip_size(content),
            "input": sides["input"],
            "output": sides["output"],
            "operations": found.operations,
            "tensor_types": found.tensor_types,
        }
        return model.logits(images), facts

    def content(self, path: Path) -> bytes:
        """The TFLite file that was written.

        Args:
            path: The file, or the folder of a kind that is one.
        """
        return path.read_bytes()

    def micro_model(self, path: Path) -> "MicroModel | None":
        """A written file in TensorFlow Lite Micro.

        Args:
            path: The file or folder.

        Raises:
            ValueError: It does not run there.
        """
        from oekd_tf.device.micro_model import MicroModel

        return MicroModel(self.content(path))

    def check(self, found: "Contents", name: str) -> None:
        """Checks that a file holds TFLite's own operations and the types of this kind.

        Args:
            found: What the file holds.
            name: Name of the file, for the error.

        Raises:
            ExportError: An operation or a type does not belong there, or the weights' type is
                missing.
        """
        custom = [operation for operation in found.operations if operation.startswith("CUSTOM")]
        if custom:
            raise ExportError(
                f"Every operation of {name} must be one of TFLite's own. "
                f"Received: {', '.join(custom)}"
            )
        types = self.tensor_types
        strays = [f"{count} of {t}" for t, count in found.tensor_types.items() if t not in types]
        if strays:
            raise ExportError(
                f"Every tensor of {name} must be of {', '.join(types)}. "
                f"Received: {', '.join(strays)}"
            )
        if self.required_type not in found.tensor_types:
            raise ExportError(
                f"Weights of {name} must be of {self.required_type}{self.missing_type_note}. "
                f"Received: tensors of {', '.join(found.tensor_types)}"
            )


def _batches(images: "np.ndarray", size: int) -> Callable[[], Iterator[dict[str, "np.ndarray"]]]:
    def batches() -> Iterator[dict[str, "np.ndarray"]]:
        # A last batch of another size would make the calibrator allocate all tensors anew.
        for start in range(0, len(images) - len(images) % size or len(images), size):
            yield {"images": images[start : start + size].astype("float32")}

    return batches


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if "error" in line.lower() or "Ops:" in line)
    return next(telling, lines[0] if lines else type(error).__name__)[:300]
