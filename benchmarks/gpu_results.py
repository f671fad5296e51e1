"""What `gpu.py` measured, in two files and as tables."""

import json
from pathlib import Path

from oekd_tf.core.files import write_text
from oekd_tf.core.tables import markdown_table
from oekd_tf.studies.report_tables import plus_minus, with_interval
from oekd_tf.studies.statistics import Interval, relative_gain, spread


class Results:
    """What was measured so far, in two files.

    Args:
        folder: Folder to write.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.lines: list[dict] = []

    def add(self, line: dict) -> None:
        """Keeps a measurement and writes both files."""
        self.lines.append(line)
        write_text(self.folder / "results.json", json.dumps(self.lines, indent=1) + "\n")
        write_text(self.folder / "results.md", self.markdown())

    def markdown(self) -> str:
        """All measurements as tables."""
        parts = {part: [r for r in self.lines if r["part"] == part] for part in
                 ("machine", "check", "throughput", "plan", "training", "failed")}  # fmt: skip
        text = ["# An ensemble on one device\n"]
        machines = {json.dumps(row): row for row in parts["machine"]}
        for row in machines.values():
            text.append("- " + ", ".join(f"{k}: {v}" for k, v in row.items() if k != "part"))
        for row in parts["check"]:
            difference = row["largest_relative_difference"]
            text.append(f"- losses of PyTorch and Keras differ by {difference:.1e} at most")
        if parts["throughput"]:
            text.append("\n## Speed of training steps, with the paper's loss\n")
            text.append(
                markdown_table(
                    [
                        {
                            "framework": row["framework"],
                            "way": row["way"],
                            "precision": row["precision"],
                            "batch": str(row["batch"]),
                            "images/s": f"{row['images_per_second']:,.0f}",
                            "step, ms": f"{row['step_ms']:.2f}",
                            "to the first step, s": f"{row['start_s']:.1f}",
                        }
                        for row in parts["throughput"]
                    ]
                )
            )
        for row in parts["plan"]:
            text.append(
                "\n## Training, each method with its defaults\n\n"
                f"{row['epochs']} epochs of {row['steps_per_epoch']} steps of "
                f"{row['batch']} images, SGD {row['learning_rate']:g} with momentum 0.9 and a "
                f"cosine, L2 {row['l2']:g}, {row['precision']}; {row['start_s']:.0f} s to build "
                "and compile all.\n"
            )
        if parts["training"]:
            text.append(markdown_table(_accuracies(parts["training"])))
            text.append("\n" + markdown_table(_gain_rows(parts["training"])))
        if parts["failed"]:
            text.append("\n## Not measured\n")
            text += [f"- {row['what']}: {row['error']}" for row in parts["failed"]]
        return "\n".join(text) + "\n"


def _by_run(rows: list[dict]) -> dict[str, dict[int, dict]]:
    """The measurements by run and seed."""
    found: dict[str, dict[int, dict]] = {}
    for row in rows:
        found.setdefault(row["run"], {})[row["seed"]] = row
    return found


def _accuracies(rows: list[dict]) -> list[dict[str, str]]:
    table = []
    for run, seeds in _by_run(rows).items():
        names = next(iter(seeds.values()))["test"]
        columns = {
            name.removesuffix("_accuracy").replace("_", " "): plus_minus(
                spread([100 * each["test"][name] for each in seeds.values()]), 2
            )
            for name in names
        }
        # A student alone has one accuracy, which is its own.
        alone = columns.pop("accuracy", None)
        columns |= {run.removesuffix(" alone"): alone} if alone else {}
        speed = spread([each["images_per_second"] for each in seeds.values()])
        table.append({"run": run, "seeds": str(len(seeds)), **columns,
                      "images/s": f"{speed.mean:,.0f}"})  # fmt: skip
    every = list(dict.fromkeys(name for row in table for name in row))
    every.append(every.pop(every.index("images/s")))
    return [{name: row.get(name, "") for name in every} for row in table]


def gains(rows: list[dict]) -> dict[tuple[str, str], Interval]:
    """The gain on itself alone of each student of each method, in %, over the seeds of both.

    Args:
        rows: Measurements of the part "training".

    Returns:
        Intervals by method and student ("student 5").
    """
    runs, found = _by_run(rows), {}
    for method, together in runs.items():
        if method.endswith(" alone"):
            continue
        for run, alone in runs.items():
            seeds = sorted(set(together) & set(alone))
            if not run.endswith(" alone") or not seeds:
                continue
            student = run.removesuffix(" alone")
            accuracy = student.replace(" ", "_") + "_accuracy"
            found[method, student] = relative_gain(
                [together[seed]["test"][accuracy] for seed in seeds],
                [alone[seed]["test"]["accuracy"] for seed in seeds],
            )
    return found


def _gain_rows(rows: list[dict]) -> list[dict[str, str]]:
    table = [
        {
            "method": method,
            "student": student,
            "seeds": str(len(gain.values)),
            "gain %, 95 % interval": with_interval(gain),
            "by seed": " ".join(f"{value:+.2f}" for value in gain.values),
        }
        for (method, student), gain in gains(rows).items()
    ]
    return table or [{"gain": "none: nothing was trained both together and alone"}]
