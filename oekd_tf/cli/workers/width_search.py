"""Finds the widths that fit a config's budgets in a worker process.

    python -m oekd_tf.cli.workers.width_search --config_json=config.json --image_shape=28,28,1 \\
        --num_classes=10 --output=widths.json

The converter is native code that may end its process, and building networks would use up random
numbers that a run's initial weights are made of.
"""

import json
from pathlib import Path

from absl import flags

from oekd_tf import config as config_module
from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.files import write_text
from oekd_tf.core.processes import end_with_parent

_CONFIG = flags.DEFINE_string("config_json", None, "File of the config that has the budgets.")
_SHAPE = flags.DEFINE_list("image_shape", None, "Height, width and channels.")
_CLASSES = flags.DEFINE_integer("num_classes", None, "Of the classifier.")
_OUTPUT = flags.DEFINE_string("output", None, "The JSON file to write: widths, or an error.")


def main() -> None:
    end_with_parent()
    flags.mark_flags_as_required(["config_json", "image_shape", "num_classes", "output"])
    command_line.run(_search)


def _search() -> None:
    command_line.quiet_tensorflow()
    from oekd_tf.export.width_search import widths_for

    config = config_module.from_json(Path(_CONFIG.value).read_text())
    result: dict[str, object]
    try:
        widths = widths_for(
            config_module.make_backbone(config),
            config_module.budgets(config),
            input_shape=tuple(int(size) for size in _SHAPE.value),
            num_classes=_CLASSES.value,
            batch_size=config.export.batch_size or None,
            progress=lambda line: print(line, flush=True),
        )
        result = {"widths": list(widths)}
    except ValueError as error:
        result = {"error": str(error)}
    write_text(_OUTPUT.value, json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
