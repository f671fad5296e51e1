"""Looks at all pictures of a data set before it is trained on, and writes a report.

    oekd check-data --data_dir=photos
    oekd check-data --data_dir=photos --output=photos_check --group_key="(patient[0-9]+)"
    oekd check-data --data_dir=tensorflow_datasets --source=cifar10

prints the number of pictures of each class and split, their formats and sizes, what training would
refuse (files that cannot be read, classes without pictures, labels that stand for no class) and
what to know (pictures in both training and test, files left out, groups in two splits); and writes
that with a contact sheet of each class and histograms of brightness and size. The exit code is 1 if
training would refuse the data. Needs Matplotlib, and TensorFlow only for data sets of TFDS.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from oekd_tf.cli.parts import device_flags as command_line
from oekd_tf.data.check import check_data


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_line.Parser("check-data", __doc__)
    parser.add_argument("--data_dir", required=True, help="image folder, or TFDS data directory")
    parser.add_argument("--source", default="image_folder", help="TFDS name of the data set")
    parser.add_argument("--group_key", default="", help="what stays in one split, as in configs")
    parser.add_argument("--output", help="folder to write to; data_check/<name> if not given")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier check")
    command_line.run(parser, _check, argv)


def _check(flags: Namespace) -> None:
    if flags.source != "image_folder":
        from oekd_tf.cli.parts.flags import quiet_tensorflow

        quiet_tensorflow()
    name = Path(flags.data_dir).resolve().name if flags.source == "image_folder" else flags.source
    output = flags.output or f"data_check/{name}"
    shown = -1

    def progress(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(1, total)
        # A line of a log is worth ten percent; a terminal's is written over.
        if sys.stderr.isatty():
            print(f"\r{done:,} of {total:,} pictures", end="", file=sys.stderr, flush=True)
        elif percent // 10 > shown and total > 5000:
            shown = percent // 10
            print(f"{done:,} of {total:,} pictures", file=sys.stderr)

    found = check_data(
        flags.data_dir,
        flags.source,
        output,
        group_key=flags.group_key,
        overwrite=flags.overwrite,
        progress=progress,
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(found.text().partition("![")[0].rstrip())
    print(f"\nreport: {output}/report.md\npictures: {output}/examples.png, {output}/spread.png")
    if found.problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
