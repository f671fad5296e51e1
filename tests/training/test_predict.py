"""Stored logits of a teacher: written by one run, followed by another."""

import subprocess
import sys

import numpy as np
import pytest
from small_runs import environment, small_config

import oekd_tf
from oekd_tf import config as config_module
from oekd_tf import training
from oekd_tf.core.errors import ConfigError
from oekd_tf.data.teacher_logits import read_logits, save_logits
from oekd_tf.training.predict import predict_run

QUIET = lambda line: None  # noqa: E731


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished run and its stored logits."""
    folder = tmp_path_factory.mktemp("teacher")
    training.train(small_config(epochs=2), folder / "run", QUIET)
    predict_run(folder / "run", folder / "wide.npz", log=QUIET)
    return folder


def following(place, **changes):
    changes = {
        "data__teacher_logits": str(place / "wide.npz"), "data__augmentation": (), "epochs": 1,
        **changes,
    }  # fmt: skip
    config = small_config(**changes)
    config.method.arguments = {"teacher": "stored", "teacher_share": 1.0}
    return config


@pytest.mark.integration
class TestRun:
    def test_a_row_is_the_logits_of_its_example(self, place):
        _, data, ensemble = training.restore_run(place / "run")
        logits = read_logits(place / "wide.npz", data)
        seen = 0
        for images, labels in data.train(32, seed=3, augmentation=(), teacher_logits=logits).take(
            data.steps_per_epoch(32)
        ):
            expected = ensemble.students[0](images, training=False)
            np.testing.assert_allclose(labels["teacher_logits"], expected, rtol=1e-4, atol=1e-4)
            seen += len(images)
        assert seen > 64

    def test_students_follow_them(self, place, tmp_path):
        summary = training.train(following(place), tmp_path / "run", QUIET)
        assert summary["test_logs"]["distillation_loss"] > 0
        changed = np.load(place / "wide.npz")
        other = tmp_path / "other.npz"
        np.savez(other, **{**changed, "logits": changed["logits"] + 1.0})
        (tmp_path / "run" / "summary.json").unlink()
        config = following(place)
        kept = (place / "wide.npz").read_bytes()
        (place / "wide.npz").write_bytes(other.read_bytes())
        try:
            with pytest.raises(ConfigError, match="must be the file that the run began with"):
                training.train(config, tmp_path / "run", QUIET)
        finally:
            (place / "wide.npz").write_bytes(kept)
        # What was trained can be restored without the file.
        assert training.restore_model(tmp_path / "run").method.is_stored

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"data__split_seed": 5}, "of other training images, or of another choice"),
            ({"data__max_examples": 100}, "of other training images, or of another choice"),
            ({"data__teacher_logits": "nowhere.npz"}, "of which is said"),
        ],
    )
    def test_of_other_data(self, place, tmp_path, changes, message):
        with pytest.raises(ConfigError, match=message) as caught:
            training.train(following(place, **changes), tmp_path / "run", QUIET)
        assert len(str(caught.value).splitlines()) == 1
        assert not (tmp_path / "run" / "contract.json").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("network", ["student_2", "teacher"])
    def test_other_networks(self, place, tmp_path, network):
        logits = predict_run(place / "run", tmp_path / "x.npz", network, log=QUIET)
        _, data, ensemble = training.restore_run(place / "run")
        ((examples, images),) = data.in_order(8).take(1)
        np.testing.assert_allclose(
            logits[examples], ensemble(images, training=False)[network], rtol=1e-4, atol=1e-4
        )

    def test_on_the_command_line(self, place, tmp_path):
        def run(*arguments):
            return subprocess.run(
                [sys.executable, "-m", "oekd_tf", "predict", *arguments], cwd=tmp_path,
                env=environment(), capture_output=True, text=True, check=False,
            )  # fmt: skip

        done = run(f"--workdir={place / 'run'}", "--save_logits=wide.npz")
        assert done.returncode == 0, done.stderr
        with np.load(place / "wide.npz") as one, np.load(tmp_path / "wide.npz") as other:
            np.testing.assert_allclose(one["logits"], other["logits"], atol=1e-4)
        refused = run(f"--workdir={place / 'run'}", "--save_logits=wide.npz")
        assert refused.returncode == 1
        assert "must not be there yet" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("name", "network", "message"),
        [
            ("wide.csv", "", "must end with .npz"),
            ("other.npz", "student_9", "one of student_1, student_2, teacher"),
        ],
    )
    def test_refusals(self, place, tmp_path, name, network, message):
        with pytest.raises(ConfigError, match=message):
            predict_run(place / "run", tmp_path / name, network, log=QUIET)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("changes", "teacher", "message"),
    [
        ({"data__augmentation": ("flip",)}, "stored", "must be '' with augmentation"),
        ({"data__mixup": 0.2}, "stored", "must be '' with augmentation"),
        ({"data__teacher_logits": ""}, "stored", "must be set with config.method.arguments"),
        ({}, None, "must be set with config.method.arguments"),
    ],
)
def test_what_does_not_go_together(tmp_path, changes, teacher, message):
    config = following(tmp_path, **changes)
    config.method.arguments = {"teacher": teacher}
    with pytest.raises(ConfigError, match=message):
        config_module.check(config)


def test_of_other_classes(tmp_path, rng):
    images = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(60) % 3
    arrays = {"train": (images, labels), "test": (images, labels)}
    data, other = oekd_tf.data.load(arrays), oekd_tf.data.load(arrays)
    save_logits(tmp_path / "x.npz", np.zeros((60, 3)), data)
    assert read_logits(tmp_path / "x.npz", other).shape == (60, 3)
    other.class_names = ["a", "b", "c"]
    with pytest.raises(ValueError, match="of other classes"):
        read_logits(tmp_path / "x.npz", other)
    save_logits(tmp_path / "y.npz", np.full((60, 3), np.nan), data)
    with pytest.raises(ValueError, match="60 rows of 3 finite numbers"):
        read_logits(tmp_path / "y.npz", data)


def test_a_feature_of_a_tfds_data_set(tmp_path, rng):
    import tensorflow_datasets as tfds

    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    logits = rng.normal(0, 1, (40, 2)).astype(np.float32)
    labels = np.arange(40) % 2
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(num_classes=2),
            "wise": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        }
    )
    rows = list(
        enumerate(
            [
                {"image": image, "label": int(label), "wise": row}
                for image, label, row in zip(images, labels, logits, strict=True)
            ]
        )
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="taught",
        version="1.0.0",
        data_dir=tmp_path,
        features=features,
        split_datasets={"train": rows, "test": rows[:8]},
        disable_shuffling=True,
    )
    for cache in ("decoded", "none"):
        data = oekd_tf.data.load("taught", data_dir=str(tmp_path), cache=cache)
        stored = read_logits("feature:wise", data)
        seen = 0
        for batch, given in data.train(4, seed=1, augmentation=(), teacher_logits=stored).take(9):
            for image, row in zip(batch.numpy(), given["teacher_logits"].numpy(), strict=True):
                (place,) = np.flatnonzero((images == image).all(axis=(1, 2, 3)))
                np.testing.assert_allclose(row, logits[place], rtol=1e-6)
                seen += 1
        assert seen == 36
    with pytest.raises(ValueError, match="must name a feature that is a vector: wise"):
        read_logits("feature:label", data)
