"""Labels and preprocessing inside TFLite files, as their readers find them."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import oekd_tf
from oekd_tf.cli import classify
from oekd_tf.device.contract import read_origin
from oekd_tf.device.exported import read_export
from oekd_tf.device.predictions import top_predictions
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import export_students
from oekd_tf.export.formats.parts.tflite_metadata import with_metadata

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def file(exported):
    return exported / "student_2" / "int8.tflite"


def buffers(content):
    model = schema.Model.GetRootAsModel(content, 0)
    return [model.Buffers(index) for index in range(model.BuffersLength())]


def test_labels_and_contract_are_an_archive_at_the_end(file, data):
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["labels.txt", "contract.json"]
        assert archive.testzip() is None
        labels = archive.read("labels.txt").decode().splitlines()
        contract = json.loads(archive.read("contract.json"))
    assert labels == data.class_names
    assert contract["preparation"] == data.contract["preparation"]
    assert contract["splits"] is None


def test_weights_begin_at_multiples_of_16_bytes(file):
    content = file.read_bytes()
    start = np.frombuffer(content, np.uint8).ctypes.data
    places = [b.DataAsNumpy().ctypes.data - start for b in buffers(content) if not b.DataIsNone()]
    assert len(places) > 5
    assert {place % 16 for place in places} == {0}


def test_the_network_stays_the_same(file, data):
    written = file.read_bytes()
    twice = with_metadata(written, "student_2", {**data.contract, "class_names": ["a"] * 10})
    images = data.test_arrays(20)[0]
    np.testing.assert_array_equal(
        TfliteModel(twice).logits(images), TfliteModel(file).logits(images)
    )
    before = [b.DataAsNumpy().tobytes() for b in buffers(written) if not b.DataIsNone()]
    after = [b.DataAsNumpy().tobytes() for b in buffers(twice) if not b.DataIsNone()]
    assert after[: len(before)] == before


def test_the_same_student_gives_the_same_bytes(file, data):
    contract = {**data.contract, "class_names": data.class_names}
    content = file.read_bytes()
    assert with_metadata(content, "a", contract) == with_metadata(content, "a", contract)


def test_a_file_alone_is_classified_by_what_is_inside(file, data, tmp_path, capsys):
    from PIL import Image

    lone = tmp_path / "from_the_phone.tflite"
    shutil.copyfile(file, lone)
    image = data.test_arrays(1)[0][0]
    Image.fromarray(image[..., 0]).save(tmp_path / "shoe.png")
    assert read_origin(lone).contract["image_shape"] == [28, 28, 1]
    classify.main([f"--model={lone}", "--top=1", "--json", str(tmp_path / "shoe.png")])
    said = capsys.readouterr()
    expected = top_predictions(TfliteModel(file).logits(image[None])[0], data.class_names, 1)[0]
    assert json.loads(said.out)["predictions"][0]["label"] == expected.label
    assert "not known" not in said.err


def test_a_damaged_contract_inside_is_one_line(file, tmp_path, fails):
    broken = tmp_path / "broken.tflite"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("contract.json", '{"image_shape": "wide"}')
    with zipfile.ZipFile(file) as archive:
        start = archive.infolist()[0].header_offset
    broken.write_bytes(file.read_bytes()[:start] + target.getvalue())
    line = fails(classify.main, f"--model={broken}", str(tmp_path))
    assert "The contract.json inside" in line


def test_the_card_says_who_refuses_the_file(exported):
    from oekd_tf.device.card import card, card_text
    from oekd_tf.device.exported import find_file

    manifest = read_export(exported)
    said = card_text(card(exported, manifest, find_file(manifest, "student_2", "int8"), {}))
    assert "MediaPipe's ImageClassifier does not take it: grey images, int8 input" in said


@pytest.mark.integration
@pytest.mark.slow
def test_mediapipe_answers_as_classify_does(tmp_path):
    """MediaPipe is not among the requirements of the tests: `pip install mediapipe`."""
    mediapipe = pytest.importorskip("mediapipe", reason="needs mediapipe")
    from mediapipe.tasks import python as tasks

    if not (SHARED / "gtsrb32").exists():
        pytest.skip("needs shared/data/gtsrb32")
    data = oekd_tf.data.load("gtsrb32", data_dir=str(SHARED), max_examples=3000)
    family = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(8), data.image_shape, data.num_classes, widths=(1.0, 0.25),
        mean=data.mean, std=data.std,
    )  # fmt: skip
    family.compile(keras.optimizers.Adam(1e-2))
    family.fit(data.train(64, seed=0), epochs=3, steps_per_epoch=46, verbose=0)
    images, labels = data.test_arrays(500)
    export_students(
        family, tmp_path / "out", formats=("float32", "uint8", "int8"), contract=data.contract,
        calibration_images=next(data.train(200, seed=0, augmentation=()).as_numpy_iterator())[0],
        test_images=images, test_labels=labels, max_accuracy_drop=1.0, min_agreement=0.0,
        processes=0, progress=lambda line: None,
    )  # fmt: skip
    names = read_export(tmp_path / "out")["class_names"]
    for name in ("float32", "uint8"):
        path = tmp_path / "out" / "student_1" / f"{name}.tflite"
        ours = TfliteModel(path).logits(images).argmax(-1)
        options = tasks.vision.ImageClassifierOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(path)), max_results=1
        )
        with tasks.vision.ImageClassifier.create_from_options(options) as classifier:
            found = []
            for image in images:
                picture = mediapipe.Image(
                    image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
                )
                found.append(classifier.classify(picture).classifications[0].categories[0])
        same = np.mean([one.index == index for one, index in zip(found, ours, strict=True)])
        assert same >= 0.99
        assert all(one.category_name == names[one.index] for one in found)
    int8 = tasks.BaseOptions(model_asset_path=str(path.with_name("int8.tflite")))
    with pytest.raises((RuntimeError, ValueError)):
        tasks.vision.ImageClassifier.create_from_options(
            tasks.vision.ImageClassifierOptions(base_options=int8)
        )
