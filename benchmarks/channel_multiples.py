"""Latency of students by width and by what their channels are multiples of.

    python benchmarks/channel_multiples.py --arguments='{"depth": 20}' --image_shape=32,32,3
    python benchmarks/channel_multiples.py --arguments='{"depth": 8}' --image_shape=28,28,1

Students are untrained, which changes no time. A round is a turn of every file, so that what else
the machine does falls on all alike; the table has the median of the rounds, each the median of a
turn's runs.
"""

import json
import statistics
import tempfile
from pathlib import Path

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.tables import markdown_table

_FAMILY = flags.DEFINE_string("family", "CifarResNet", "Class in oekd_tf.backbones.")
_ARGUMENTS = flags.DEFINE_string("arguments", '{"depth": 20}', "Its arguments, JSON.")
_SHAPE = flags.DEFINE_list("image_shape", ["32", "32", "3"], "Height, width and channels.")
_MULTIPLES = flags.DEFINE_list("multiples", ["1", "4", "8"], "Values of channel_multiple.")
_WIDTHS = flags.DEFINE_list(
    "widths", ["1", "0.8", "0.6", "0.5", "0.4", "0.25", "0.2"], "Of the students."
)
_FORMATS = flags.DEFINE_list("formats", ["int8", "float32"], "TFLite formats.")
_THREADS = flags.DEFINE_integer("threads", 1, "Of the interpreter.")
_ROUNDS = flags.DEFINE_integer("rounds", 60, "Turns of each file.")


def main() -> None:
    command_line.quiet_tensorflow()
    import keras

    import oekd_tf
    from oekd_tf.device.latency import fastest_turns
    from oekd_tf.export.probe import probe_student, tflite_file
    from oekd_tf.models.size import count_parameters

    shape = tuple(map(int, _SHAPE.value))
    rows, files, names = [], {}, []
    with tempfile.TemporaryDirectory() as folder:
        for multiple in map(int, _MULTIPLES.value):
            family = getattr(oekd_tf.backbones, _FAMILY.value)(
                **json.loads(_ARGUMENTS.value), channel_multiple=multiple
            )
            for width in map(float, _WIDTHS.value):
                student = probe_student(family, shape, 10, width)
                branch = family.branch(family.stem(keras.Input(shape)), width, "probe")
                channels = ", ".join(str(block.shape[-1]) for block in branch.blocks)
                rows.append(
                    {
                        "channel_multiple": str(multiple),
                        "width": f"{width:g}",
                        "channels": channels,
                        "parameters": f"{count_parameters(student):,}",
                    }
                )
                names.append(channels)
                for file_format in _FORMATS.value:
                    # Students of the same channels are the same network.
                    if (channels, file_format) not in files:
                        path = Path(folder) / f"{len(files)}.tflite"
                        path.write_bytes(tflite_file(student, file_format))
                        files[channels, file_format] = path
        models = {"/".join(key): path for key, path in files.items()}
        found = [fastest_turns(models, _THREADS.value, turns=1) for _ in range(_ROUNDS.value)]
    for row, channels in zip(rows, names, strict=True):
        for file_format in _FORMATS.value:
            times = [one[f"{channels}/{file_format}"] for one in found]
            row[f"{file_format}, ms"] = f"{statistics.median(times):.4f}"
            row[f"{file_format}, least"] = f"{min(times):.4f}"
    print(markdown_table(rows))


if __name__ == "__main__":
    command_line.run(main)
