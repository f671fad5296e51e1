"""Draws docs/promise.png: what each student gained on itself alone, in every kept study.

    python docs/draw_promise.py

A dot is the mean over seeds, a line its 95 % interval; green gains, red loses, grey is neither.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib.figure import Figure

from oekd_tf.studies import results as results_file
from oekd_tf.studies.aggregate import methods
from oekd_tf.studies.statistics import GAINS, LOSES

DOCS = Path(__file__).parent
# Title and folder: the default loss, from the smallest network to the largest, then the paper's.
STUDIES = (
    ("Fashion-MNIST, 14×14\nResNet-8, the demo", "demo"),
    ("CIFAR-10, 8×8\nResNet-20", "cifar10_8x8_resnet20"),
    ("CIFAR-10, 8×8\nResNet-56", "cifar10_8x8_resnet56"),
    ("CIFAR-10, 8×8\nResNet-8, paper's loss", "cifar10_jpeg_resnet8_8x8"),
    ("CIFAR-10, 16×16\nResNet-8, paper's loss", "cifar10_jpeg_resnet8"),
    ("CIFAR-10, 8×8\nResNet-56, paper's loss", "cifar10_jpeg_resnet56"),
)
COLOURS = {GAINS: "#1a7f37", LOSES: "#cf222e"}
FARTHEST = 16


def main():
    figure = Figure(figsize=(1.9 * len(STUDIES) + 1, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(STUDIES), sharey=True)
    for axes, (title, folder) in zip(panels, STUDIES, strict=True):
        found = results_file.read(DOCS / "studies" / folder / "results.json")
        ensemble = methods(found)[0]
        for row in ensemble.rows:
            if row.gain is None:
                continue
            number = int(row.name.removeprefix("student_"))
            colour = COLOURS.get(row.gain.verdict, "#8b949e")
            axes.plot([number, number], [row.gain.low, row.gain.high], color=colour, linewidth=2)
            axes.plot(number, row.gain.mean, "o", color=colour, markersize=5)
        axes.axhline(0, color="#444444", linewidth=0.8)
        axes.set_title(f"{title}\n{len(ensemble.seeds)} seeds", fontsize=8)
        axes.set_xlim(0.5, 5.5)
        axes.set_xticks(range(1, 6))
        axes.grid(axis="y", alpha=0.3)
        axes.set_xlabel("student", fontsize=8)
    panels[0].set_ylim(-FARTHEST, FARTHEST)
    panels[0].set_ylabel("gain on itself alone, %")
    figure.savefig(DOCS / "promise.png")


if __name__ == "__main__":
    main()
