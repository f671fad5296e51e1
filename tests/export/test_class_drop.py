"""Files that lose a class, by hand and in an export."""

import keras
import numpy as np
import pytest

from oekd_tf.export import ExportError, export_students, read_manifest
from oekd_tf.export.check import class_recall, class_refusal
from oekd_tf.export.formats import parse

NAMES = ["ant", "bee", "cow"]


def refusal(recall, reference, limit, images=(50, 50, 50)):
    return class_refusal(recall, reference, images, NAMES, parse("int8"), limit)


class TestRule:
    def test_the_class_that_lost_most_is_named(self):
        said = refusal([0.9, 0.5, 0.7], [0.9, 0.8, 0.9], 0.1)
        assert said.startswith("its recall of class bee must be at most 10 points below the Keras")
        assert said.endswith("Received: 50.00% of 50 test images")
        assert "80.00%" in said

    def test_within_the_limit(self):
        assert refusal([0.8, 0.8, 0.8], [0.9, 0.9, 0.9], 0.1) is None
        # More than before is no loss, and 1 allows any.
        assert refusal([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], 0.0) is None
        assert refusal([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 1.0) is None

    def test_few_images_say_little(self):
        recall, reference = [0.9, 0.0, None], [0.9, 1.0, None]
        assert refusal(recall, reference, 0.1, images=(50, 9, 0)) is None
        assert "bee" in refusal(recall, reference, 0.1, images=(50, 10, 0))

    def test_recall(self):
        logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        assert class_recall(logits, np.array([0, 0, 1])) == [0.5, 1.0, None]


def signs():
    """Pictures with one white pixel, whose place is the class; few of class 4."""
    labels = np.repeat(np.arange(10), [90, 90, 90, 90, 12, 90, 90, 90, 90, 90])
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    images.reshape(len(labels), 16)[np.arange(len(labels)), labels] = 255
    return images, labels


def student():
    """Tells 3 and 4 apart by less than a step of eight bits."""
    images = keras.Input((4, 4, 1), name="images")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(10, name="logits")(x), name="student_1")
    kernel = np.zeros((16, 10), np.float32)
    kernel[range(10), range(10)] = 100
    kernel[3, 3:5], kernel[4, 3:5] = (100.05, 100), (100, 100.05)
    model.get_layer("logits").set_weights([kernel, np.zeros(10, np.float32)])
    return model


@pytest.mark.integration
class TestExport:
    def export(self, output, **arguments):
        images, labels = signs()
        return export_students(
            student(), output, formats=("float32", "int8"), test_images=images, test_labels=labels,
            calibration_images=images, class_names=[f"sign {c}" for c in range(10)],
            progress=lambda line: None, processes=0, **arguments,
        )  # fmt: skip

    def test_a_mean_hides_what_a_class_lost(self, tmp_path):
        manifest = self.export(tmp_path / "run")
        (entry,) = manifest["students"]
        assert manifest["checked_on_images_of_class"][4] == 12
        assert entry["class_recall"] == [1.0] * 10
        int8 = entry["formats"]["int8"]
        assert int8["accuracy"] > 0.98
        assert int8["class_recall"] == [1.0] * 4 + [0.0] + [1.0] * 5
        assert entry["formats"]["float32"]["class_recall"] == [1.0] * 10

    def test_it_is_refused_by_name_of_the_class(self, tmp_path):
        message = r"student_1 int8: its recall of class sign 4 must be at most 20 points below"
        with pytest.raises(ExportError, match=message):
            self.export(tmp_path / "run", max_class_drop=0.2)
        (entry,) = read_manifest(tmp_path / "run")["students"]
        assert list(entry["formats"]) == ["float32"]

    def test_the_limit_is_a_share(self, tmp_path):
        with pytest.raises(ExportError, match=r"^max_class_drop must be from 0 to 1. Received: 20"):
            self.export(tmp_path / "run", max_class_drop=20)
