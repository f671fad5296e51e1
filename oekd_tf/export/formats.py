"""The forms that a student is exported in, by name.

A name is what a file is written as (`KINDS`), after what the student went through before:
`pruned_`, `clustered_` and `qat_` (quantization-aware training), in this order. "int8" is the
trained student quantized; "pruned_qat_int8" was pruned, then trained on in int8, then quantized.
"""

from typing import NamedTuple

STAGES = ("pruned", "clustered", "qat")

_FLOAT = ("float32", "int32", "int64", "bool")
_MORE_IMAGES = "try more, and more typical, calibration images of the training split"


DEFAULT_FORMATS = ("saved_model", "float32", "int8")


class Kind(NamedTuple):
    """What a file is written as.

    Attributes:
        file_name: Of the file or folder, without what the student went through before.
        tensor_types: TFLite tensor types that may occur; empty if it is no TFLite file.
        required_type: The type that its weights must have.
        io_type: Of its input and output.
        calibrated: Whether ranges of activations are measured on training images.
        max_accuracy_drop: By how much its test accuracy may be below the Keras student's.
        min_agreement: Least share of test images with the Keras student's top class.
        advice: What to try when it loses more.
    """

    file_name: str
    tensor_types: tuple[str, ...] = ()
    required_type: str = "float32"
    io_type: str = "float32"
    calibrated: bool = False
    max_accuracy_drop: float = 0.02
    min_agreement: float = 0.0
    advice: str = ""


# Rounding to eight bits changes answers near a tie; what a float file loses is a fault.
_EXACT = {
    "max_accuracy_drop": 0.005,
    "min_agreement": 0.99,
    "advice": "the conversion is at fault; check the student's own layers for operations that "
    "behave otherwise in inference",
}

KINDS = {
    "saved_model": Kind("saved_model", **_EXACT),
    "float32": Kind("float32.tflite", _FLOAT, **_EXACT),
    "float16": Kind("float16.tflite", (*_FLOAT, "float16"), "float16", **_EXACT),
    "dynamic": Kind(
        "dynamic.tflite", (*_FLOAT, "int8"), "int8", advice="try float16, or qat_int8"
    ),
    "int8": Kind(
        "int8.tflite", ("int8", "int32", "int64", "bool"), "int8", "int8", True,
        advice=f"{_MORE_IMAGES}, int16x8, or qat_int8",
    ),
    "uint8": Kind(
        "uint8.tflite", ("int8", "uint8", "int32", "int64", "bool"), "int8", "uint8", True,
        advice=f"{_MORE_IMAGES}, int16x8, or qat_uint8",
    ),
    "int16x8": Kind(
        "int16x8.tflite", ("int8", "int16", "int32", "int64", "bool"), "int8", "int16", True,
        advice=f"{_MORE_IMAGES}, or float16",
    ),
    "weight_only_int4": Kind(
        "weight_only_int4.tflite", (*_FLOAT, "int4"), "int4",
        advice="try int8 or dynamic, or a wider student",
    ),
    "onnx": Kind("float32.onnx", **_EXACT),
}  # fmt: skip

# After fine-tuning the student differs from the Keras student on purpose: no agreement asked.
_TUNED_DROP = 0.02
_TUNED_ADVICE = {
    "pruned": "less sparsity",
    "clustered": "more clusters, or a lower learning rate",
    "qat": "a lower learning rate",
}


class Format(NamedTuple):
    """A form of a student.

    Attributes:
        name: As users write it.
        stages: What the student goes through before, of `STAGES`.
        kind: What it is written as.
    """

    name: str
    stages: tuple[str, ...]
    kind: Kind

    @property
    def kind_name(self) -> str:
        return self.name.removeprefix("".join(f"{stage}_" for stage in self.stages))

    @property
    def file_name(self) -> str:
        return self.name.removesuffix(self.kind_name) + self.kind.file_name

    @property
    def is_tflite(self) -> bool:
        return bool(self.kind.tensor_types)

    @property
    def calibrated(self) -> bool:
        return self.kind.calibrated and "qat" not in self.stages

    @property
    def max_accuracy_drop(self) -> float:
        own = self.kind.max_accuracy_drop
        return max(own, _TUNED_DROP) if self.stages else own

    @property
    def exact(self) -> bool:
        return not self.stages and self.kind.min_agreement > 0

    @property
    def min_agreement(self) -> float:
        return 0.0 if self.stages else self.kind.min_agreement

    @property
    def advice(self) -> str:
        if not self.stages:
            return self.kind.advice
        tuned = " or ".join(_TUNED_ADVICE[stage] for stage in self.stages)
        return f"try more epochs of fine-tuning, {tuned}"


def parse(name: str) -> Format:
    """The format of a name.

    Args:
        name: For instance "int8" or "pruned_qat_int8".

    Returns:
        What it says.

    Raises:
        ValueError: There is no such format.

    Example:
        >>> parse("pruned_int8").stages
        ('pruned',)
    """
    stages, rest = [], name
    for stage in STAGES:
        if rest.startswith(f"{stage}_"):
            stages.append(stage)
            rest = rest.removeprefix(f"{stage}_")
    if rest not in KINDS or ("qat" in stages and rest not in ("int8", "uint8")):
        raise ValueError(f"A format must be {RULE}. Received: {name!r}")
    return Format(name, tuple(stages), KINDS[rest])


def is_format(name: str) -> bool:
    """Whether there is a format of this name."""
    try:
        parse(name)
    except (ValueError, AttributeError):
        return False
    return True


RULE = (
    f"among {', '.join(KINDS)}, after pruned_ or clustered_ or both where it is fine-tuned first, "
    "or qat_int8 or qat_uint8, also after these"
)
