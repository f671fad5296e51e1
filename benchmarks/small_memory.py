"""Memory of students on a microcontroller and on an NPU, by width and by their family's arguments.

    python benchmarks/small_memory.py

Students are untrained, which changes neither. The arena is that of TensorFlow Lite Micro, SRAM and
inferences a second are Vela's estimate, all of the int8 file.
"""

import json

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.tables import markdown_table

_FAMILY = flags.DEFINE_string("family", "CifarResNet", "Class in oekd_tf.backbones.")
_ARGUMENTS = flags.DEFINE_multi_string(
    "arguments",
    [
        '{"depth": 8, "channel_multiple": 8}',
        '{"depth": 8, "channel_multiple": 8, "stem_channels": 8}',
        '{"depth": 8, "channel_multiple": 8, "stem_strides": 2}',
    ],
    "Its arguments, JSON.",
)
_SHAPE = flags.DEFINE_list("image_shape", ["14", "14", "1"], "Height, width and channels.")
_WIDTHS = flags.DEFINE_list("widths", ["1", "0.8", "0.65", "0.5", "0.25"], "Of the students.")
_NPU = flags.DEFINE_string("npu", "ethos-u55-128", "One of oekd_tf.device.npu.TARGETS.")


def main() -> None:
    command_line.quiet_tensorflow()
    import oekd_tf
    from oekd_tf.device.arena import least_arena
    from oekd_tf.device.npu import compile_for
    from oekd_tf.export.probe import probe_student, tflite_file

    shape = tuple(map(int, _SHAPE.value))
    rows = []
    for arguments in map(json.loads, _ARGUMENTS.value):
        family = getattr(oekd_tf.backbones, _FAMILY.value)(**arguments)
        for width in map(float, _WIDTHS.value):
            content = tflite_file(probe_student(family, shape, 10, width), "int8")
            _, found = compile_for(content, _NPU.value)
            rows.append(
                {
                    "arguments": ", ".join(f"{name} {value}" for name, value in arguments.items()),
                    "width": f"{width:g}",
                    "bytes": f"{len(content):,}",
                    "arena": f"{least_arena(content):,}",
                    f"SRAM, {_NPU.value}": f"{found['sram_bytes']:,}",
                    "inferences/s": f"{found['inferences_per_s']:,.0f}",
                }
            )
    print(markdown_table(rows))


if __name__ == "__main__":
    command_line.run(main)
