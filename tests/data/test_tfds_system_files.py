"""A data set of TFDS made of a folder that a file manager has looked into."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

import oekd_tf
from oekd_tf.data.check import check_data

NAMES = [".DS_Store", "cat", "@eaDir", "dog"]


class Pets(tfds.core.GeneratorBasedBuilder):
    """Images whose brightness tells the class; none of the first and the third label."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(names=NAMES),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for number in range(40):
            dog = number % 2
            image = np.full((8, 8, 3), 200 * dog + number, np.uint8)
            yield number, {"image": image, "label": ("cat", "dog")[dog]}


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    Pets(data_dir=folder).download_and_prepare()
    return str(folder)


@pytest.mark.parametrize("cache", ["decoded", "encoded", "none"])
def test_a_systems_files_are_no_classes(pets, cache):
    data = oekd_tf.data.load("pets", data_dir=pets, cache=cache)
    assert data.class_names == ["cat", "dog"]
    assert data.notes == ["no classes, and left out: .DS_Store, @eaDir"]
    for batches in (data.train(20, seed=0, augmentation=()).take(2), data.test(20)):
        images, labels = map(np.concatenate, zip(*batches.as_numpy_iterator(), strict=True))
        np.testing.assert_array_equal(labels, images[:, 0, 0, 0] >= 200)
        assert set(labels) == {0, 1}


def test_check_data_says_so(pets):
    found = check_data(pets, "pets")
    assert found.class_names == ["cat", "dog"]
    assert found.counts["train"] == [20, 20]
    assert "no classes, and left out: .DS_Store, @eaDir" in found.notes
