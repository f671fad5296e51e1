"""Tests an export on a device, and a program's preprocessing: what is wrong, by name.

    oekd selftest --exports=savedmodels/demo

An export holds pictures in selftest/, and in selftest/golden.json the inputs that they become and
the logits of each TFLite file. This runs the files on the machine that it is on, and compares.

    oekd selftest --exports=savedmodels/demo --inputs=app.json --model=student_4/int8
    oekd selftest --exports=savedmodels/demo --logits=app.json --model=student_4/int8

compare what a program in any language made of the pictures: a JSON object with a list of numbers
for each picture's name, {"picture_1.png": [12, 200, ...]}, which are the inputs it gave to this
file (without --model: pixels from 0 to 255), or the logits it got. Swapped channels, scaled or
normalized pixels, another crop, other resizing, pictures that lie on their side and more are told
by name. The exit code is 1 if anything is wrong. Needs numpy, ai-edge-litert and msgspec only, and
pillow to look at pictures.
"""

from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec

from oekd_tf.cli.parts import device_flags as command_line
from oekd_tf.core.streams import say
from oekd_tf.core.tables import markdown_table
from oekd_tf.device.diagnosis import diagnose_inputs, diagnose_logits, read_numbers
from oekd_tf.device.selftest import check_labels, check_pictures, run_files


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_line.Parser("selftest", __doc__)
    parser.add_argument("--exports", required=True, help="an export's folder")
    parser.add_argument("--inputs", help="a JSON file of the inputs that a program made")
    parser.add_argument("--logits", help="a JSON file of the logits that a program got")
    parser.add_argument("--model", help="student and format that --inputs or --logits are of")
    parser.add_argument("--formats", type=command_line.names, help="only these")
    parser.add_argument("--students", type=command_line.names, help="only these")
    command_line.run(parser, _selftest, argv)


def _selftest(flags: Namespace) -> None:
    if flags.inputs and flags.logits:
        raise ValueError("--inputs or --logits must be given, not both. Received: both")
    if flags.model and not (flags.inputs or flags.logits):
        raise ValueError(
            "--model must be given with --inputs or --logits; --students and --formats choose "
            f"files. Received: --model={flags.model}"
        )
    if flags.logits and not flags.model:
        raise ValueError("--model must be given with --logits, as student/format. Received: none")
    if flags.inputs or flags.logits:
        _diagnose(flags)
        return
    results = run_files(flags.exports, flags.students, flags.formats)
    rows = [
        {
            "file": result.name,
            "largest difference": f"{result.difference:.3g}",
            "allowed": f"{result.tolerance:.3g}",
            "same class": f"{result.same_class} of {result.pictures}",
            "passed": "yes" if result.passed else "NO",
        }
        for result in results
    ]
    say(markdown_table(rows))
    if failed := [result.name for result in results if not result.passed]:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise ValueError(
            f"Files must give the golden answers. Received: others of {failed[0]}{more}"
        )
    if problem := check_labels(flags.exports, flags.students, flags.formats):
        raise ValueError(f"Labels must be those that were exported. Received: {problem}")
    reads = find_spec("PIL") is not None
    if reads and (problem := check_pictures(flags.exports)):
        raise ValueError(f"Pictures must become the golden inputs. Received: {problem}")
    said = "Files and pictures" if reads else "Files (without Pillow no pictures were read)"
    say(f"{said} give the golden answers here; the labels are right.")


def _diagnose(flags: Namespace) -> None:
    given = read_numbers(flags.inputs or flags.logits)
    if flags.inputs:
        found = diagnose_inputs(flags.exports, given, flags.model)
    else:
        found = diagnose_logits(flags.exports, given, flags.model)
    if found:
        more = found[1:]
        for line in more:
            say(f"- {line}")
        raise ValueError(
            f"The program must do what training did. Received: {found[0]}"
            + (f", and {len(more)} more, above" if more else "")
        )
    say(f"Right: all {len(given)} pictures.")


if __name__ == "__main__":
    main()
