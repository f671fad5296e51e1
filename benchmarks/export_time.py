"""How long an export takes, in this process and in several.

    python benchmarks/export_time.py --family=CifarResNet --arguments='{"depth": 110}'

Five students, untrained, every post-training format, a few images to check: conversion is what
takes the time.
"""

import json
import tempfile
import time

import numpy as np
from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.tables import markdown_table

_FAMILY = flags.DEFINE_string("family", "CifarResNet", "Class in oekd_tf.backbones.")
_ARGUMENTS = flags.DEFINE_string("arguments", '{"depth": 110}', "Its arguments, JSON.")
_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.")
_FORMATS = flags.DEFINE_list(
    "formats",
    ["saved_model", "float32", "float16", "dynamic", "int8", "uint8", "int16x8",
     "weight_only_int4", "onnx"],
    "To write.",
)  # fmt: skip
_PROCESSES = flags.DEFINE_list("processes", ["0", "2"], "Numbers of processes to compare.")


def main() -> None:
    command_line.quiet_tensorflow()
    import oekd_tf
    from oekd_tf.export import export_students

    family = getattr(oekd_tf.backbones, _FAMILY.value)(**json.loads(_ARGUMENTS.value))
    shape = (_SIZE.value, _SIZE.value, 3)
    ensemble = oekd_tf.OnlineEnsemble(family, shape, 10, mean=(120,) * 3, std=(60,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (50, *shape), dtype=np.uint8)
    rows = []
    for processes in map(int, _PROCESSES.value):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            export_students(
                ensemble,
                f"{folder}/export",
                formats=_FORMATS.value,
                test_images=images,
                test_labels=np.arange(50) % 10,
                calibration_images=images,
                max_accuracy_drop=dict.fromkeys(_FORMATS.value, 1.0),
                min_agreement=dict.fromkeys(_FORMATS.value, 0.0),
                processes=processes,
            )
        rows.append({"processes": str(processes), "s": f"{time.monotonic() - start:.1f}"})
    print(f"\n{len(ensemble.students[0].layers)} layers, {5 * len(_FORMATS.value)} files\n")
    print(markdown_table(rows))


if __name__ == "__main__":
    command_line.run(main)
