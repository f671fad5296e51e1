"""How many calibration images int8 needs, on trained students.

    python benchmarks/calibration.py --workdir=runs/edge --students=2,3

For each number of images, drawn from the training split with several seeds: test accuracy of the
int8 file and its agreement with the Keras student, mean and standard deviation.
"""

import tempfile
import time

import numpy as np
from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.tables import markdown_table

_WORKDIR = flags.DEFINE_string("workdir", None, "A finished run's.", required=True)
_STUDENTS = flags.DEFINE_list("students", [], "Numbers; all if none.")
_IMAGES = flags.DEFINE_list("images", ["10", "100", "200", "500", "1000", "2000"], "To compare.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the choice of images.")


def main() -> None:
    command_line.quiet_tensorflow()
    from oekd_tf.device.tflite_model import TfliteModel
    from oekd_tf.export import check, formats
    from oekd_tf.export.formats.parts.signature import write_converter_input
    from oekd_tf.export.plain_student import plain_student
    from oekd_tf.training import restore_run

    _, data, ensemble = restore_run(_WORKDIR.value)
    images, labels = data.test_arrays()
    rows = []
    for number in [int(n) for n in _STUDENTS.value] or range(1, len(ensemble.students) + 1):
        student = ensemble.students[number - 1]
        reference = student.predict(images, verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            write_converter_input(plain_student(student), folder)
            for count in map(int, _IMAGES.value):
                start, found = time.monotonic(), []
                for seed in map(int, _SEEDS.value):
                    source = formats.Source(folder, student.name, data.train_images(count, seed))
                    content = formats.kind("int8").convert(source)
                    logits = TfliteModel(content).logits(images)
                    found.append(check.compare(logits, reference, labels))
                seconds = (time.monotonic() - start) / len(found)
                print(f"{student.name}, {count} images: {seconds:.1f} s a file", flush=True)
                rows.append(
                    {
                        "student": student.name,
                        "calibration images": str(count),
                        "accuracy %": _spread([100 * facts["accuracy"] for facts in found]),
                        "agreement %": _spread([100 * facts["agreement"] for facts in found]),
                    }
                )
        accuracy = 100 * (reference.argmax(-1) == labels).mean()
        print(f"{student.name}: {accuracy:.2f} % in Keras", flush=True)
    print(f"\n{markdown_table(rows)}")


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"


if __name__ == "__main__":
    command_line.run(main)
