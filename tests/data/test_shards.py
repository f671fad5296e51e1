"""A data set of several shards, of JPEGs that differ in size, read in every way."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import oekd_tf
from oekd_tf.data.tfds_source import open_tfds

COUNT = 90


class Photos(tfds.core.GeneratorBasedBuilder):
    """Ramps whose mean tells which they are."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                    "photo_id": np.int64,
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(COUNT), "test": self._generate_examples(20)}

    def _generate_examples(self, count):
        for number in range(count):
            height, width = 40 + number % 7, 60 - number % 5
            image = np.full((height, width, 3), 2 * number + 10, np.uint8)
            yield number, {"image": image, "label": number % 2, "photo_id": number}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    builder = Photos(data_dir=folder)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=6, verify_ssl=False)
    )
    return str(folder), builder


def load(photos, **arguments):
    path, _ = photos
    return oekd_tf.data.load(
        "photos", data_dir=path, image_size=(32, 32), validation_fraction=0.0, **arguments
    )


def numbers(images):
    return np.round((np.asarray(images, float).mean((1, 2, 3)) - 10) / 2).astype(int)


def test_there_are_several_shards(photos):
    _, builder = photos
    assert builder.info.splits["train"].num_shards == 6


@pytest.mark.parametrize("cache", ["decoded", "encoded", "none"])
def test_an_epoch_has_each_example_once_in_an_order_of_its_own(photos, cache):
    data = load(photos, cache=cache)
    batches = data.train(15, seed=3, augmentation=("random_resized_crop", "flip"))
    read = [(numbers(images), labels.numpy()) for images, labels in batches.take(12)]
    epochs = [np.concatenate([n for n, _ in read[:6]]), np.concatenate([n for n, _ in read[6:]])]
    for epoch in epochs:
        assert sorted(epoch) == list(range(COUNT))
    assert list(epochs[0]) != list(epochs[1])
    for found, labels in read:
        np.testing.assert_array_equal(found % 2, labels)
    again = load(photos, cache=cache).train(
        15, seed=3, first_epoch=1, augmentation=("random_resized_crop", "flip")
    )
    np.testing.assert_array_equal(numbers(next(iter(again))[0]), read[6][0])


def test_all_ways_number_the_examples_alike(photos):
    tests = [load(photos, cache=cache).test_arrays() for cache in ("decoded", "encoded", "none")]
    for images, labels in tests[1:]:
        np.testing.assert_array_equal(images, tests[0][0])
        np.testing.assert_array_equal(labels, tests[0][1])


def test_how_much_memory_is_free_changes_no_batch(photos):
    encoded, streamed = (
        load(photos, cache=cache).train(15, seed=2, augmentation=("random_resized_crop", "flip"))
        for cache in ("encoded", "none")
    )
    for (images, labels), (other, other_labels) in zip(
        encoded.take(9), streamed.take(9), strict=True
    ):
        np.testing.assert_array_equal(images, other)
        np.testing.assert_array_equal(labels, other_labels)


def test_shards_are_shuffled_and_read_in_turns(photos):
    data = load(photos, cache="none")
    stream = data._train
    orders = [
        [int(index) for index, *_ in stream._read(tf.constant(order), 6)]
        for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0])
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(COUNT))
    # The first 16 come from the first shard asked for; with fewer in a shard, from the next too.
    assert max(orders[0][:10]) < min(orders[1][:10])


def test_mean_and_deviation_do_not_depend_on_where_images_are(photos, monkeypatch):
    monkeypatch.setattr("oekd_tf.data.dataset._STATISTICS_IMAGES", 40)
    encoded, streamed = (load(photos, cache=cache) for cache in ("encoded", "none"))
    assert encoded.mean == streamed.mean
    assert encoded.std == streamed.std


def test_what_is_cached_is_said(photos):
    said = [load(photos, cache=cache).splits_summary() for cache in ("decoded", "auto", "none")]
    assert "training images decoded, in memory" in said[0]
    assert "encoded, in memory" in said[1]
    assert "read from shards" in said[2]


def test_the_cache_is_chosen_by_size(photos, monkeypatch):
    path, _ = photos
    source = open_tfds("photos", path, image_size=(32, 32))
    assert source._cache_that_fits("train") == "encoded"
    one_size = source._replace(decoder=source.decoder._replace(varying=False))
    assert one_size._cache_that_fits("train") == "decoded"
    monkeypatch.setattr("oekd_tf.data.tfds_source.MEMORY_LIMIT_BYTES", 1000)
    assert one_size._cache_that_fits("train") == "encoded"
    monkeypatch.setattr("oekd_tf.data.tfds_source._ENCODED_SHARE", 1e-9)
    assert source._cache_that_fits("train") == "none"


def test_slices_of_splits_read_their_part_of_the_shards(photos):
    half = load(photos, cache="none", train_split="train[:50%]")
    rest = load(photos, cache="none", train_split="train[50%:]")
    seen = [
        set(
            numbers(np.concatenate([i for i, _ in data.train(15, seed=0, augmentation=()).take(3)]))
        )
        for data in (half, rest)
    ]
    assert len(seen[0]) == len(seen[1]) == 45
    assert not seen[0] & seen[1]
