"""What was trained is what is served: the data change between start, stop, end and export."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from small_runs import small_config

import oekd_tf
from oekd_tf import training
from oekd_tf.core.errors import ConfigError
from oekd_tf.data.npz import ArrayData
from oekd_tf.training.contract import adopt, read_contract

pytestmark = pytest.mark.integration

RNG = np.random.default_rng(0)
BANDS = {"cat": 0, "dog": 1, "fox": 2}


def pictures(folder, name, count, prefix="", bright=0):
    """Noise with a bright band whose place says the class."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = RNG.normal(90 + bright, 30, (30, 30, 3))
        pixels[10 * BANDS[name] : 10 * BANDS[name] + 10] += 80
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / name / f"{prefix}{index}.png")


def config_of(photos, **changes):
    changes = {"epochs": 2, "data__max_examples": 0, "data__validation_fraction": 0.1} | changes
    return small_config(
        data__source="image_folder",
        data__data_dir=str(photos),
        data__image_size=(24, 24),
        data__augmentation=(),
        **changes,
    )


def train(config, workdir):
    said = []
    return training.train(config, workdir, said.append), said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Photos, a finished run on them, and one that was stopped after its first epoch."""
    root = tmp_path_factory.mktemp("contract")
    for name in BANDS:
        pictures(root / "photos/train", name, 40)
        pictures(root / "photos/test", name, 10)
    train(config_of(root / "photos"), root / "run")
    stopped = shutil.copytree(root / "run", root / "stopped")
    (stopped / "summary.json").unlink()
    shutil.rmtree(stopped / "checkpoints/epoch_00002")
    return root


@pytest.fixture
def place(trained, tmp_path):
    """Copies of the photos and the runs, to change; the runs know the photos by this place."""
    root = shutil.copytree(trained, tmp_path / "copy")
    for run in ("run", "stopped"):
        path = root / run / "config.json"
        path.write_text(path.read_text().replace(str(trained), str(root)))
    return root


def rename(place):
    for split in ("train", "test"):
        (place / "photos" / split / "cat").rename(place / "photos" / split / "zebra")


def take_away(place):
    for split in ("train", "test"):
        shutil.rmtree(place / "photos" / split / "fox")


def test_the_contract_is_written_before_the_first_step(place):
    contract = read_contract(place / "run")
    assert contract["class_names"] == ["cat", "dog", "fox"]
    assert contract["image_shape"] == [24, 24, 3]
    assert contract["preparation"] == {
        "orientation": "exif", "crop": 0.875, "resize": "bilinear", "antialias": True,
    }  # fmt: skip
    assert [contract["splits"][s]["examples"] for s in ("train", "validation", "test")] == [
        108, 12, 30,
    ]  # fmt: skip
    assert contract["oekd_tf"] == oekd_tf.__version__
    data = oekd_tf.data.load(
        "image_folder", data_dir=str(place / "photos"), image_size=(24, 24), validation_fraction=0.1
    )
    assert data.contract == contract


def test_a_contract_that_was_changed_is_refused(place):
    """A mean that is another gives a network of half the accuracy."""
    path = place / "run" / "contract.json"
    contract = json.loads(path.read_text())
    path.write_text(json.dumps({**contract, "mean": [0.0, 0.0, 0.0]}))
    with pytest.raises(ConfigError, match=r"contract\.json must be a run's contract.*its digest"):
        training.restore_model(place / "run")
    path.write_text(json.dumps(contract))


@pytest.mark.slow
def test_what_to_know_of_the_data_is_in_the_report(place):
    shutil.copy(place / "photos/train/cat/1.png", place / "photos/test/cat/copy.png")
    config = config_of(place / "photos", epochs=1)
    summary, said = train(config, place / "noted")
    note = "1 picture stands in both train and test, such as train/cat/1.png and test/cat/copy.png"
    assert summary["data_notes"] == [note]
    assert f"data: {note}" in said
    assert f"## Data\n\n- {note}\n" in (place / "noted/report.md").read_text()


def test_a_baseline_is_trained_on_its_ensembles_data(place):
    pictures(place / "photos/train", "dog", 1, "new")
    config = config_of(place / "photos", only_student=2, epochs=1)
    with pytest.raises(
        ConfigError, match=r"train had 108 pictures, has 109, such as train: dog/new0"
    ):
        train(config, place / "run")
    (place / "photos/train/dog/new0.png").unlink()
    train(config, place / "run")


class TestFinished:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (rename, r"classes that the run was trained on.*where cat is gone and zebra is new"),
            (take_away, r"classes that the run was trained on.*where fox is gone"),
            (
                lambda p: (p / "photos/test/cat/3.png").unlink(),
                r"trained and tested on.*without 1 of 30 of test, such as cat/3\.png",
            ),
            (
                lambda p: (p / "photos/train/cat/3.png").rename(p / "photos/train/dog/x.png"),
                r"without 1 of 120 of train, such as cat/3\.png",
            ),
            (
                lambda p: shutil.copy(p / "photos/test/dog/1.png", p / "photos/test/cat/1.png"),
                r"data have changed .*test has as many pictures, but their names, contents or",
            ),
            (
                lambda p: (p / "photos").rename(p / "moved"),
                r"must be where they were, or --data_dir must say where they are. Received: .*phot",
            ),
        ],
    )
    def test_a_change_that_matters_is_one_line(self, place, change, message):
        change(place)
        with pytest.raises(ConfigError, match=message) as error:
            training.restore_run(place / "run")
        assert "\n" not in str(error.value)

    def test_what_was_added_since_does_not_touch_it(self, place):
        _, data, model = training.restore_run(place / "run")
        pictures(place / "photos/train", "cat", 60, "new", bright=100)
        pictures(place / "photos/test", "dog", 10, "new", bright=100)
        (place / "photos/train/fox/2024").mkdir()
        pictures(place / "photos/train", "fox", 2, "2024/")
        shutil.copytree(place / "photos/train/fox", place / "photos/train/wolf")
        _, again, same = training.restore_run(place / "run")
        assert again.contract == data.contract
        assert again.class_names == ["cat", "dog", "fox"]
        for split in ("validation_arrays", "test_arrays"):
            for one, other in zip(getattr(data, split)(), getattr(again, split)(), strict=True):
                np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(data.train_images(50), again.train_images(50))
        images = data.test_arrays()[0]
        np.testing.assert_array_equal(
            model.students[0].predict(images, verbose=0),
            same.students[0].predict(images, verbose=0),
        )

    def test_a_moved_folder_has_a_flag(self, place):
        (place / "photos").rename(place / "moved")
        manifest = training.export_run(
            place / "run", place / "out", ("float32",), data_dir=place / "moved",
            log=lambda line: None,
        )  # fmt: skip
        assert manifest["contract"] == read_contract(place / "run")
        assert manifest["class_names"] == ["cat", "dog", "fox"]

    def test_the_network_needs_no_data(self, place):
        shutil.rmtree(place / "photos")
        ensemble = training.restore_model(place / "run")
        assert ensemble.get_config()["mean"] == read_contract(place / "run")["mean"]
        assert ensemble.num_classes == 3


class TestStopped:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (rename, "classes, where cat is gone and zebra is new"),
            (take_away, "classes, where fox is gone"),
            (
                lambda p: pictures(p / "photos/train", "dog", 50, "new"),
                "train had 108 pictures, has 153",
            ),
            (
                lambda p: pictures(p / "photos/test", "dog", 5, "new"),
                "test had 30 pictures, has 35",
            ),
            (
                lambda p: pictures(p / "photos/train", "dog", 1),
                "train has as many pictures, but their names, contents or labels differ",
            ),
        ],
    )
    def test_a_change_is_one_line(self, place, change, message):
        change(place)
        with pytest.raises(ConfigError, match="The data have changed since the run in") as error:
            train(config_of(place / "photos"), place / "stopped")
        assert message in str(error.value)
        assert "another --workdir" in str(error.value)
        assert "\n" not in str(error.value)

    def test_another_cache_and_another_place_are_the_same_run(self, place):
        (place / "photos").rename(place / "moved")
        config = config_of(place / "moved", data__cache="decoded")
        _, said = train(config, place / "stopped")
        assert "resuming after epoch 1 of 2" in said
        one, other = (json.loads((f / "contract.json").read_text()) for f in (place / "run",
                      place / "stopped"))  # fmt: skip
        assert one == other


class TestTeachers:
    def test_of_other_classes_is_refused(self, place):
        train(config_of(place / "photos", only_student=1, epochs=1), place / "teacher")
        rename(place)
        config = config_of(
            place / "photos", only_student=2, epochs=1, teacher_workdir=str(place / "teacher")
        )
        with pytest.raises(ConfigError, match=r"same classes.*where cat is gone and zebra is new"):
            train(config, place / "student")

    @pytest.mark.slow
    def test_one_that_was_moved_is_kept_by_the_run(self, place):
        config = config_of(place / "photos", epochs=1, method__name="offline")
        config.method.arguments = {"teacher": str(place / "run")}
        train(config, place / "offline")
        expected = training.restore_model(place / "offline").method.network.get_weights()
        shutil.rmtree(place / "run")
        found = training.restore_model(place / "offline").method.network.get_weights()
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


def test_other_arrays_are_refused(tmp_path):
    images = RNG.integers(0, 256, (120, 16, 16, 3), np.uint8)
    labels = np.arange(120) % 3
    for make in (
        lambda x: ArrayData("arrays", x, labels, x[:30], labels[:30]),
        lambda x: oekd_tf.data.load({"train": (x, labels), "test": (x[:30], labels[:30])}),
    ):
        contract = make(images).contract
        adopt(make(images), contract, tmp_path)
        with pytest.raises(ConfigError, match="train has as many pictures, but"):
            adopt(make(255 - images), contract, tmp_path)
