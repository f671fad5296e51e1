"""What a pretrained start gains: the study of docs/pretrained.md.

    python docs/pretrained_study.py --data_dir=FOLDER --workdir=runs/pretrained

Trains student 1 alone on 60 classes of Tiny ImageNet, then ensembles on 2,000 images of the 40
other classes and of traffic signs, for as many steps each: from random weights, and from those of
student 1, of which narrower students have a slice by each of the rules. Resumes where it was
stopped. Results are added to docs/pretrained_results.csv, the table is printed.
"""

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from oekd_tf.config import default_config
from oekd_tf.core.choices import SLICES
from oekd_tf.core.tables import markdown_table
from oekd_tf.studies.statistics import Interval, interval, relative_gain

RESULTS = Path(__file__).parent / "pretrained_results.csv"
CLASSES = 60
RANDOM = "random weights"
STARTS = (RANDOM, *SLICES)
# The choices were made on images of the third, which is none of the study's.
TARGETS = ("other_classes", "traffic_signs", "chosen_on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="Folder of tiny_imagenet100 and gtsrb32.")
    parser.add_argument("--workdir", default="runs/pretrained", type=Path)
    parser.add_argument("--targets", default=",".join(TARGETS[:2]))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--starts", default=",".join(STARTS))
    parser.add_argument("--learning_rate", default=0.01, type=float)
    parser.add_argument("--table", action="store_true", help="Only print the table.")
    flags = parser.parse_args()
    if not flags.table:
        folders = write_pictures(flags.data_dir, flags.workdir)
        source = pretrain(flags.workdir, folders["first"])
        for seed in map(int, flags.seeds.split(",")):
            for target in flags.targets.split(","):
                for start in flags.starts.split(","):
                    fine_tune(flags, target, start, seed, source, folders["others"])
    print("\n".join(table()))


def write_pictures(data_dir: str, workdir: Path) -> dict[str, Path]:
    """Tiny ImageNet's classes as two image folders, which are written once."""
    folders = {name: workdir / f"{name}_classes" for name in ("first", "others")}
    done = workdir / "pictures_are_written"
    if done.exists():
        return folders
    import numpy as np
    import tensorflow_datasets as tfds
    from PIL import Image

    builder = tfds.builder("tiny_imagenet100", data_dir=data_dir)
    names = builder.info.features["label"].names
    for split in ("train", "test"):
        for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split=split))):
            label = int(example["label"])
            folder = folders["first" if label < CLASSES else "others"] / split / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(example["image"])).save(folder / f"{number:05d}.png")
    done.touch()
    return folders


def base_config(name: str, epochs: int):
    config = default_config()
    config.name = name
    config.epochs = epochs
    config.data.image_size = (16, 16)
    config.backbone.arguments.depth = 8
    config.optimizer.learning_rate = 0.01
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    return config


def pretrain(workdir: Path, pictures: Path) -> Path:
    """Student 1 alone on the first classes; its run's folder."""
    config = base_config("pretrained", 20)
    config.only_student = 1
    config.data.source = "image_folder"
    config.data.data_dir = str(pictures)
    config.data.augmentation = ("flip",)
    run(config, workdir / "source")
    return workdir / "source"


def fine_tune(flags, target: str, start: str, seed: int, source: Path, pictures: Path) -> None:
    """An ensemble on 2,000 images; a row for each student."""
    key = {
        "target": target, "start": start, "seed": str(seed),
        "learning_rate": f"{flags.learning_rate:g}",
    }  # fmt: skip
    if any(all(row[name] == value for name, value in key.items()) for row in rows()):
        return
    config = base_config("fine_tuned", 15)
    config.seed = seed
    config.data.max_examples = 2000
    config.data.split_seed = seed
    config.data.augmentation = ("flip",)
    if target == "other_classes":
        config.data.source, config.data.data_dir = "image_folder", str(pictures)
    elif target == "traffic_signs":
        config.data.source, config.data.data_dir = "gtsrb32", flags.data_dir
        config.data.group_key, config.data.augmentation = "track", ()
    else:
        config.data.source, config.data.data_dir = "cifar10_jpeg", flags.data_dir
        config.data.train_split = "train[:10000]"
        config.data.test_split = "train[10000:15000]"
    config.optimizer.learning_rate = flags.learning_rate
    if start != RANDOM:
        config.initial_weights = str(source)
        config.ensemble.slice = start
    name = "_".join([target, start.replace(" ", "_"), str(seed), key["learning_rate"]])
    summary = run(config, flags.workdir / name)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow([*key, "student", "test_accuracy"])
        for student in summary["students"]:
            accuracy = round(student["test_accuracy"], 6)
            writer.writerow([*key.values(), student["name"], accuracy])


def run(config, workdir: Path):
    """Trains in this process; a finished run is only read."""
    import keras

    from oekd_tf import training

    print(f"{workdir.name} ...", flush=True)
    keras.backend.clear_session()
    summary = training.train(config, workdir, lambda line: None)
    print(f"{workdir.name}: {[s['test_accuracy'] for s in summary['students']]}", flush=True)
    return summary


def rows() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def table() -> Iterator[str]:
    """Accuracy from random weights, and each start's relative gain over it, of the same seeds.

    Then points of accuracy of a slice by a rule above one of random channels.
    """
    for target in dict.fromkeys(row["target"] for row in rows()):
        yield from (f"{target}:", "", markdown_table(gains(target)), "")
        yield from (f"{target}, rules against random channels:", "")
        yield from (markdown_table(rules(target)), "")


def gains(target: str) -> list[dict[str, str]]:
    lines = []
    for student in students(target):
        before = accuracies(target, student, RANDOM)
        line = {"student": student, RANDOM: f"{100 * sum(before.values()) / len(before):.1f} %"}
        for start in SLICES:
            found = accuracies(target, student, start)
            both = [key for key in found if key in before]
            line[start] = said(relative_gain([found[k] for k in both], [before[k] for k in both]))
        lines.append(line)
    return lines


def rules(target: str) -> list[dict[str, str]]:
    lines = []
    # Student 1 has all channels, whatever the rule.
    for student in students(target)[1:]:
        chance = accuracies(target, student, "random")
        line = {"student": student}
        for start in SLICES:
            if start != "random":
                found = accuracies(target, student, start)
                line[start] = said(
                    interval([100 * (found[key] - chance[key]) for key in found if key in chance])
                )
        lines.append(line)
    return lines


def students(target: str) -> list[str]:
    return sorted({row["student"] for row in rows() if row["target"] == target})


def accuracies(target: str, student: str, start: str) -> dict[tuple[str, str], float]:
    """Test accuracies by seed and learning rate."""
    return {
        (row["seed"], row["learning_rate"]): float(row["test_accuracy"])
        for row in rows()
        if (row["target"], row["student"], row["start"]) == (target, student, start)
    }


def said(found: Interval) -> str:
    ends = "" if found.low is None else f" [{found.low:+.1f}, {found.high:+.1f}]"
    return f"{found.mean:+.1f}{ends}"


if __name__ == "__main__":
    main()
