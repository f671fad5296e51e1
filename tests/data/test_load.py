"""Data sets by name, folder and arrays: what they hold, in which order, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import oekd_tf
from oekd_tf.data.tfds_source import open_tfds

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


def numbered(count=40, size=8, channels=3):
    """Images whose first pixel is their index, two classes in turn."""
    images = np.full((count, size, size, channels), 7, np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images, np.arange(count) % 2


def indices(dataset, batches):
    return [images.numpy()[:, 0, 0, 0].tolist() for images, _ in dataset.take(batches)]


def write_folder(root, mode="RGB", sizes=((20, 16), (12, 12))):
    rng = np.random.default_rng(0)
    channels = () if mode == "L" else (3,)
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (*sizes[index % len(sizes)], *channels), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")


def store(folder, name, counts, unlabelled=None):
    """A TFDS data set of numbered images, two classes in turn, five images a track."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b"]),
            "track": tfds.features.Scalar(np.int64),
        }
    )
    splits = {}
    for split, count in counts.items():
        images, labels = numbered(count)
        labels = np.full(count, -1) if split == unlabelled else labels
        tracks = np.arange(count, dtype=np.int64) // 5
        examples = {"image": images, "label": labels, "track": tracks}
        splits[split] = tf.data.Dataset.from_tensor_slices(examples)
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name, version="1.0.0", features=features, split_datasets=splits, data_dir=str(folder)
    )


@pytest.fixture(scope="module")
def mini():
    return oekd_tf.data.load("fashion_mnist_mini")


class TestEmbedded:
    def test_counts(self, mini):
        assert (mini.num_train, mini.num_validation, mini.num_test) == (5400, 600, 2000)
        assert mini.image_shape == (28, 28, 1)
        assert mini.num_classes == 10
        assert mini.class_names[0] == "T-shirt/top"

    def test_balance(self, mini):
        assert np.bincount(mini.test_arrays()[1]).tolist() == [200] * 10
        assert np.bincount(mini.validation_arrays()[1]).tolist() == [60] * 10

    def test_small_enough_with_its_licence(self):
        folder = ROOT / "oekd_tf" / "data" / "datasets" / "fashion_mnist_mini"
        assert sum(path.stat().st_size for path in folder.rglob("*.*")) < 5e6
        assert "Zalando" in (folder / "LICENSE").read_text()

    def test_statistics_are_the_training_images_own(self, mini):
        images = mini.train_images(mini.num_train).astype(np.float64)
        np.testing.assert_allclose(mini.mean, images.mean(), rtol=1e-6)
        np.testing.assert_allclose(mini.std, images.std(), rtol=1e-6)

    def test_summary(self, mini):
        assert "5,400 training, 600 validation and 2,000 test" in mini.splits_summary()


class TestOrder:
    def test_same_seed_same_batches(self, mini):
        first, again, other = (mini.train(100, seed=seed) for seed in (1, 1, 2))
        for (a, la), (b, lb), (c, _) in zip(
            first.take(3), again.take(3), other.take(3), strict=True
        ):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(la, lb)
            assert not np.array_equal(a, c)

    @pytest.mark.parametrize("cache", ["decoded", "encoded", "none"])
    def test_going_on_from_an_epoch_gives_its_batches(self, cache):
        data = oekd_tf.data.load(
            "fashion_mnist_mini", max_examples=300, validation_fraction=0.9, cache=cache
        )
        whole = list(data.train(64, seed=5).take(12))
        rest = data.train(64, seed=5, first_epoch=2).take(4)
        assert data.steps_per_epoch(64) == 4
        for (a, la), (b, lb) in zip(whole[8:], rest, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(la, lb)

    def test_an_epoch_has_each_example_once_and_drops_the_rest(self):
        data = oekd_tf.data.load(numbered(), validation_fraction=0)
        batches = indices(data.train(12, seed=0, augmentation=()), 6)
        for epoch in (batches[:3], batches[3:]):
            seen = np.concatenate(epoch).tolist()
            assert len(seen) == len(set(seen)) == 36
        assert batches[:3] != batches[3:]

    def test_augmentation_belongs_to_the_example_not_to_the_batch(self):
        data = oekd_tf.data.load(numbered(size=12), validation_fraction=0)
        rows = {}
        for batch_size in (4, 20):
            images = np.concatenate(
                [i.numpy() for i, _ in data.train(batch_size, seed=3).take(40 // batch_size)]
            )
            rows[batch_size] = images
        np.testing.assert_array_equal(rows[4], rows[20])

    def test_validation_does_not_depend_on_how_training_goes(self):
        first = oekd_tf.data.load(numbered(), validation_fraction=0.25)
        again = oekd_tf.data.load(numbered(), validation_fraction=0.25, max_examples=10)
        held_out = first.validation_arrays()[0][:, 0, 0, 0]
        np.testing.assert_array_equal(held_out, again.validation_arrays()[0][:, 0, 0, 0])
        assert again.num_train == 10
        train = indices(first.train(30, seed=0, augmentation=()), 1)[0]
        assert sorted([*train, *held_out.tolist()]) == list(range(40))

    def test_max_examples_is_a_fair_sample(self):
        data = oekd_tf.data.load("fashion_mnist_mini", max_examples=1000)
        batches = data.train(100, seed=0, augmentation=()).take(10)
        counts = np.bincount(np.concatenate([labels for _, labels in batches]))
        # Of 1,000 draws from ten equal classes, three standard deviations are 28.
        assert np.abs(counts - 100).max() < 30

    def test_evaluation_keeps_the_last_smaller_batch_and_the_order(self):
        data = oekd_tf.data.load({"train": numbered(), "test": numbered(10)})
        assert indices(data.test(4), 9) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    def test_steps_per_epoch(self):
        data = oekd_tf.data.load(numbered(), validation_fraction=0)
        assert data.steps_per_epoch(12) == 3
        with pytest.raises(ValueError, match=r"batch_size must be .* 40\. Received: 41"):
            data.train(41, seed=0)


class TestStreaming:
    @pytest.mark.parametrize("cache", ["encoded", "none"])
    def test_holds_the_same_examples_as_memory(self, cache):
        in_memory, stream = (
            oekd_tf.data.load("fashion_mnist_mini", cache=choice) for choice in ("decoded", cache)
        )
        assert stream.num_train == in_memory.num_train
        np.testing.assert_array_equal(in_memory.test_arrays(50)[0], stream.test_arrays(50)[0])
        images, labels = next(iter(stream.train(32, seed=0)))
        assert (images.shape, images.dtype) == ((32, 28, 28, 1), "uint8")
        assert labels.dtype == "int32"

    def test_validation_is_disjoint_from_training(self):
        data = oekd_tf.data.load("fashion_mnist_mini", cache="none", validation_fraction=0.95)
        train = {
            images.numpy().tobytes()
            for images, _ in data.train(1, seed=0, augmentation=()).take(data.num_train)
        }
        validation = {image.tobytes() for image in data.validation_arrays()[0]}
        assert data.num_train + data.num_validation == 6000
        assert {image.tobytes() for image in data.train_images(50)} <= train
        # Two of the 6,000 pictures may be pixel for pixel the same.
        assert len(train & validation) <= 2

    def test_an_epoch_has_each_example_once(self):
        data = oekd_tf.data.load(
            "fashion_mnist_mini", cache="none", validation_fraction=0.95, split_seed=1
        )
        steps = data.steps_per_epoch(32)
        batches = list(data.train(32, seed=0, augmentation=()).take(2 * steps))
        epochs = [
            [image.tobytes() for images, _ in part for image in images.numpy()]
            for part in (batches[:steps], batches[steps:])
        ]
        assert data.num_train - 32 < len(epochs[0]) == steps * 32
        # Two of the 6,000 pictures may be pixel for pixel the same.
        assert len(epochs[0]) - len(set(epochs[0])) <= 2
        assert epochs[0] != epochs[1]


class TestImageFolder:
    def test_colour_images_of_many_sizes(self, tmp_path):
        write_folder(tmp_path)
        data = oekd_tf.data.load(
            "image_folder", data_dir=str(tmp_path), image_size=(14, 10), validation_fraction=0
        )
        assert data.image_shape == (14, 10, 3)
        assert data.class_names == ["cat", "dog"]
        assert (data.num_train, data.num_test) == (12, 4)
        images, labels = data.test_arrays()
        assert images.shape == (4, 14, 10, 3)
        assert sorted(labels.tolist()) == [0, 0, 1, 1]

    def test_grey_files_become_colour(self, tmp_path):
        write_folder(tmp_path, mode="L", sizes=((12, 12),))
        data = oekd_tf.data.load(
            "image_folder", data_dir=str(tmp_path), image_size=(12, 12), cache="none"
        )
        images, _ = data.test_arrays()
        assert images.shape == (4, 12, 12, 3)
        np.testing.assert_array_equal(images[..., 0], images[..., 2])
        files = [Image.open(path) for path in (tmp_path / "test").glob("*/*.png")]
        assert {np.array(file).tobytes() for file in files} == {
            image[..., 0].tobytes() for image in images
        }

    def test_a_folder_is_shuffled_as_a_whole_and_sampled_from_all_classes(
        self, tmp_path, monkeypatch
    ):
        write_folder(tmp_path, sizes=((12, 12),))
        arguments = {"data_dir": str(tmp_path), "image_size": (12, 12), "validation_fraction": 0.0}
        files, memory = (
            oekd_tf.data.load("image_folder", cache=cache, **arguments)
            for cache in ("none", "decoded")
        )
        assert "read from image files" in files.splits_summary()
        np.testing.assert_array_equal(files.test_arrays()[0], memory.test_arrays()[0])
        _, labels = next(iter(files.train(6, seed=0)))
        assert 0 < labels.numpy().sum() < 6
        monkeypatch.setattr("oekd_tf.data.dataset._STATISTICS_IMAGES", 6)
        sampled = [int(label) for _, _, label in self.sample(files._train, 6)]
        assert 0 < sum(sampled) < 6
        np.testing.assert_allclose(files.mean, memory.mean, rtol=0.1)

    @staticmethod
    def sample(split, count):
        (batch,) = split.sample(count).batch(count)
        return zip(*split.fetch(batch), strict=True)

    def test_sizes_that_vary_need_one_to_resize_to(self, tmp_path):
        write_folder(tmp_path)
        with pytest.raises(ValueError, match=r"image_size must be \(height, width\)"):
            oekd_tf.data.load("image_folder", data_dir=str(tmp_path))

    def test_no_folder(self, tmp_path):
        with pytest.raises(ValueError, match=r"<split>/<class>/<image>.*Received"):
            oekd_tf.data.load("image_folder", data_dir=str(tmp_path / "none"))


class TestTfds:
    def test_without_supervised_keys(self):
        if not SHARED.is_dir():
            pytest.skip(f"cifar10_jpeg is not in {SHARED}")
        data = oekd_tf.data.load(
            "cifar10_jpeg", data_dir=str(SHARED), validation_fraction=0.1, download=False
        )
        assert (data.num_train, data.num_validation, data.num_test) == (18_000, 2_000, 2_000)
        assert data.image_shape == (32, 32, 3)
        assert len(data.mean) == 3
        images, _ = next(iter(data.train(16, seed=0)))
        assert images.shape == (16, 32, 32, 3)

    def test_features_are_found_by_name(self, tmp_path):
        import tensorflow as tf
        import tensorflow_datasets as tfds

        features = tfds.features.FeaturesDict(
            {
                "picture": tfds.features.Image(shape=(8, 8, 3)),
                "label": tfds.features.ClassLabel(names=["a", "b"]),
                "coarse": tfds.features.ClassLabel(num_classes=3),
            }
        )
        arrays = {
            "picture": numbered(6)[0],
            "label": np.array([0, 1, 0, 1, 0, 1]),
            "coarse": np.array([0, 1, 2, 0, 1, 2]),
        }
        tfds.dataset_builders.store_as_tfds_dataset(
            name="two_labels",
            version="1.0.0",
            features=features,
            split_datasets={"train": tf.data.Dataset.from_tensor_slices(arrays)},
            data_dir=str(tmp_path),
        )
        arguments = {"data_dir": str(tmp_path), "validation_fraction": 0}
        data = oekd_tf.data.load("two_labels", **arguments)
        assert (data.class_names, data.num_test) == (["a", "b"], 0)
        assert oekd_tf.data.load("two_labels", label_key="coarse", **arguments).num_classes == 3
        with pytest.raises(ValueError, match=r"label_key .*: coarse, label.*Received: 'fine'"):
            oekd_tf.data.load("two_labels", label_key="fine", **arguments)
        with pytest.raises(ValueError, match="must have a test split"):
            data.test_arrays()
        with pytest.raises(ValueError, match=r"must be one of train.*Received: 'training'"):
            oekd_tf.data.load("two_labels", train_split="training", **arguments)

    def test_a_test_split_without_labels_is_not_used(self, tmp_path):
        store(tmp_path, "no_labels", {"train": 40, "validation": 10, "test": 8}, unlabelled="test")
        data = oekd_tf.data.load("no_labels", data_dir=str(tmp_path), validation_fraction=0.25)
        assert (data.num_train, data.num_validation, data.num_test) == (30, 10, 10)
        with pytest.raises(ValueError, match=r"test_split must have labels\. Received: 'test'"):
            oekd_tf.data.load("no_labels", data_dir=str(tmp_path), test_split="test")
        store(tmp_path, "imagenet_like", {"train": 40, "validation": 10, "test": 8})
        assert oekd_tf.data.load("imagenet_like", data_dir=str(tmp_path)).num_test == 10

    def test_its_own_validation_split_is_validated_on(self, tmp_path):
        store(tmp_path, "three", {"train": 40, "validation": 10, "test": 8})
        arguments = {"data_dir": str(tmp_path), "validation_fraction": 0.25}
        data = oekd_tf.data.load("three", **arguments)
        assert (data.num_train, data.num_validation, data.num_test) == (40, 10, 8)
        held = oekd_tf.data.load("three", validation_split="hold_out", **arguments)
        assert (held.num_train, held.num_validation, held.num_test) == (30, 10, 8)

    def test_fingerprints_are_of_shards_and_of_what_is_held_out(self, tmp_path):
        for name in ("here", "there"):
            store(tmp_path / name, "three", {"train": 40, "test": 8})

        def contract(name, **arguments):
            return oekd_tf.data.load("three", data_dir=str(tmp_path / name), **arguments).contract

        first = contract("here", validation_fraction=0.25)
        assert contract("there", validation_fraction=0.25) == first
        assert {n: s["examples"] for n, s in first["splits"].items()} == {
            "train": 30, "validation": 10, "test": 8,
        }  # fmt: skip
        assert first["class_counts"] == [15, 15]
        other = contract("here", validation_fraction=0.25, split_seed=1)["splits"]
        assert other["test"] == first["splits"]["test"]
        for name in ("train", "validation"):
            assert other[name]["fingerprint"] != first["splits"][name]["fingerprint"]
        (shard,) = (tmp_path / "there").rglob("*test.tfrecord*")
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
        changed = contract("there", validation_fraction=0.25, test_split="train[:10]")["splits"]
        assert changed["train"] == first["splits"]["train"]
        assert changed["test"] != first["splits"]["test"]

    def test_groups_stay_together(self, tmp_path):
        store(tmp_path, "tracks", {"train": 60})
        for cache in ("decoded", "none"):
            data = oekd_tf.data.load(
                "tracks", data_dir=str(tmp_path), group_key="track", validation_fraction=0.2,
                cache=cache,
            )  # fmt: skip
            held_out = set(data.validation_arrays()[0][:, 0, 0, 0] // 5)
            trained = set(data.train_images(data.num_train)[:, 0, 0, 0] // 5)
            assert len(held_out) * 5 == data.num_validation == 10
            assert not held_out & trained
        with pytest.raises(ValueError, match=r"group_key .*: track\. Received: 'patient'"):
            oekd_tf.data.load("tracks", data_dir=str(tmp_path), group_key="patient")

    def test_a_folder_in_place_of_a_name(self, tmp_path):
        with pytest.raises(ValueError, match=r"source must be 'image_folder' for a folder of"):
            oekd_tf.data.load(str(tmp_path))

    def test_missing_data_set(self, tmp_path):
        with pytest.raises(ValueError, match=r"run `tfds build cifar10 --data_dir"):
            open_tfds("cifar10", str(tmp_path), download=False)
        with pytest.raises(ValueError, match=r"known to TFDS.*Received: 'no_such_set'") as error:
            open_tfds("no_such_set", str(tmp_path))
        assert "\n" not in str(error.value)


class TestArrays:
    def test_grey_without_channels(self):
        images, labels = numbered()
        data = oekd_tf.data.load((images[..., 0], labels))
        assert data.image_shape == (8, 8, 1)

    def test_whole_floats_become_uint8(self):
        images, labels = numbered()
        data = oekd_tf.data.load((images.astype("float32"), labels[:, None]))
        assert next(iter(data.train(8, seed=0)))[0].dtype == "uint8"

    def test_train_images_are_not_augmented(self):
        data = oekd_tf.data.load(numbered(), validation_fraction=0)
        chosen = data.train_images(40)[:, 0, 0, 0]
        assert sorted(chosen.tolist()) == list(range(40))
        np.testing.assert_array_equal(chosen, data.train_images(40)[:, 0, 0, 0])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x, y: (x / 255, y), r"raw pixels, whole numbers from 0 to 255.*float64"),
            (lambda x, y: (x.astype(int) - 9, y), "whole numbers from 0 to 255"),
            (lambda x, y: (x * np.nan, y), "whole numbers from 0 to 255"),
            (lambda x, y: (x[0, 0], y), r"Images must be \(examples.*Received: shape \(8, 3\)"),
            (lambda x, y: (x[:0], y[:0]), "not empty"),
            (lambda x, y: (x, y[:-1]), r"Labels must be one class .*Received: shape \(39,\)"),
            (lambda x, y: (x, y / 2), r"whole numbers from 0 on.*Received: 0\.5 at index \d"),
            (lambda x, y: (x, y - 1), r"whole numbers from 0 on.*Received: -1 at index \d"),
            (lambda x, y: (x, y + 1), "Labels must begin at 0.*Received: from 1 to 2"),
            (lambda x, y: (x, y * 2**32), r"Received: 4294967296 at index \d+$"),
            (lambda x, y: (x, y * 9), "Received: 9 at index .*, and 8 of 10 classes without"),
            (lambda x, y: (x, np.eye(2)[y]), r"argmax\(-1\)\. Received: shape \(40, 2\)$"),
            (lambda x, y: (x, y * 2), "Every class must have a training example.*none of 1"),
        ],
    )
    def test_refusals(self, change, message):
        with pytest.raises(ValueError, match=message) as error:
            oekd_tf.data.load(change(*numbered()))
        assert "\n" not in str(error.value)

    def test_labels_above_the_number_of_classes(self):
        with pytest.raises(ValueError, match=r"from 0 to 0, one.*Received: 1 at index \d"):
            oekd_tf.data.load(numbered(), num_classes=1)

    def test_splits(self):
        with pytest.raises(ValueError, match=r"under 'train' and 'test'.*Received: \['valid'\]"):
            oekd_tf.data.load({"valid": numbered()})
        with pytest.raises(ValueError, match=r"training images' shape.*Received: \(4, 4, 3\)"):
            oekd_tf.data.load({"train": numbered(), "test": numbered(size=4)})
        with pytest.raises(ValueError, match="validation_fraction must be"):
            oekd_tf.data.load(numbered(), validation_fraction=1.0)

    @pytest.mark.parametrize(
        ("source", "arguments", "message"),
        [
            ("arrays", {"image_size": (4, 4)}, r"resize arrays .*Received: \(4, 4\)"),
            ("fashion_mnist_mini", {"image_size": 14}, r"\(height, width\).*Received: 14"),
            ("fashion_mnist_mini", {"image_size": (0, 4)}, r"at least 1.*Received: \(0, 4\)"),
            (
                "fashion_mnist_mini",
                {"num_classes": 3},
                "are for arrays.*Received: 3, None",
            ),
            ("arrays", {"max_examples": 0}, "max_examples must be .*Received: 0"),
            ("arrays", {"max_examples": -1}, "max_examples must be .*Received: -1"),
            ("arrays", {"cache": "yes"}, "cache must be .*Received: 'yes'"),
        ],
    )
    def test_arguments(self, source, arguments, message):
        with pytest.raises(ValueError, match=message):
            oekd_tf.data.load(numbered() if source == "arrays" else source, **arguments)

    def test_nothing_held_out(self):
        data = oekd_tf.data.load(numbered(), validation_fraction=0.01)
        assert data.num_validation == 0
        with pytest.raises(ValueError, match="large enough to hold out an example of arrays"):
            data.validation(4)
        with pytest.raises(ValueError, match=r"batch_size must be at least 1\. Received: 0"):
            oekd_tf.data.load(numbered()).validation(0)
