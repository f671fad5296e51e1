"""Labels of pictures lie on nothing; logarithmic axes have plain numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from oekd_tf.core.pictures import place_labels, plain_log_axis


def picture(xs, *curves, errors=None):
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        axes.errorbar(xs, curve, errors, fmt="o-", capsize=3, label="a curve")
    axes.axhline(np.mean(curves[0]), linestyle=":")
    axes.margins(x=0.12, y=0.22)
    plain_log_axis(axes.xaxis)
    axes.legend(loc="lower right")
    return axes


def boxes(axes, labels):
    axes.figure.draw_without_rendering()
    return [label.get_window_extent() for label in labels]


def inked(figure):
    """Whether each pixel is drawn on; rows from below, as in boxes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3].min(axis=-1) < 250


@pytest.mark.parametrize("errors", [None, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_labels_lie_on_nothing(seed, errors):
    rng = np.random.default_rng(seed)
    xs = np.sort(rng.uniform(3.5, 5, 5))
    xs = 10 ** (xs + 0.15 * np.arange(5))
    one = np.sort(rng.uniform(70, 84, 5))
    other = one + rng.normal(0, 0.8, 5)
    axes = picture(xs, one, other, errors=errors)
    labels = place_labels(axes, list(zip(xs, one, strict=True)), [f"student {i}" for i in range(5)])
    found = boxes(axes, labels)
    inside = axes.get_window_extent()
    for index, box in enumerate(found):
        assert not any(box.overlaps(other) for other in found[:index])
        assert not box.overlaps(axes.get_legend().get_window_extent())
        assert box.x0 >= inside.x0
        assert box.x1 <= inside.x1
        assert box.y0 >= inside.y0
        assert box.y1 <= inside.y1
    # What is drawn without them: nothing within their boxes.
    for label in labels:
        label.set_visible(False)
    ink = inked(axes.figure)
    for box in found:
        assert not ink[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)].any()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (9, 110, ["10", "20", "50", "100"]),
        (3_500, 80_000, ["5,000", "10,000", "20,000", "50,000"]),
        (0.4, 6, ["0.5", "1", "2", "5"]),
    ],
)
def test_ticks_are_plain_numbers(low, high, expected):
    axes = picture(np.array([low, high]), np.array([1.0, 2.0]))
    left, right = axes.get_xlim()
    shown = [
        label.get_text()
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if left <= tick <= right
    ]
    assert [text for text in shown if text in expected] == expected


@pytest.mark.parametrize(("low", "high"), [(48_000, 78_000), (6.4, 13.0), (90, 95)])
def test_a_narrow_range_has_ticks(low, high):
    axes = picture(np.array([low, high]), np.array([1.0, 2.0]))
    left, right = axes.get_xlim()
    assert 3 <= sum(left <= tick <= right for tick in axes.get_xticks()) <= 12
