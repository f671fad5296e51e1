"""What a teacher of one's own adds: the study of docs/pretrained.md.

    python docs/teacher_study.py --data_dir=FOLDER --workdir=runs/teacher

Trains a Wide ResNet-16-4 on the images of configs/cifar10_8x8_resnet20.py, then its five ResNet-20
students: without it, with it as half of the ensemble teacher, and with it in the ensemble teacher's
place. Resumes where it was stopped. Results are added to docs/teacher_results.csv, the table is
printed.
"""

import argparse
import csv
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from oekd_tf.core.tables import markdown_table
from oekd_tf.studies.statistics import relative_gain

DOCS = Path(__file__).parent
RESULTS = DOCS / "teacher_results.csv"
CONFIG = DOCS.parent / "configs" / "cifar10_8x8_resnet20.py"
WITHOUT = "none"
SHARES = (WITHOUT, "0.5", "1.0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="Folder of cifar10_jpeg.")
    parser.add_argument("--workdir", default="runs/teacher", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--table", action="store_true", help="Only print the table.")
    flags = parser.parse_args()
    if not flags.table:
        teacher = train_teacher(flags)
        for seed in map(int, flags.seeds.split(",")):
            for share in SHARES:
                train_students(flags, teacher, share, seed)
    print(table())


def config_of(flags):
    sys.path.append(str(CONFIG.parent))
    import cifar10_8x8_resnet20

    config = cifar10_8x8_resnet20.get_config()
    config.data.data_dir = flags.data_dir
    return config


def wide_resnet(image_shape, num_classes: int, mean, std):
    """Wide ResNet-16-4 of Zagoruyko and Komodakis, arXiv 1605.07146, as a user would write it."""
    import keras
    from keras import layers

    def normed(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    def conv(x, channels, strides=1, size=3):
        return layers.Conv2D(
            channels, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)

    images = keras.Input(image_shape)
    x = layers.Rescaling([1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)])(
        images
    )
    x = conv(x, 16)
    for stage, channels in enumerate((64, 128, 256)):
        for unit in range(2):
            strides = 2 if stage and not unit else 1
            y = normed(x)
            shortcut = x if unit else conv(y, channels, strides, 1)
            x = layers.Add()([conv(normed(conv(y, channels, strides)), channels), shortcut])
    x = layers.GlobalAveragePooling2D()(normed(x))
    return keras.Model(images, layers.Dense(num_classes)(x), name="wide_resnet_16_4")


def train_teacher(flags) -> Path:
    """A network of plain Keras, on the training images of the students."""
    path = flags.workdir / "wide_resnet.keras"
    if path.exists():
        return path
    import keras

    import oekd_tf
    from oekd_tf.training.restore import load_data

    config = config_of(flags)
    data = load_data(config)
    keras.utils.set_random_seed(100)
    model = wide_resnet(data.image_shape, data.num_classes, data.mean, data.std)
    steps = data.steps_per_epoch(128)
    rate = oekd_tf.schedules.cosine(0.1, config.epochs * steps, 2 * steps, 0.0)
    model.compile(
        oekd_tf.optimizers.SGD(rate, momentum=0.9, l2=5e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        data.train(128, seed=100, augmentation=("flip",)),
        steps_per_epoch=steps, epochs=config.epochs, verbose=2,
    )  # fmt: skip
    accuracy = model.evaluate(data.test(256), verbose=0, return_dict=True)["accuracy"]
    print(f"teacher: {model.count_params():,} parameters, test accuracy {accuracy:.4f}", flush=True)
    flags.workdir.mkdir(parents=True, exist_ok=True)
    model.save(path)
    write_rows([["teacher", "100", "teacher", round(accuracy, 6)]])
    return path


def train_students(flags, teacher: Path, share: str, seed: int) -> None:
    if any(row["teacher_share"] == share and row["seed"] == str(seed) for row in rows()):
        return
    import keras

    from oekd_tf import training

    keras.backend.clear_session()
    config = config_of(flags)
    config.seed = seed
    if share != WITHOUT:
        config.method.arguments = {"teacher": str(teacher), "teacher_share": float(share)}
    print(f"share {share}, seed {seed} ...", flush=True)
    summary = training.train(config, flags.workdir / f"{share}_{seed}", lambda line: None)
    write_rows(
        [share, str(seed), s["name"], round(s["test_accuracy"], 6)] for s in summary["students"]
    )


def write_rows(new) -> None:
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["teacher_share", "seed", "student", "test_accuracy"])
        writer.writerows(new)


def rows() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def table() -> str:
    """Accuracy without the teacher, and the relative gain of each share over it, seed by seed."""
    lines = []
    for student in sorted({row["student"] for row in rows()} - {"teacher"}):
        found = {
            share: {
                row["seed"]: float(row["test_accuracy"])
                for row in rows()
                if row["student"] == student and row["teacher_share"] == share
            }
            for share in SHARES
        }
        before = found[WITHOUT]
        line = {"student": student}
        line["without"] = f"{100 * sum(before.values()) / len(before):.1f} %"
        for share in SHARES[1:]:
            both = [seed for seed in found[share] if seed in before]
            if both:
                gain = relative_gain([found[share][s] for s in both], [before[s] for s in both])
                line[f"share {share}"] = f"{gain.mean:+.1f}" + (
                    f" [{gain.low:+.1f}, {gain.high:+.1f}]" if gain.low is not None else ""
                )
        lines.append(line)
    return markdown_table(lines)


if __name__ == "__main__":
    main()
