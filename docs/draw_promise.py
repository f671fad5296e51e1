"""Draws docs/promise.png: what each student gained on itself alone, in every kept study.

    python docs/draw_promise.py

A dot is the mean over seeds, a line its 95 % interval; green gains, red loses, grey is neither.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from oekd_tf.studies import results as results_file
from oekd_tf.studies.aggregate import methods
from oekd_tf.studies.statistics import GAINS, LOSES, Interval

DOCS = Path(__file__).parent
GPU = "Tiny ImageNet, 32×32\nResNet-20, 27 epochs, crops"
# Title and folder of studies with the default loss, and with the paper's.
DEFAULT = (
    ("Fashion-MNIST, 14×14\nResNet-8, the demo", "demo"),
    ("CIFAR-10, 8×8\nResNet-8, 20 epochs", "cifar10_8x8_resnet8"),
    ("CIFAR-10, 8×8\nResNet-20, 20 epochs", "cifar10_8x8_resnet20"),
    ("CIFAR-10, 8×8\nResNet-56, 40 epochs", "cifar10_8x8_resnet56"),
    ("Traffic signs, 32×32\nResNet-8, 8 epochs, crops", "gtsrb_resnet8"),
    ("Tiny ImageNet, 16×16\nResNet-8, 5 epochs", "tiny_imagenet100_resnet8"),
    (GPU, None),
)
PAPERS = (
    ("CIFAR-10, 16×16\nResNet-8, 30 epochs", "cifar10_jpeg_resnet8"),
    ("CIFAR-10, 8×8\nResNet-8, 20 epochs", "cifar10_jpeg_resnet8_8x8"),
    ("CIFAR-10, 8×8\nResNet-56, 20 epochs", "cifar10_jpeg_resnet56"),
)
COLOURS = {GAINS: "#1a7f37", LOSES: "#cf222e"}
FARTHEST = 20


def gains(folder: str | None) -> tuple[dict[int, Interval], int]:
    """The gain of each student that was trained alone, too, and the number of seeds."""
    if folder is None:
        return gains_on_gpu()
    ensemble = methods(results_file.read(DOCS / "studies" / folder / "results.json"))[0]
    rows = [row for row in ensemble.rows if row.gain is not None]
    return {int(row.name.removeprefix("student_")): row.gain for row in rows}, len(ensemble.seeds)


def gains_on_gpu() -> tuple[dict[int, Interval], int]:
    """The same of docs/gpu, which `benchmarks/gpu.py` made."""
    # A folder of scripts, which is no package.
    sys.path.append(str(DOCS.parent / "benchmarks"))
    import gpu_results

    lines = json.loads((DOCS / "gpu" / "results.json").read_text())
    found = gpu_results.gains([line for line in lines if line["part"] == "training"])
    seeds = {len(gain.values) for gain in found.values()}
    return {int(student.split()[1]): gain for (_, student), gain in found.items()}, max(seeds)


def draw(axes, found: dict[int, Interval]) -> None:
    """One study: a dot and a line a student; an arrow where a line leaves the picture."""
    for number, gain in found.items():
        colour = COLOURS.get(gain.verdict, "#8b949e")
        axes.plot([number, number], [gain.low, gain.high], color=colour, linewidth=2)
        axes.plot(number, gain.mean, "o", color=colour, markersize=5)
        for end, marker in ((gain.low, "v"), (gain.high, "^")):
            if abs(end) > FARTHEST:
                place = 0.97 * FARTHEST * (1 if end > 0 else -1)
                axes.plot(number, place, marker, color=colour, markersize=5)
    axes.axhline(0, color="#444444", linewidth=0.8)
    axes.set_xlim(0.5, 5.5)
    axes.set_xticks(range(1, 6))
    axes.grid(axis="y", alpha=0.3)


def main():
    figure = Figure(figsize=(1.9 * len(DEFAULT) + 0.8, 6.4), dpi=150, layout="constrained")
    rows = figure.subfigures(2, 1)
    for row, name, studies in (
        (rows[0], "default loss", DEFAULT), (rows[1], "the paper's loss", PAPERS)
    ):  # fmt: skip
        panels = row.subplots(1, len(DEFAULT), sharey=True)
        for axes, (title, folder) in zip(panels, studies, strict=False):
            found, seeds = gains(folder)
            draw(axes, found)
            axes.set_title(f"{title}\n{seeds} seeds", fontsize=8)
            axes.set_xlabel("student", fontsize=8)
        for axes in panels[len(studies) :]:
            axes.set_axis_off()
        panels[0].set_ylim(-FARTHEST, FARTHEST)
        panels[0].set_ylabel(f"gain on itself alone, %\n{name}")
    legend = [
        Line2D([], [], color=colour, marker="o", label=label)
        for label, colour in (*((verdict, COLOURS[verdict]) for verdict in COLOURS),
                              ("neither", "#8b949e"))
    ]  # fmt: skip
    panels[-1].legend(handles=legend, title="mean, 95 % interval", loc="center", fontsize=9)
    figure.savefig(DOCS / "promise.png")


if __name__ == "__main__":
    main()
