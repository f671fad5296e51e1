"""Labels, preprocessing and the contract inside a TFLite file.

The format is that of TFLite's metadata, which MediaPipe and Android Studio read:
https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs
"""

import io
import json
import zipfile
from collections.abc import Callable, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from oekd_tf.core.contract import without_data
from oekd_tf.core.records import Contract, Preparation
from oekd_tf.core.text import as_lines
from oekd_tf.device.embedded import CONTRACT
from oekd_tf.device.manifest import LABELS

_BUFFER = b"TFLITE_METADATA"
_MODEL_IDENTIFIER = b"TFL3"
_METADATA_IDENTIFIER = b"M001"
# From which on a reader knows all of these fields.
_PARSER_VERSION = "1.0.0"
# Of weights, as TFLite's schema asks for: kernels read them in vectors.
_ALIGNMENT = 16
# Numbers of unions and enumerations in the schema.
_IMAGE_PROPERTIES, _NORMALIZATION, _AXIS_LABELS = 2, 1, 2
_COLOR_SPACES = {1: 2, 3: 1}


def with_metadata(model: bytes, name: str, contract: Contract) -> bytes:
    """A TFLite file with its labels and what its input is inside.

    `labels.txt` and `contract.json` are a ZIP archive at the end of the file, as the format has
    it; runtimes that know nothing of it run the file as before.

    Args:
        model: Content of a TFLite file of one image input and one output of logits.
        name: Name of the student.
        contract: What it was trained on, with the names of the classes.

    Returns:
        Content of the file with metadata.

    Example:
        >>> content = with_metadata(content, "student_5", contract)
        >>> zipfile.ZipFile(io.BytesIO(content)).read("labels.txt").decode().splitlines()
    """
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    for buffer in tree.buffers:
        buffer.__class__ = _AlignedBuffer
    own = _AlignedBuffer()
    own.data = np.frombuffer(_metadata(name, contract), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _BUFFER, len(tree.buffers)
    tree.buffers.append(own)
    tree.metadata = [*(tree.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(tree.Pack(builder), file_identifier=_MODEL_IDENTIFIER)
    return bytes(builder.Output()) + _archive(contract)


class _AlignedBuffer(schema.BufferT):
    """A buffer that begins where the schema has it; the generated class leaves that to chance."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        data = None
        if self.data is not None:
            content = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(content), _ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        schema.BufferAddOffset(builder, self.offset)
        schema.BufferAddSize(builder, self.size)
        return int(schema.BufferEnd(builder))


def _archive(contract: Contract) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, text in (
            (LABELS, as_lines(contract["class_names"] or [])),
            (CONTRACT, json.dumps(without_data(contract), ensure_ascii=False) + "\n"),
        ):
            # The default is the time of now: the same student would give other bytes.
            archive.writestr(zipfile.ZipInfo(name), text.encode())
    return target.getvalue()


def _metadata(name: str, contract: Contract) -> bytes:
    builder = flatbuffers.Builder(1024)
    height, width, channels = contract["image_shape"]
    classes = len(contract["class_names"] or [])
    data = f" of {contract['data']}" if contract["data"] else ""
    text = builder.CreateString
    normalization = _table(
        builder, [_reference(_floats(builder, 0.0)), _reference(_floats(builder, 1.0))]
    )
    color_space = _COLOR_SPACES.get(channels, 0)
    image = _table(
        builder,
        [
            _byte(_IMAGE_PROPERTIES),
            _reference(_table(builder, [_byte(color_space)])),
        ],
    )
    unit = _table(builder, [_byte(_NORMALIZATION), _reference(normalization)])
    stats = _table(
        builder, [_reference(_floats(builder, 255.0)), _reference(_floats(builder, 0.0))]
    )
    inputs = _table(
        builder,
        [
            _reference(text("image")),
            _reference(text(_words(height, width, channels, contract["preparation"]))),
            None,
            _reference(image),
            _reference(_vector(builder, [unit])),
            _reference(stats),
        ],
    )
    labels = _table(
        builder,
        [
            _reference(text(LABELS)),
            _reference(text("Name of each class, one a line.")),
            _byte(_AXIS_LABELS),
        ],
    )
    outputs = _table(
        builder,
        [
            _reference(text("logits")),
            _reference(text("A logit for each class; softmax makes probabilities of them.")),
            None,
            None,
            None,
            None,
            _reference(_vector(builder, [labels])),
        ],
    )
    graph = _table(
        builder,
        [
            None,
            None,
            _reference(_vector(builder, [inputs])),
            _reference(_vector(builder, [outputs])),
        ],
    )
    whole = _table(
        builder,
        [
            _reference(text(name)),
            _reference(text(f"Classifies images{data} into {classes} classes.")),
            None,
            _reference(_vector(builder, [graph])),
            _reference(text(f"oekd_tf {contract['oekd_tf']}")),
            None,
            None,
            _reference(text(_PARSER_VERSION)),
        ],
    )
    builder.Finish(whole, file_identifier=_METADATA_IDENTIFIER)
    return bytes(builder.Output())


def _words(height: int, width: int, channels: int, preparation: Preparation | None) -> str:
    """What a program must do with a picture, for the people who write it."""
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    said = (
        f"{kind} pixels from 0 to 255, {height} high and {width} wide; the network normalizes "
        "them itself."
    )
    if preparation is None:
        return said
    crop = preparation["crop"]
    taken = "The whole picture" if crop is None else f"The central {crop:.4g} of the picture"
    averaged = ", antialiased" if preparation["antialias"] else ""
    return f"{said} {taken} is resized ({preparation['resize']}{averaged})."


_Setter = Callable[[flatbuffers.Builder, int], None]


def _reference(offset: int) -> _Setter:
    return lambda builder, slot: builder.PrependUOffsetTRelativeSlot(slot, offset, 0)


def _byte(value: int) -> _Setter:
    return lambda builder, slot: builder.PrependUint8Slot(slot, value, 0)


def _table(builder: flatbuffers.Builder, fields: Sequence[_Setter | None]) -> int:
    builder.StartObject(len(fields))
    for slot, field in enumerate(fields):
        if field is not None:
            field(builder, slot)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, value: float) -> int:
    return int(builder.CreateNumpyVector(np.array([value], np.float32)))
