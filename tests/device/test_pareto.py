"""Pareto fronts, rows and the picture of an export's files."""

import numpy as np
import pytest
from PIL import Image

from oekd_tf.core.tables import markdown_table
from oekd_tf.device.pareto import draw_trade_off, pareto_front, trade_off_rows


def manifest(devices=("pi", "laptop")):
    students = []
    for number in range(1, 4):
        formats = {}
        for form, share, lost in (("float32", 1.0, 0.0), ("int8", 0.3, 0.01), ("onnx", 1.1, 0.0)):
            formats[form] = {
                "path": f"student_{number}/{form}" + (".tflite" if form != "onnx" else ".onnx"),
                "bytes": int(90_000 * share / number),
                "sha256": f"{number}{form}",
                "accuracy": 0.9 - 0.1 * number - lost,
                "agreement": 1 - lost,
            }
        formats["int8"]["gzip_bytes"] = formats["int8"]["bytes"] // 2
        students.append(
            {"name": f"student_{number}", "accuracy": 0.9 - 0.1 * number, "formats": formats}
        )
    results = {
        f"{student['name']}/{form}": {
            "sha256": facts["sha256"],
            "threads": {"1": {"median_ms": facts["bytes"] / 1e4}},
        }
        for student in students
        for form, facts in student["formats"].items()
        if form != "onnx"
    }
    found = {"students": students}
    if devices:
        found["devices"] = {
            name: {"time": f"2026-01-0{day}", "results": results}
            for day, name in enumerate(devices, start=1)
        }
    return found


class TestParetoFront:
    @pytest.mark.parametrize(
        ("points", "front"),
        [
            ([], []),
            ([(1, 0.5)], [0]),
            ([(3, 0.9), (1, 0.5), (2, 0.4)], [1, 0]),
            ([(1, 0.5), (1, 0.6)], [1]),
            ([(1, 0.5), (1, 0.5)], [0]),
            ([(1, 0.5), (2, 0.5)], [0]),
        ],
    )
    def test_by_hand(self, points, front):
        assert pareto_front(points) == front

    def test_nothing_on_it_is_beaten_and_all_else_is(self, rng):
        points = [tuple(point) for point in rng.integers(0, 15, (80, 2))]
        front = pareto_front(points)

        def beaten(index):
            cost, accuracy = points[index]
            return any(
                c <= cost and a >= accuracy and ((c, a) != (cost, accuracy) or other < index)
                for other, (c, a) in enumerate(points)
                if other != index
            )

        assert set(front) == {index for index in range(80) if not beaten(index)}
        assert [points[index][0] for index in front] == sorted(points[index][0] for index in front)


class TestRows:
    def test_columns(self):
        rows = trade_off_rows(manifest())
        assert len(rows) == 9
        assert rows[1] == {
            "student": "student_1",
            "format": "int8",
            "kB": "27.0",
            "gzip kB": "13.5",
            "accuracy %": "79.00",
            "agreement %": "99.00",
            "drop": "1.00",
            "ms, pi": "2.700",
            "ms, laptop": "2.700",
            "front": "*",
        }
        assert rows[2]["ms, pi"] == rows[2]["gzip kB"] == rows[2]["front"] == ""
        assert [row["front"] for row in rows if row["format"] == "int8"] == ["*"] * 3
        assert markdown_table(rows).count("\n") == 10

    def test_only_what_there_is(self):
        plain = manifest(devices=())
        for student in plain["students"]:
            student["formats"]["int8"].pop("gzip_bytes")
        assert list(trade_off_rows(plain)[0]) == [
            "student", "format", "kB", "accuracy %", "agreement %", "drop", "front",
        ]  # fmt: skip


class TestPicture:
    def test_a_panel_more_with_latencies(self, tmp_path):
        draw_trade_off(manifest(devices=()), tmp_path / "one.png")
        draw_trade_off(manifest(), tmp_path / "two.png", device="pi")
        one, two = (Image.open(tmp_path / f"{name}.png") for name in ("one", "two"))
        assert two.width > 1.5 * one.width
        assert two.height == one.height
        assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]

    def test_device_measured_with_other_threads(self, tmp_path):
        draw_trade_off(manifest(), tmp_path / "a.png", threads=2)
        draw_trade_off(manifest(devices=()), tmp_path / "b.png")
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "a.png")), np.asarray(Image.open(tmp_path / "b.png"))
        )

    def test_unknown_device(self, tmp_path):
        with pytest.raises(ValueError, match=r"of pi, laptop\. Received: 'phone'"):
            draw_trade_off(manifest(), tmp_path / "a.png", device="phone")
        assert not list(tmp_path.iterdir())
