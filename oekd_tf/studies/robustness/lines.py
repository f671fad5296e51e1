"""Lines and bars of the picture: one for each network, students by colour."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from oekd_tf.studies.robustness.material import Scores
from oekd_tf.studies.robustness.subjects import TOGETHER


class Line(NamedTuple):
    """A network in the picture.

    Attributes:
        student: Name of the student.
        trained: "together" or "alone".
        colour: Colour of the student.
        scores: Its scores.
    """

    student: str
    trained: str
    colour: Any
    scores: Scores


def draw_lines(
    axes: Any, networks: Sequence[Line], values: Callable[[Scores], list[tuple[float, float]]]
) -> None:
    """A line for each network, dashed where it was trained alone.

    Args:
        axes: Axes of a figure.
        networks: The networks.
        values: Function from scores to points.
    """
    for network in networks:
        style = "o-" if network.trained == TOGETHER else "s--"
        points = values(network.scores)
        axes.plot(*zip(*points, strict=True), style, color=network.colour, markersize=4)
        axes.set_xticks([x for x, _ in points])
    axes.grid(alpha=0.3)


def draw_bars(axes: Any, networks: Sequence[Line], value: Callable[[Scores], float | None]) -> None:
    """A bar for each network, hatched where it was trained alone.

    Args:
        axes: Axes of a figure.
        networks: The networks.
        value: Function from scores to a height; None for no bar.
    """
    students = list(dict.fromkeys(network.student for network in networks))
    both = len({network.trained for network in networks}) > 1
    width = 0.4 if both else 0.7
    for network in networks:
        height = value(network.scores)
        if height is None:
            continue
        together = network.trained == TOGETHER
        shift = (-width / 2 if together else width / 2) if both else 0
        axes.bar(
            students.index(network.student) + shift, height, width * 0.92,
            color=network.colour if together else "white", edgecolor=network.colour,
            hatch=None if together else "////",
        )  # fmt: skip
    axes.set_xticks(range(len(students)), [name.removeprefix("student_") for name in students])
    axes.set_xlabel("student")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
