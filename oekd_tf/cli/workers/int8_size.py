"""Measures the size of a student's int8 file in a worker process.

    python -m oekd_tf.cli.workers.int8_size --config_json=config.json --width=0.5 \\
        --image_shape=28,28,1 --num_classes=10 --output=size.json

The converter is native code that may end its process. The size does not depend on the seed:
`oekd compare` measures it once per network.
"""

import json
from pathlib import Path

from absl import flags

from oekd_tf import config as config_module
from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.files import write_text
from oekd_tf.core.processes import end_with_parent

_CONFIG = flags.DEFINE_string("config_json", None, "File of the config that names the backbone.")
_WIDTH = flags.DEFINE_float("width", None, "Of the student.")
_SHAPE = flags.DEFINE_list("image_shape", None, "Height, width and channels.")
_CLASSES = flags.DEFINE_integer("num_classes", None, "Of the classifier.")
_OUTPUT = flags.DEFINE_string("output", None, "The JSON file to write: bytes, or null.")


def main() -> None:
    end_with_parent()
    flags.mark_flags_as_required(["config_json", "width", "image_shape", "num_classes", "output"])
    command_line.run(_measure)


def _measure() -> None:
    command_line.quiet_tensorflow()
    from oekd_tf.core.errors import ExportError
    from oekd_tf.export.probe import int8_bytes, probe_student

    config = config_module.from_json(Path(_CONFIG.value).read_text())
    backbone = config_module.make_backbone(config)
    shape = tuple(int(size) for size in _SHAPE.value)
    student = probe_student(backbone, shape, _CLASSES.value, _WIDTH.value)
    try:
        size = int8_bytes(student, config.export.batch_size or None)
    except ExportError as error:
        # A network without an int8 file is a result, not an error.
        print(f"no int8 file of width {_WIDTH.value:g}: {error}", flush=True)
        size = None
    write_text(_OUTPUT.value, json.dumps(size) + "\n")


if __name__ == "__main__":
    main()
