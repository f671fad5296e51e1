"""Collects the runs of a recipe search into docs/recipe_search.csv and its table in the page.

    python docs/collect_search.py runs/search/*

Each folder is a study of `oekd compare` whose "test split" is of the training images: a recipe is
chosen by it, and test images are for those that were chosen. Every run is kept, losers included,
and so are the rows that are there.
"""

import csv
import sys
from pathlib import Path

from oekd_tf.core.files import write_text
from oekd_tf.core.paper import OEKD_ARGUMENTS
from oekd_tf.core.tables import markdown_table
from oekd_tf.studies import results as results_file

DOCS = Path(__file__).parent
COLUMNS = (
    "network", "images", "epochs", "optimizer", "seed", "method", "student_1", "student_2",
    "student_3", "student_4", "student_5", "teacher", "gain_4_and_5",
)  # fmt: skip
BEGIN, END = "<!-- table: docs/collect_search.py -->", "<!-- end of the table -->"


def main(folders):
    with (DOCS / "recipe_search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for folder in sorted(folders):
        # A run that two studies share is the same to the digit.
        found = ({name: str(value) for name, value in row.items()} for row in rows_of(Path(folder)))
        rows += [row for row in found if row not in rows]
    with (DOCS / "recipe_search.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    page = DOCS / "recipe_search.md"
    head, _, rest = page.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    shown = [{name.replace("_", " "): str(row[name]) for name in COLUMNS} for row in rows]
    write_text(page, f"{head}{BEGIN}\n\n{markdown_table(shown)}\n\n{END}{tail}")


def rows_of(folder):
    if not (folder / results_file.FILE_NAME).exists():
        return
    results = results_file.read(folder / results_file.FILE_NAME)
    config = results["config"]
    alone = {}
    for run in results["runs"]:
        if run["method"] == "alone":
            alone[run["seed"], run["student"]] = run["students"][0]["accuracy"]
    common = {
        "network": f"ResNet-{config['backbone']['arguments']['depth']}",
        "images": _images(config),
        "epochs": config["epochs"],
        "optimizer": f"{config['optimizer']['name']} {config['optimizer']['learning_rate']:g}",
    }
    seeds = sorted({run["seed"] for run in results["runs"]})
    for seed in seeds:
        found = {number: value for (s, number), value in alone.items() if s == seed}
        if found:
            accuracies = {f"student_{n}": f"{100 * v:.1f}" for n, v in found.items()}
            yield {**dict.fromkeys(COLUMNS, ""), **common, "seed": seed, **accuracies} | {
                "method": "each alone"
            }
    for run in results["runs"]:
        if run["student"]:
            continue
        values = {s["name"]: s["accuracy"] for s in run["students"]}
        gains = [
            100 * (values[f"student_{n}"] / alone[run["seed"], n] - 1)
            for n in (4, 5)
            if (run["seed"], n) in alone and f"student_{n}" in values
        ]
        yield {
            **dict.fromkeys(COLUMNS, ""),
            **common,
            "seed": run["seed"],
            "method": _method(config, results["methods"][run["method"]]),
            **{name: f"{100 * value:.1f}" for name, value in values.items()},
            "teacher": f"{100 * run['teacher']['accuracy']:.1f}" if run["teacher"] else "",
            "gain_4_and_5": f"{sum(gains) / len(gains):+.1f}" if len(gains) == 2 else "",
        }


def _images(config):
    data = config["data"]
    size = data["image_size"][0] if data["image_size"] else "own size"
    few = f", {data['max_examples']} of them" if data["max_examples"] else ""
    noise = f", {data['label_noise']:g} wrong labels" if data.get("label_noise") else ""
    moves = "+".join(data["augmentation"])
    return f"{data['source']} at {size}{few}{noise}, {moves}"


def _method(config, overrides):
    """The method and its arguments, without those that every one of them has."""
    name = overrides.get("method.name", config["method"]["name"])
    own = {
        path.rpartition(".")[2]: value
        for path, value in overrides.items()
        if path.startswith("method.arguments.")
    }
    if "method.name" not in overrides:
        own = {**config["method"]["arguments"], **own}
    if name == "oekd":
        own = {**OEKD_ARGUMENTS, **own}
        if all(own[n] == v for n, v in OEKD_ARGUMENTS.items()):
            return "oekd, the paper's loss"
    short = (
        ("label_weight", "α"), ("feature_weight", "β"), ("distillation_weight", "γ"),
        ("temperature", "T"),
    )  # fmt: skip
    if own.get("features", "mse") is None:
        own.pop("feature_weight", None)
    words = [f"{sign} {own[n]:g}" for n, sign in short if n in own]
    others = {
        "features": lambda v: f"features {v}" if v else "no features",
        "teacher_weights": lambda v: f"teacher weighted by {v}" if v else "",
        "stem_gradient": lambda v: f"stem gradient {v}" if v != "all" else "",
        "distillation_schedule": lambda v: f"γ {v}" if v != "constant" else "",
        "divergence": lambda v: v if v != "kl" else "",
        "target": lambda v: v,
    }
    words += [text for n, f in others.items() if n in own and (text := f(own[n]))]
    if overrides.get("ensemble.shared_stem") is False:
        words.append("a stem each")
    if own.get("distillation_schedule", "constant") != "constant":
        words += [f"over {own.get('schedule_share', 0.27):g} of the training"]
    return ", ".join([name, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
