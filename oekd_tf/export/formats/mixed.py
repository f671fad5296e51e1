"""A student as TFLite in int8, with the layers that lose most in a higher precision."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from oekd_tf.core.errors import ExportError
from oekd_tf.core.records import Precision, RescueFacts
from oekd_tf.export.formats.parts.base import Source
from oekd_tf.export.formats.parts.integer import MORE_IMAGES
from oekd_tf.export.formats.parts.tflite import FLOAT_TYPES, TfliteKind

if TYPE_CHECKING:
    import numpy as np

    from oekd_tf.export.formats.parts.mixed_precision import Choice
    from oekd_tf.export.formats.parts.splice import Splicer

# Of accuracy, from 0 to 1, on the images that layers are chosen by: a point on others.
_MAX_LOSS = 0.005
# Of the bytes in int8.
_GROWTH = 0.25
# Of these, what float32 may take where int16 is needed as well, which takes some for itself.
_IN_FLOAT = 0.6
# Enough to tell layers apart.
_IMAGES_A_LAYER = 64


class Mixed(TfliteKind):
    """Int8, but for the layers that lose most; int8 in and out.

    It is for students whose int8 file loses too much. Each layer alone is tried in int8; those
    that cost most for their bytes stay in float32, as few as it takes for an expected loss of half
    a point of accuracy on validation images, within 25 % more bytes than in int8. Where those
    bytes do not do, further layers have int16 activations, with weights in int8. Float32 comes
    first because LiteRT has no fast kernels for int16. Where int8 loses less than that, no layer
    stays.
    """

    order = 75
    file_name = "mixed.tflite"
    derives_from = "float32"
    calibrated = True
    validated = True
    tensor_types = (*FLOAT_TYPES, "int8", "int16")
    required_type = "int8"
    io_type = "int8"
    advice = f"{MORE_IMAGES}, int16x8, or qat_int8"

    def convert(self, source: Source) -> bytes:
        """A student as the content of a TFLite file, with as few layers kept as it takes.

        Args:
            source: What to convert, with the float32 file.

        Returns:
            The file's content.

        Raises:
            ExportError: The student cannot be converted to int8, or to other operations than in
                float32.
        """
        from oekd_tf.device.tflite_model import TfliteModel
        from oekd_tf.export import formats
        from oekd_tf.export.formats.parts import mixed_precision

        calibration = source.calibration_images
        assert calibration is not None, "The format is calibrated"
        held_out = source.validation_images
        held_out = calibration if held_out is None else held_out
        whole = formats.kind("int8").convert(source)
        wanted = TfliteModel(source.base).logits(held_out)

        def loss(content: bytes) -> float:
            return mixed_precision.expected_loss(wanted, TfliteModel(content).logits(held_out))

        in_int8 = loss(whole)
        facts: RescueFacts = {
            "expected_loss_int8": in_int8,
            "expected_loss": in_int8,
            "images": len(held_out),
            "layers": [],
        }
        if source.facts is not None:
            source.facts["rescue"] = facts
        if in_int8 <= _MAX_LOSS:
            return whole
        splicer = _splicer(source, whole)
        errors = _errors(splicer, calibration[:_IMAGES_A_LAYER], source.base)
        best = _choice(splicer, _in_float(splicer, errors, len(whole)), loss, len(whole))
        if best.loss > _MAX_LOSS:
            try:
                splicer = _splicer(source, whole, formats.kind("int16x8").convert(source))
            except ExportError:
                # Not every operation has a version with int16 activations.
                pass
            else:
                order = _in_float_and_int16(splicer, errors, len(whole))
                found = _choice(splicer, order, loss, len(whole))
                best = found if found.loss < best.loss else best
        if best.loss >= in_int8:
            return whole
        facts["expected_loss"] = best.loss
        facts["layers"] = [
            {
                "name": _name(name, splicer.constants("int8", name), source.student),
                "error": errors[name],
                "precision": cast(Precision, best.kept.get(name, "int8")),
            }
            for name in splicer.operations
        ]
        return best.content


def _splicer(source: Source, whole: bytes, int16: bytes = b"") -> "Splicer":
    from oekd_tf.export.formats.parts.splice import Splicer

    files = {"int8": whole, "float32": source.base} | ({"int16": int16} if int16 else {})
    try:
        return Splicer(files)
    except ValueError as error:
        raise ExportError(
            f"{source.student} must be of the same operations in every precision. Received: {error}"
        ) from error


def _errors(splicer: "Splicer", images: "np.ndarray", reference: bytes) -> dict[str, float]:
    from oekd_tf.device.tflite_model import TfliteModel
    from oekd_tf.export.formats.parts import mixed_precision

    in_float = dict.fromkeys(splicer.operations, "float32")
    return mixed_precision.layer_errors(
        splicer.operations,
        lambda name: splicer.splice({**in_float, name: "int8"}),
        lambda content: TfliteModel(content).logits(images),
        TfliteModel(reference).logits(images),
    )


def _more_bytes(splicer: "Splicer", precision: str) -> dict[str, int]:
    return {
        name: splicer.constant_bytes(precision, name) - splicer.constant_bytes("int8", name)
        for name in splicer.operations
    }


def _in_float(splicer: "Splicer", errors: Mapping[str, float], size: int) -> list[tuple[str, str]]:
    from oekd_tf.export.formats.parts.mixed_precision import by_gain

    more = _more_bytes(splicer, "float32")
    return [(name, "float32") for name in by_gain(more, errors, int(_GROWTH * size))]


def _in_float_and_int16(
    splicer: "Splicer", errors: Mapping[str, float], size: int
) -> list[tuple[str, str]]:
    """Float32 for what gains most for its bytes, then int16 for the rest."""
    from oekd_tf.export.formats.parts.mixed_precision import by_gain, within

    order = [name for name, _ in _in_float(splicer, errors, size)]
    budget = int(_IN_FLOAT * _GROWTH * size)
    in_float = within(order, _more_bytes(splicer, "float32"), budget)
    more = {
        name: count for name, count in _more_bytes(splicer, "int16").items() if name not in in_float
    }
    in_int16 = by_gain(more, errors, int(_GROWTH * size))
    return [(name, "float32") for name in in_float] + [(name, "int16") for name in in_int16]


def _choice(
    splicer: "Splicer",
    order: Sequence[tuple[str, str]],
    loss: Callable[[bytes], float],
    size: int,
) -> "Choice":
    from oekd_tf.export.formats.parts import mixed_precision

    most = size + int(_GROWTH * size)
    return mixed_precision.choose(order, splicer.splice, loss, most, _MAX_LOSS)


def _name(operation: str, constants: Sequence[str], student: str) -> str:
    """Names of layers; the last operation gives the network's output, which has none of them."""
    from oekd_tf.export.formats.parts.tflite_contents import layer_name

    name = layer_name(operation, student)
    return name if name != operation else layer_name(";".join(constants), student)
