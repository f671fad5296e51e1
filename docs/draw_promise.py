"""Draws docs/promise.png: what each student gained on itself alone, in every kept study.

    python docs/draw_promise.py

A dot is the mean over seeds, a line its 95 % interval; green gains, red loses, grey is neither.
"""

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib.figure import Figure

from oekd_tf.studies import results as results_file
from oekd_tf.studies.aggregate import methods
from oekd_tf.studies.statistics import GAINS, LOSES, Interval, relative_gain

DOCS = Path(__file__).parent
GPU = "Tiny ImageNet, 32×32\nResNet-20, 27 epochs"
# Title and folder: the default loss, from the smallest network to the largest, then the paper's.
STUDIES = (
    ("Fashion-MNIST, 14×14\nResNet-8, the demo", "demo"),
    ("CIFAR-10, 8×8\nResNet-20", "cifar10_8x8_resnet20"),
    ("CIFAR-10, 8×8\nResNet-56", "cifar10_8x8_resnet56"),
    (GPU, None),
    ("CIFAR-10, 8×8\nResNet-8, paper's loss", "cifar10_jpeg_resnet8_8x8"),
    ("CIFAR-10, 16×16\nResNet-8, paper's loss", "cifar10_jpeg_resnet8"),
    ("CIFAR-10, 8×8\nResNet-56, paper's loss", "cifar10_jpeg_resnet56"),
)
COLOURS = {GAINS: "#1a7f37", LOSES: "#cf222e"}
FARTHEST = 16


def gains(folder: str | None) -> tuple[dict[int, Interval], int]:
    """The gain of each student that was trained alone, too, and the number of seeds."""
    if folder is None:
        return gains_on_gpu()
    ensemble = methods(results_file.read(DOCS / "studies" / folder / "results.json"))[0]
    rows = [row for row in ensemble.rows if row.gain is not None]
    return {int(row.name.removeprefix("student_")): row.gain for row in rows}, len(ensemble.seeds)


def gains_on_gpu() -> tuple[dict[int, Interval], int]:
    """The same of docs/gpu, which `benchmarks/gpu.py` made."""
    lines = json.loads((DOCS / "gpu" / "results.json").read_text())
    tests = {(r["run"], r["seed"]): r["test"] for r in lines if r["part"] == "training"}
    seeds = sorted({seed for _, seed in tests})
    students = {run.split()[1] for run, _ in tests if run.endswith(" alone")}
    found = {
        int(student): relative_gain(
            [tests["oekd", seed][f"student_{student}_accuracy"] for seed in seeds],
            [tests[f"student {student} alone", seed]["accuracy"] for seed in seeds],
        )
        for student in students
    }
    return found, len(seeds)


def main():
    figure = Figure(figsize=(1.75 * len(STUDIES) + 1, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(STUDIES), sharey=True)
    for axes, (title, folder) in zip(panels, STUDIES, strict=True):
        found, seeds = gains(folder)
        for number, gain in found.items():
            colour = COLOURS.get(gain.verdict, "#8b949e")
            axes.plot([number, number], [gain.low, gain.high], color=colour, linewidth=2)
            axes.plot(number, gain.mean, "o", color=colour, markersize=5)
        axes.axhline(0, color="#444444", linewidth=0.8)
        axes.set_title(f"{title}\n{seeds} seeds", fontsize=8)
        axes.set_xlim(0.5, 5.5)
        axes.set_xticks(range(1, 6))
        axes.grid(axis="y", alpha=0.3)
        axes.set_xlabel("student", fontsize=8)
    panels[0].set_ylim(-FARTHEST, FARTHEST)
    panels[0].set_ylabel("gain on itself alone, %")
    figure.savefig(DOCS / "promise.png")


if __name__ == "__main__":
    main()
