"""A student as C++ sources, for TensorFlow Lite Micro."""

import string
from pathlib import Path
from typing import TYPE_CHECKING

from oekd_tf.export.formats.int8 import Int8
from oekd_tf.export.formats.parts import cpp

if TYPE_CHECKING:
    from oekd_tf.device.micro_model import MicroModel
    from oekd_tf.export.formats.parts.base import About, Source

_TEMPLATES = Path(__file__).parent / "parts" / "mcu"
_MODEL, _SETTINGS = "model.cc", "model.h"
# Kernels that a maker has replaced may round otherwise.
_TOLERANCE = 1


class Mcu(Int8):
    """A folder of C++ sources: the int8 file as an array, and what its program must know of it."""

    order = 75
    file_name = "mcu"
    derives_from = "int8"
    for_microcontrollers = True

    def convert(self, source: "Source") -> bytes:
        """The student's int8 file.

        Args:
            source: What to convert, with the int8 file.

        Returns:
            The file's content.
        """
        return source.base

    def save(self, content: bytes, path: Path, about: "About") -> None:
        """Writes the folder.

        Args:
            content: The int8 file.
            path: Folder to write.
            about: What the sources say beside the network; the first test image becomes the one
                that the program checks itself with.

        Raises:
            ExportError: TensorFlow Lite Micro does not run the file.
        """
        from oekd_tf.core.errors import ExportError
        from oekd_tf.device.micro_model import MicroModel
        from oekd_tf.export.formats.parts import tflite_contents

        try:
            model = MicroModel(content)
        except ValueError as error:
            raise ExportError(str(error)) from None
        labels = about.contract["class_names"] or []
        operations = list(tflite_contents.read(content).operations)
        (input_scale, input_zero), (output_scale, output_zero) = model.scales
        height, width, channels = (int(size) for size in model.input["shape"][1:])
        golden = about.images[0]
        values = {
            "name": cpp.identifier(about.student),
            "bytes": len(content),
            "arena": model.arena_bytes,
            "height": height,
            "width": width,
            "channels": channels,
            "classes": int(model.output["shape"][-1]),
            "input_scale": _float(input_scale),
            "input_zero": input_zero,
            "output_scale": _float(output_scale),
            "output_zero": output_zero,
            "tolerance": _TOLERANCE,
            "model": cpp.array(content, hexadecimal=True),
            "labels": "\n".join(f"    {cpp.text(label)}," for label in labels),
            "golden_input": cpp.array(model.stored_input(golden).ravel().tolist()),
            "golden_logits": cpp.array(model.stored_output(golden).ravel().tolist()),
            "count": len(operations),
            "calls": "\n".join(_added(operation) for operation in operations),
        }
        path.mkdir()
        for template in sorted(_TEMPLATES.iterdir()):
            filled = string.Template(template.read_text()).substitute(values)
            (path / template.name).write_text(filled)

    def content(self, path: Path) -> bytes:
        """The TFLite file that the sources hold.

        Args:
            path: The folder.
        """
        return cpp.bytes_of_array((path / _MODEL).read_text(), "kModel")

    def micro_model(self, path: Path) -> "MicroModel":
        """The sources' file in an arena of the size that they say.

        Args:
            path: The folder.

        Raises:
            ValueError: It does not run there.
        """
        from oekd_tf.device.micro_model import MicroModel

        arena = cpp.constant((path / _SETTINGS).read_text(), "kArenaBytes")
        return MicroModel(self.content(path), arena)


def _added(operation: str) -> str:
    call = cpp.resolver_call(operation)
    return f"  if (resolver.{call}() != kTfLiteOk) return kTfLiteError;"


def _float(value: float) -> str:
    return f"{value:.9g}f" if "." in f"{value:.9g}" or "e" in f"{value:.9g}" else f"{value:.1f}f"
