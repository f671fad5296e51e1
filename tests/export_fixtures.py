"""A real export of two small students, for what is done with exports."""

import shutil

import keras
import pytest

import oekd_tf
from oekd_tf.export import export_students

CLASSES = 10


def _student(name, channels):
    images = keras.Input((28, 28, 1), name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    for step in (1, 2):
        x = keras.layers.Conv2D(step * channels, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    student = keras.Model(images, keras.layers.Dense(CLASSES)(x), name=name)
    student.compile(
        keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return student


@pytest.fixture(scope="session")
def data():
    return oekd_tf.data.load("fashion_mnist_mini", max_examples=1500)


@pytest.fixture(scope="session")
def exported(data, tmp_path_factory):
    """The folder of an export; tests that change it take `export` instead."""
    keras.utils.set_random_seed(0)
    students = [_student("student_1", 16), _student("student_2", 4)]
    images, labels = next(data.train(1000, seed=0).as_numpy_iterator())
    for student, epochs in zip(students, (6, 3), strict=True):
        student.fit(images, labels, batch_size=32, epochs=epochs, verbose=0)
    test_images, test_labels = data.test_arrays(300)
    output = tmp_path_factory.mktemp("savedmodels") / "run"
    export_students(
        students,
        output,
        formats=("saved_model", "float32", "int8"),
        calibration_images=images[:100],
        test_images=test_images,
        test_labels=test_labels,
        contract=data.contract,
        max_accuracy_drop={"int8": 1.0},
        progress=lambda line: None,
    )
    return output


@pytest.fixture
def export(exported, tmp_path):
    """A copy of the export, to change."""
    return shutil.copytree(exported, tmp_path / "exports" / "run")


@pytest.fixture
def fails():
    """Runs a binary's main, which must fail with one line; gives that line."""

    def run(main, *argv):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in argv])
        line = str(stop.value.code)
        assert "\n" not in line
        return line

    return run
