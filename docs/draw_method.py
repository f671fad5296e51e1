"""Draws docs/method.svg.

python docs/draw_method.py
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

WIDTHS = (1.0, 0.8, 0.6, 0.4, 0.2)
BLOCK, GAP, HEIGHT = 1.5, 0.75, 0.62
COLOURS = {"stem": "#d9d9d9", "block": "#9ecae1", "head": "#fdd0a2", "teacher": "#fdae6b"}


def box(axes, x, y, width, height, text, colour):
    style = "round,pad=0.02,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch((x, y - height / 2), width, height, boxstyle=style, fc=colour, ec="#444444")
    )
    axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=8)


def arrow(axes, start, end, colour="#444444", style="-", bend=0.0):
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8, color=colour, linestyle=style,
            connectionstyle=f"arc3,rad={bend}", lw=1,
        )
    )  # fmt: skip


def draw():
    plt.rcParams["svg.hashsalt"] = "oekd_tf"
    figure, axes = plt.subplots(figsize=(10, 5))
    rows = [4.4 - 1.05 * i for i in range(len(WIDTHS))]
    middle = rows[len(rows) // 2]
    box(axes, 0, middle, 1.0, 0.7, "images", "white")
    box(axes, 1.5, middle, 1.3, 4.9, "stem,\nshared,\nfull width", COLOURS["stem"])
    arrow(axes, (1.02, middle), (1.48, middle))
    first = 3.4
    for number, (width, y) in enumerate(zip(WIDTHS, rows, strict=True), start=1):
        role = ": the pseudo teacher" if number == 1 else ""
        text = f"student {number}, width {width:g}{role}"
        axes.text(first - 0.25, y + 0.4, text, fontsize=7.5, color="#333333")
        arrow(axes, (2.82, y), (first - 0.02, y))
        for block in range(3):
            x = first + block * (BLOCK + GAP)
            box(axes, x, y, BLOCK, max(0.16, HEIGHT * width), f"block {block + 1}" if width > 0.3
                else "", COLOURS["block"])  # fmt: skip
            arrow(axes, (x + BLOCK + 0.02, y), (x + BLOCK + GAP - 0.02, y))
            if number > 1:
                above = (x + BLOCK + 0.25, rows[number - 2] - 0.04)
                arrow(axes, above, (x + BLOCK + 0.25, y + 0.02), "#2c7fb8", "--")
        box(axes, first + 3 * (BLOCK + GAP), y, 0.9, 0.5, "logits", COLOURS["head"])
        arrow(axes, (first + 3 * (BLOCK + GAP) + 0.92, y), (12.0, middle), bend=0)
    box(axes, 12.0, middle, 1.5, 1.2, "ensemble\nteacher:\nmean of logits", COLOURS["teacher"])
    arrow(axes, (12.75, middle + 0.62), (first + 3 * (BLOCK + GAP) + 0.6, rows[0] + 0.3), "#d94801",
          "--", 0.35)  # fmt: skip
    text = "softened output,\nto every student"
    axes.text(12.2, rows[0] + 0.35, text, fontsize=8, color="#d94801", ha="center")
    text = (
        "- - the pseudo teacher's block outputs, to every student by 1×1 channel adaptation layers"
    )
    axes.text(first + 2.2, rows[-1] - 0.62, text, fontsize=8, color="#2c7fb8")
    axes.set_xlim(-0.2, 13.8)
    axes.set_ylim(rows[-1] - 0.9, rows[0] + 0.9)
    axes.axis("off")
    figure.tight_layout(pad=0.2)
    figure.savefig(Path(__file__).with_name("method.svg"), metadata={"Date": None})


if __name__ == "__main__":
    draw()
