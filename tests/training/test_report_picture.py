"""The axis of a run's picture: the files' size where it is known."""

import pytest

from oekd_tf.training.report import accuracy_figure, draw_accuracy

STUDENTS = [
    {"name": "student_1", "width": 1.0, "parameters": 77_754, "test_accuracy": 0.84},
    {"name": "student_2", "width": 0.4, "parameters": 12_619, "test_accuracy": 0.81},
]
SUMMARY = {"name": "demo", "students": STUDENTS, "teacher_test_accuracy": 0.83}


def manifest(*formats):
    """Of each student's formats, with a size of 100 and 20 kB."""
    return {
        "students": [
            {"name": student["name"], "formats": {name: {"bytes": size} for name in own}}
            for student, size, own in zip(STUDENTS, (100_000, 20_000), formats, strict=True)
        ]
    }


@pytest.mark.parametrize(
    ("exported", "title", "sizes"),
    [
        (None, "trainable parameters", [77_754, 12_619]),
        (manifest(("int8", "float32"), ("int8",)), "size of the int8 file, kB", [100, 20]),
        (manifest(("float32", "uint8"), ("uint8",)), "size of the uint8 file, kB", [100, 20]),
        (
            manifest(("float32", "int8"), ("float32", "int8")),
            "size of the int8 file, kB",
            [100, 20],
        ),
        # One was refused: sizes of different formats do not compare.
        (manifest(("float32",), ("int8",)), "trainable parameters", [77_754, 12_619]),
    ],
)
def test_sizes(exported, title, sizes, tmp_path):
    baselines = {"student_2": {**STUDENTS[1], "test_accuracy": 0.79}}
    (axes,) = accuracy_figure(SUMMARY, baselines, exported).axes
    assert axes.get_xlabel() == title
    together, alone, _ = axes.lines
    assert list(together.get_xdata()) == sizes
    assert list(alone.get_xdata()) == sizes[1:]
    assert [text.get_text() for text in axes.texts] == [
        "student 1\nwidth 1",
        "student 2\nwidth 0.4",
    ]
    draw_accuracy(SUMMARY, baselines, tmp_path / "a.png", exported)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
