"""Image folders as people have them: what is read, what is left out, and what is refused."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

import oekd_tf
from oekd_tf.data.folder import content_groups, group_numbers
from oekd_tf.data.survey import survey

RNG = np.random.default_rng(0)


def picture(path, size=(20, 20), **arguments):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(path, **arguments)


def folder(root, splits=("train", "test"), classes=("cat", "dog"), counts=(10, 4)):
    for split, count in zip(splits, counts, strict=True):
        for name in classes:
            for index in range(count):
                picture(root / split / name / f"{index}.jpg")
    return root


def load(root, **arguments):
    arguments = {"image_size": (16, 16), "validation_fraction": 0.2} | arguments
    return oekd_tf.data.load("image_folder", data_dir=str(root), **arguments)


def sizes(data):
    return data.num_train, data.num_validation, data.num_test


class TestLayouts:
    @pytest.mark.parametrize(
        ("splits", "expected"),
        [
            (("train", "val"), (16, 4, 8)),
            (("train", "valid"), (16, 4, 8)),
            (("Train", "Test"), (16, 4, 8)),
            (("training", "testing"), (16, 4, 8)),
            (("train", "validation", "test"), (20, 8, 6)),
            (("train", "val", "test"), (20, 8, 6)),
        ],
    )
    def test_names_of_splits(self, tmp_path, splits, expected):
        data = load(folder(tmp_path, splits, counts=(10, 4, 3)[: len(splits)]))
        assert sizes(data) == expected
        assert data.class_names == ["cat", "dog"]

    def test_its_own_validation_split_or_a_part(self, tmp_path):
        folder(tmp_path, ("train", "val", "test"), counts=(10, 4, 3))
        assert sizes(load(tmp_path, validation_split="hold_out")) == (16, 4, 6)
        assert sizes(load(tmp_path, test_split="val")) == (16, 4, 8)
        with pytest.raises(ValueError, match=r"test_split must be one of .*Received: 'nosuch'"):
            load(tmp_path, test_split="nosuch")

    def test_one_folder_without_splits(self, tmp_path):
        folder(tmp_path, ("",), counts=(20,))
        data = load(tmp_path)
        assert sizes(data) == (28, 8, 4)
        assert np.bincount(data.test_arrays()[1]).tolist() == [2, 2]
        again, other = load(tmp_path), load(tmp_path, split_seed=1)
        np.testing.assert_array_equal(data.test_arrays()[0], again.test_arrays()[0])
        assert not np.array_equal(data.test_arrays()[0], other.test_arrays()[0])
        parts = [data.test_arrays(), data.validation_arrays(), (data.train_images(28), None)]
        pictures = {image.tobytes() for images, _ in parts for image in images}
        assert len(pictures) == 40

    def test_pictures_at_any_depth_and_of_any_format(self, tmp_path):
        folder(tmp_path)
        for index, name in enumerate(("webp", "tiff", "bmp", "gif", "ppm", "JPEG", "png", "jfif")):
            form = {"format": "JPEG"} if name == "jfif" else {}
            picture(tmp_path / f"train/cat/images/{index}/a.{name}", **form)
        (tmp_path / "train/dog/album.jpg").mkdir()
        data = load(tmp_path, validation_fraction=0)
        assert data.num_train == 28
        assert data.notes == []

    def test_links_are_followed(self, tmp_path):
        folder(tmp_path / "photos")
        for index in range(3):
            picture(tmp_path / "elsewhere" / f"{index}.jpg")
        (tmp_path / "photos/train/bird").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "photos/train/cat/loop").symlink_to(tmp_path / "photos/train/cat")
        data = load(tmp_path / "photos", validation_fraction=0)
        assert (data.num_train, data.class_names) == (23, ["bird", "cat", "dog"])
        assert data.notes == ["test has no pictures of bird"]

    def test_system_and_hidden_names_are_nothing(self, tmp_path):
        folder(tmp_path)
        for place in ("", "train", "train/cat", "test/dog"):
            for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
                (tmp_path / place / name).write_bytes(b"\0junk")
        for place in ("train/.ipynb_checkpoints", "train/@eaDir", "__MACOSX/train/cat", ".git/a"):
            picture(tmp_path / place / "0.jpg")
        (tmp_path / "train/cat/._0.jpg").write_bytes(b"\0\5\x16\7")
        data = load(tmp_path, validation_fraction=0)
        assert (data.num_train, data.num_test, data.class_names) == (20, 8, ["cat", "dog"])
        assert data.notes == []

    def test_what_is_left_out_is_counted(self, tmp_path):
        folder(tmp_path)
        for name in ("train/cat/a.heic", "train/cat/b.heic", "test/dog/readme.txt"):
            (tmp_path / name).touch()
        (tmp_path / "unlabelled").mkdir()
        assert load(tmp_path).notes == [
            "left out, not of a format that is read: 2 .heic, 1 .txt",
            "folders that are no splits were left out: unlabelled",
        ]

    def test_files_whose_names_are_no_utf_8(self, tmp_path):
        folder(tmp_path)
        cat = os.fsencode(tmp_path / "train/cat")
        os.rename(cat + b"/0.jpg", cat + b"/\xe9t\xe9.jpg")
        data = load(tmp_path, validation_fraction=0)
        assert len(data.train_images(20)) == 20
        assert any("\udce9" in name for name in data.files["train"])

    def test_pictures_of_the_inputs_size_are_held_decoded(self, tmp_path):
        assert "read from image files" in load(folder(tmp_path / "a")).splits_summary()
        assert "decoded, in memory" in load(tmp_path / "a", image_size=(20, 20)).splits_summary()
        assert load(tmp_path / "a", image_size=None).image_shape == (20, 20, 3)

    def test_statistics_do_not_depend_on_the_cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr("oekd_tf.data.dataset._STATISTICS_IMAGES", 7)
        folder(tmp_path)
        for size in ((16, 16), (20, 20)):
            one, other = (load(tmp_path, image_size=size, cache=c) for c in ("decoded", "none"))
            assert (one.mean, one.std) == (other.mean, other.std)


class TestRefusals:
    @pytest.mark.parametrize("where", ["train/dog", "test/dog"])
    @pytest.mark.parametrize("damage", ["cut", "empty", "html", "gone"])
    def test_a_file_that_is_no_picture_is_named(self, tmp_path, where, damage):
        folder(tmp_path)
        path = tmp_path / where / "3.jpg"
        content = path.read_bytes()
        path.unlink()
        if damage == "gone":
            path.symlink_to(tmp_path / "nowhere.jpg")
        else:
            damaged = {"cut": content[: len(content) // 2], "empty": b"", "html": b"<html>404"}
            path.write_bytes(damaged[damage])
        message = rf"can be read.*Received: .*{where}/3\.jpg: "
        with pytest.raises(ValueError, match=message) as error:
            load(tmp_path)
        assert "\n" not in str(error.value)

    def test_damage_that_a_header_does_not_show(self, tmp_path):
        folder(tmp_path)
        path = tmp_path / "test/cat/0.jpg"
        content = bytearray(path.read_bytes())
        # Its Huffman tables are gone, but header and end are there.
        start = content.index(b"\xff\xc4")
        content[start + 5 : start + 20] = bytes(15)
        path.write_bytes(content)
        data = load(tmp_path)
        with (
            pytest.raises(ValueError, match=r"readable.*Received: .*test/cat/0\.jpg"),
            data.naming_damage(),
        ):
            data.test_arrays()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda d: (d / "train/bird").mkdir(), "training example. Received: none of bird"),
            (lambda d: picture(d / "test/bird/0.jpg"), "training example. Received: none of bird"),
            (lambda d: picture(d / "test/Cat/0.jpg"), "one name.*'Cat' in test and 'cat' in train"),
            (
                lambda d: (
                    picture(d / "train/caf\xe9/0.jpg"),
                    picture(d / "test/cafe\u0301/0.jpg"),
                ),
                r"one name.*'cafe\\u0301' in test and 'caf\\xe9' in train",
            ),
            (lambda d: picture(d / "train/a\nb/0.jpg"), r"one line of UTF-8.*a\\nb"),
            (lambda d: shutil.rmtree(d / "train"), "training example. Received: none of"),
            (lambda d: picture(d / "Training/cat/0.jpg"), "one folder a split.*Training and train"),
        ],
    )
    def test_classes_that_are_not_clear(self, tmp_path, make, message):
        make(folder(tmp_path))
        if message.endswith("none of"):
            # What is left looks like a folder of the one class "test".
            assert load(tmp_path).class_names == ["test"]
            return
        with pytest.raises(ValueError, match=message) as error:
            load(tmp_path)
        assert "\n" not in str(error.value)
        assert unicodedata.is_normalized("NFC", str(error.value))

    def test_nothing_there(self, tmp_path):
        (tmp_path / "train").mkdir()
        for root in (tmp_path / "none", tmp_path):
            with pytest.raises(ValueError, match=r"data_dir must be a folder of images"):
                load(root)


class TestNotes:
    def test_pictures_in_two_splits_and_in_two_classes(self, tmp_path):
        folder(tmp_path)
        shutil.copy(tmp_path / "train/cat/1.jpg", tmp_path / "test/cat/other.jpg")
        shutil.copy(tmp_path / "train/cat/2.jpg", tmp_path / "train/dog/other.jpg")
        assert load(tmp_path).notes == [
            "1 picture stands in both train and test, such as train/cat/1.jpg and "
            "test/cat/other.jpg",
            "1 picture stands in several classes, such as train/cat/2.jpg and train/dog/other.jpg",
        ]

    def test_many_files_take_little_time(self, tmp_path):
        import time

        folder(tmp_path, counts=(100, 1))
        paths = [os.fsencode(path) for path in (tmp_path / "train").rglob("*.jpg")] * 10
        start = time.process_time()
        assert len(survey(paths)) == 2000
        # Processor time, also where coverage is measured: 75 seconds of it for 100,000 files.
        assert time.process_time() - start < 1.5


class TestGroups:
    def test_frames_of_a_track_stay_together(self, tmp_path):
        for track in range(12):
            for frame in range(5):
                picture(tmp_path / f"train/{track % 2}/{track:05}_{frame}.png")
        data = load(tmp_path, group_key=r"/(\d+)_", validation_fraction=0.3, cache="none")
        assert data.num_validation == 20
        names = data.files["train"]
        validated = {names[index].split("_")[0] for index in data._validation.indices}
        trained = {names[index].split("_")[0] for index in data._train.indices}
        assert (len(validated), len(trained)) == (4, 8)
        assert not validated & trained

    def test_of_folders_and_of_whole_sets(self, tmp_path):
        for device in range(10):
            for index in range(4):
                picture(tmp_path / f"cat/device{device}/{index}.png")
                picture(tmp_path / f"dog/device{device}/{index}.png")
        data = load(tmp_path, group_key=r"(device\d+)", test_fraction=0.2, validation_fraction=0.2)
        devices = {
            split: {name.split("/")[1] for name in names} for split, names in data.files.items()
        }
        assert (len(devices["train"]), len(devices["test"])) == (8, 2)
        assert not devices["train"] & devices["test"]
        # Both classes of a device.
        assert data.num_test == 16

    def test_groups_that_are_in_two_splits_are_told(self, tmp_path):
        for split in ("train", "test"):
            for track in range(4):
                picture(
                    tmp_path / split / "cat" / f"{track if split == 'train' else 0}_{track}.png"
                )
        notes = load(tmp_path, group_key=r"/(\d)_").notes
        assert notes == ["1 group is in test and train"]

    def test_numbers_by_hand(self):
        names = ["a/x/1.png", "a/x/2.png", "b/x/1.png", "b/odd.png"]
        assert group_numbers(names, "folder")[0].tolist() == [0, 0, 1, 2]
        found, missed = group_numbers(names, r"/(x)/")
        assert (found.tolist(), missed) == ([0, 0, 0, 1], 1)
        for pattern in ("x", "(", "(nosuch)"):
            with pytest.raises(ValueError, match="group_key"):
                group_numbers(names, pattern)

    def test_copies_stay_together(self, tmp_path):
        for index in range(20):
            picture(tmp_path / f"{'cat' if index % 2 else 'dog'}/{index}.png")
            for copy in range(index % 4):
                name = tmp_path / f"{'cat' if index % 2 else 'dog'}/{index}.png"
                shutil.copy(name, name.with_name(f"copy {index} {copy}.png"))
        for seed in range(3):
            data = load(tmp_path, split_seed=seed, test_fraction=0.2, validation_fraction=0.3)
            assert data.notes == []
            assert sum(sizes(data)) == 50
            test, held_out = data.test_arrays()[0], data.validation_arrays()[0]
            parts = [
                {image.tobytes() for image in images}
                for images in (test, held_out, data.train_images(data.num_train))
            ]
            assert min(map(len, parts)) > 2
            assert sum(map(len, parts)) == 20

    def test_copies_join_groups(self):
        # 0 and 1 share b, 1 and 3 share c.
        keys = [b"a", b"b", b"b", b"c", b"d", b"c"]
        found = content_groups(keys, np.array([0, 0, 1, 1, 2, 3]))
        assert len(set(found[[0, 1, 2, 3, 5]])) == 1
        assert found[4] != found[0]
        assert content_groups([b"a", b"b"]) is None

    def test_a_single_group_cannot_be_held_out(self, tmp_path):
        folder(tmp_path)
        with pytest.raises(ValueError, match=r"group_key must give groups of which some"):
            load(tmp_path, group_key=r"(cat|dog)/")

    def test_of_arrays(self):
        images = RNG.integers(0, 256, (40, 8, 8, 3), np.uint8)
        images[:, 0, 0, 0] = np.arange(40)
        data = oekd_tf.data.load(
            (images, np.arange(40) % 2), groups=np.arange(40) // 10, validation_fraction=0.25
        )
        assert set(data.validation_arrays()[0][:, 0, 0, 0] // 10) in ({0}, {1}, {2}, {3})
        with pytest.raises(ValueError, match=r"groups must be one value .* 40\. Received: 3"):
            oekd_tf.data.load((images, np.arange(40) % 2), groups=[1, 2, 3])
