"""Image files to labels: pixels as in training's evaluation, and the binary."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from oekd_tf.cli import classify
from oekd_tf.data.cropping import central_window
from oekd_tf.data.decoding import ImageDecoder
from oekd_tf.device import TfliteModel
from oekd_tf.device.card import card
from oekd_tf.device.contract import read_contract, read_input
from oekd_tf.device.exported import find_file
from oekd_tf.device.pictures import central_box, image_files, read_image
from oekd_tf.device.predictions import probabilities, top_predictions

OF_0_1 = Path(__file__).parents[1] / "written_by_0_1" / "export"


def photo(rng, height, width, channels=3):
    """Smooth, as photographs are, so that resizing has one right answer."""
    coarse = rng.integers(0, 256, (5, 4, channels), dtype=np.uint8).squeeze()
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


class TestPictures:
    @pytest.mark.parametrize("size", [(200, 120), (90, 200), (32, 24), (20, 11), (64, 48)])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("suffix", ["png", "jpg"])
    def test_as_evaluation_in_training(self, rng, tmp_path, size, channels, suffix):
        path = tmp_path / f"image.{suffix}"
        # Decoders differ in how they enlarge colour that is stored at half the resolution.
        photo(rng, *size).save(path, **({"subsampling": 0} if suffix == "jpg" else {}))
        shape = (32, 24, channels)
        expected = ImageDecoder(shape, varying=True, central_crop=0.875).whole(path.read_bytes())
        found = read_image(path, shape, 0.875)
        assert (found.shape, found.dtype) == (shape, np.uint8)
        difference = np.abs(found.astype(int) - expected.numpy())
        # Pillow rounds between its passes; TensorFlow decodes JPEG fast rather than exactly.
        most, mean = (2, 0.8) if suffix == "png" else (6, 1.3)
        assert difference.max() <= most
        assert difference.mean() < mean

    @pytest.mark.parametrize("size", [(32, 24), (31, 24), (100, 7), (1, 1), (333, 500)])
    @pytest.mark.parametrize("share", [1.0, 0.875, 0.1])
    def test_box_is_trainings(self, size, share):
        window = central_window(tf.constant(size), (32, 24), tf.constant(share)).numpy().tolist()
        left, top, right, bottom = central_box(size[::-1], (24, 32), share)
        assert [top, left, bottom - top, right - left] == window

    def test_every_mode_of_pixels(self, rng, tmp_path):
        grey = np.asarray(photo(rng, 16, 16, 1))
        image = Image.fromarray(grey)
        stored = {
            "grey.png": image,
            "colour.png": image.convert("RGB"),
            "alpha.png": image.convert("RGBA"),
            "grey_alpha.png": image.convert("LA"),
            "palette.png": image.convert("P"),
            "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
            "deep.tif": Image.fromarray(grey.astype(np.uint16) * 257),
            "a.gif": image,
            "a.bmp": image.convert("RGB"),
        }
        for name, each in stored.items():
            each.save(tmp_path / name)
            found = read_image(tmp_path / name, (16, 16, 1))
            np.testing.assert_allclose(found[..., 0].astype(int), grey, atol=1, err_msg=name)
            found = read_image(tmp_path / name, (16, 16, 3))
            np.testing.assert_allclose(
                found.astype(int), np.repeat(grey[..., None], 3, -1), atol=1, err_msg=name
            )

    def test_transparency_is_dropped_as_in_training(self, rng, tmp_path):
        pixels = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        expected = ImageDecoder((8, 8, 3)).whole((tmp_path / "a.png").read_bytes())
        np.testing.assert_array_equal(read_image(tmp_path / "a.png", (8, 8, 3)), expected)

    def test_exif_orientation(self, rng, tmp_path):
        pixels = rng.integers(0, 256, (8, 6), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = Image.fromarray(np.rot90(pixels))
        turned.save(tmp_path / "a.png", exif=exif)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png", (8, 6, 1))[..., 0], pixels)

    def test_refusals(self, tmp_path, rng):
        (tmp_path / "text.jpg").write_text("no image")
        with pytest.raises(ValueError, match=r"must be readable\. Received: .*text\.jpg") as error:
            read_image(tmp_path / "text.jpg", (8, 8, 1))
        assert "\n" not in str(error.value)
        photo(rng, 300, 300).save(tmp_path / "a.png")
        content = (tmp_path / "a.png").read_bytes()
        (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=r"half\.png"):
            read_image(tmp_path / "half.png", (8, 8, 1))
        with pytest.raises(ValueError, match=r"1 or 3 channels\. Received: 2"):
            read_image(tmp_path / "a.png", (8, 8, 2))
        Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match="floats"):
            read_image(tmp_path / "a.tif", (4, 4, 1))

    def test_files_of_a_folder(self, tmp_path):
        for name in ("b/2.PNG", "b/1.jpeg", "a.webp", "note.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        files, others = image_files(tmp_path)
        assert [str(path.relative_to(tmp_path)) for path in files] == [
            "a.webp", "b/1.jpeg", "b/2.PNG",
        ]  # fmt: skip
        assert others == {".txt": 1}
        assert image_files(tmp_path / "note.txt") == ([tmp_path / "note.txt"], {})

    def test_manifests_of_version_0_1_say_what_they_know(self, tmp_path):
        model = tmp_path / "student_1" / "int8.tflite"
        model.parent.mkdir()
        assert read_contract(model) is None
        manifest = json.loads((OF_0_1 / "manifest.json").read_text())
        for data, known, expected in (
            ({"source": "cifar10", "image_size": []}, True, None),
            ({"source": "image_folder", "image_size": [64, 64]}, True, 0.875),
            ({"source": "image_folder", "image_size": [64, 64], "central_crop": 0.5}, True, 0.5),
            # It may have been resized whole or not.
            ({"source": "svhn_cropped", "image_size": [16, 16]}, False, None),
        ):
            manifest["made_by"]["config"]["data"] = data
            (tmp_path / "manifest.json").write_text(json.dumps(manifest))
            preparation = read_contract(model)["preparation"]
            assert (preparation is not None) == known
            assert not known or preparation["crop"] == expected
        file = find_file(manifest, "student_1", "int8")
        (model.parent / "card.json").write_text(json.dumps(card(OF_0_1, manifest, file, {})))
        assert read_contract(model)["image_shape"] == [28, 28, 1]

    def test_a_manifest_of_something_else_is_not_read(self, tmp_path):
        model = tmp_path / "public" / "int8.tflite"
        model.parent.mkdir()
        site = {"name": "Shoes", "start_url": "/", "icons": [], "class_names": 1}
        (tmp_path / "manifest.json").write_text(json.dumps(site))
        (model.parent / "card.json").write_text("[]")
        assert read_contract(model) is None

    def test_damaged_manifests_are_one_line(self, tmp_path):
        model = tmp_path / "student_1" / "int8.tflite"
        model.parent.mkdir()
        manifest = json.loads((OF_0_1 / "manifest.json").read_text())
        good = {
            "oekd_tf": "0.2.0", "data": None, "class_names": None, "image_shape": [28, 28, 1],
            "mean": None, "std": None, "class_counts": None, "preparation": None, "splits": None,
        }  # fmt: skip
        crop = {"orientation": "exif", "crop": 0.5, "resize": "bilinear", "antialias": True}
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps({**manifest, "contract": {**good, "preparation": crop}}))
        assert read_contract(model)["preparation"]["crop"] == 0.5
        for field, message in (
            ({"image_shape": 3}, "contract.image_shape must be a list, and is 3"),
            (
                {"preparation": {**crop, "crop": 2}},
                "crop must be a number <= 1.0, and is 2",
            ),
            ({"preparation": {**crop, "resize": "x"}}, "resize must be what this version knows"),
            ({"mean": [1, 2]}, "contract.mean must be a number a channel, 1, and is 2"),
            ({"std": [0]}, "contract.std must be above 0"),
            ({"image_shape": [28, 28, 3]}, "contract.image_shape must be the students' input_s"),
        ):
            path.write_text(json.dumps({**manifest, "contract": {**good, **field}}))
            expected = re.escape(f"{path} must be an export's manifest. Received: ")
            with pytest.raises(ValueError, match=f"{expected}.*{re.escape(message)}"):
                read_contract(model)
        path.write_text(path.read_text()[:-9])
        with pytest.raises(ValueError, match="Received: no JSON"):
            read_contract(model)


class TestPredictions:
    def test_probabilities(self):
        found = probabilities(np.array([[1e4, 1e4 + np.log(3)], [0, -np.inf]]))
        np.testing.assert_allclose(found, [[0.25, 0.75], [1, 0]])

    def test_top(self):
        found = top_predictions(np.log([0.2, 0.5, 0.2, 0.1]), "abcd", 3)
        assert [(p.label, p.index) for p in found] == [("b", 1), ("a", 0), ("c", 2)]
        assert found[0].probability == pytest.approx(0.5)
        assert len(top_predictions(np.zeros(2), "ab", 5)) == 2


@pytest.fixture(scope="module")
def pictures(data, tmp_path_factory):
    """Four test images as files, and their pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    pixels = data.test_arrays(4)[0]
    for index, image in enumerate(pixels):
        place = folder / "more" if index > 1 else folder
        Image.fromarray(image[..., 0]).save(place / f"{index}.png")
    return folder, pixels


def answers(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class TestBinary:
    @pytest.mark.parametrize("form", ["float32", "int8"])
    def test_says_what_the_model_says(self, exported, pictures, data, capsys, form):
        model = exported / "student_1" / f"{form}.tflite"
        classify.main([f"--model={model}", "--json", "--top=3", str(pictures[0])])
        found = answers(capsys)
        assert [answer["image"].split("/")[-1] for answer in found] == [
            "0.png", "1.png", "2.png", "3.png",
        ]  # fmt: skip
        shares = probabilities(TfliteModel(model).logits(pictures[1]))
        for answer, share in zip(found, shares, strict=True):
            predictions = answer["predictions"]
            assert len(predictions) == 3
            assert predictions[0]["label"] == data.class_names[share.argmax()]
            assert predictions[0]["probability"] == pytest.approx(share.max())

    def test_a_picture_of_another_shape_as_training_would_see_it(
        self, exported, data, rng, tmp_path, capsys
    ):
        model = exported / "student_1" / "float32.tflite"
        photo(rng, 56, 112, 1).save(tmp_path / "a.png")
        # All images of this data set have one size, so a whole one is resized.
        decoder = ImageDecoder(data.image_shape)
        expected = decoder.whole((tmp_path / "a.png").read_bytes()).numpy()
        image = read_input(tmp_path / "a.png", read_contract(model))
        assert np.abs(image.astype(int) - expected).max() <= 2
        shares = probabilities(TfliteModel(model).logits(image[None])[0])
        classify.main([f"--model={model}", "--json", "--top=1", str(tmp_path / "a.png")])
        (answer,) = answers(capsys)
        assert answer["predictions"][0]["probability"] == pytest.approx(shares.max())

    def test_where_nothing_is_known_it_says_what_it_assumes(
        self, exported, pictures, tmp_path, capsys
    ):
        whole, model = exported / "student_1" / "int8.tflite", tmp_path / "a.tflite"
        with zipfile.ZipFile(whole) as archive:
            start = archive.infolist()[0].header_offset
        # As other programs write one: without what this package puts at its end.
        model.write_bytes(whole.read_bytes()[:start])
        classify.main([f"--model={model}", str(pictures[0] / "0.png")])
        line = capsys.readouterr().err.strip()
        assert line.startswith("How pictures became inputs in training is not known for ")
        assert "--central_crop=0.875" in line
        assert "\n" not in line
        classify.main([f"--model={model}", "--central_crop=0.9", str(pictures[0] / "0.png")])
        assert capsys.readouterr().err == ""

    def test_every_file_has_its_answer_or_its_line(self, exported, pictures, tmp_path, capsys):
        folder = shutil.copytree(pictures[0], tmp_path / "photos")
        names = (b"b\xe9.png", b"two\nlines.png", "日本.png".encode())
        for name in names:
            shutil.copy(folder / "0.png", os.fsencode(folder) + b"/" + name)
        exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(20)
        Image.open(folder / "0.png").save(folder / "damaged_exif.jpg", exif=exif)
        (folder / "empty.png").touch()
        (folder / "x.heic").touch()
        (folder / ".hidden.png").touch()
        model = exported / "student_1" / "int8.tflite"
        with pytest.raises(SystemExit) as stop:
            classify.main([f"--model={model}", "--top=1", str(folder)])
        assert stop.value.code == 1
        shown = capsys.readouterr()
        assert len(shown.out.splitlines()) == 4 + 3 + 1
        assert "two\\nlines.png: " in shown.out
        errors = shown.err.splitlines()
        assert len(errors) == 2
        assert "empty.png" in errors[0]
        assert errors[1] == "left out, not of a format that is read: 1 .heic"

    def test_a_byte_order_mark_is_no_part_of_a_label(self, exported, pictures, tmp_path, capsys):
        labels = tmp_path / "labels.txt"
        labels.write_text("".join(f"class {i}\n" for i in range(10)), encoding="utf-8-sig")
        model = exported / "student_1" / "int8.tflite"
        flags = [f"--model={model}", f"--labels={labels}", "--top=10", "--json"]
        classify.main([*flags, str(pictures[0] / "0.png")])
        (answer,) = answers(capsys)
        assert {p["label"] for p in answer["predictions"]} == {f"class {i}" for i in range(10)}

    def test_text_and_other_labels(self, exported, data, pictures, tmp_path, capsys):
        labels = tmp_path / "labels.txt"
        labels.write_text("".join(f"class {index}\n" for index in range(10)))
        model = exported / "student_1" / "int8.tflite"
        image = str(pictures[0] / "0.png")
        classify.main([f"--model={model}", f"--labels={labels}", "--top=2", image])
        shown = capsys.readouterr().out
        assert re.fullmatch(r".*/0\.png: class \d \d+\.\d%, class \d \d+\.\d%\n", shown)
        alone = shutil.copy(model, tmp_path / "sub.tflite")
        labels.unlink()
        classify.main([f"--model={alone}", "--top=1", "--json", image])
        (answer,) = answers(capsys)
        first = answer["predictions"][0]
        # The file's own: they are inside.
        assert first["label"] == data.class_names[first["index"]]

    def test_files_that_are_not_those_of_the_manifest(self, export, pictures, tmp_path, fails):
        folder, image = export / "student_1", str(pictures[0] / "0.png")
        flags = [f"--model={folder / 'int8.tflite'}", image]
        lines = (folder / "labels.txt").read_text().splitlines()
        (folder / "labels.txt").write_text("\n".join(lines[::-1]))
        line = fails(classify.main, *flags)
        assert "labels.txt must have the class names of the manifest or card" in line
        # Labels that a user names are taken.
        shutil.copy(folder / "labels.txt", tmp_path / "mine.txt")
        classify.main([*flags, f"--labels={tmp_path / 'mine.txt'}"])
        (folder / "labels.txt").write_text("\n".join(lines) + "\n")
        shutil.copy(export / "student_2" / "int8.tflite", folder / "int8.tflite")
        line = fails(classify.main, *flags)
        assert re.search(r"--model must be the file that .* of another SHA-256$", line)
        # One that was not exported may lie there.
        (folder / "int8.tflite").rename(folder / "mine.tflite")
        classify.main([f"--model={folder / 'mine.tflite'}", image])

    def test_cascade_asks_only_when_in_doubt(self, export, pictures, capsys):
        flags = f"--exports={export}", "--cascade=student_2,student_1", "--json", str(pictures[0])
        logits = {
            name: TfliteModel(export / name / "int8.tflite").logits(pictures[1])
            for name in ("student_1", "student_2")
        }
        sure = probabilities(logits["student_2"]).max(-1)
        threshold = float(np.sort(sure)[1:3].mean())
        for way in ("flag", "manifest"):
            if way == "flag":
                classify.main([*flags, f"--threshold={threshold}"])
            else:
                manifest = json.loads((export / "manifest.json").read_text())
                split = {
                    "images": 4, "small_accuracy": 0.5, "large_accuracy": 0.5, "accuracy": 0.5,
                    "mean_cost": 1.0, "share_asked": 0.5,
                }  # fmt: skip
                files = [find_file(manifest, f"student_{n}", "int8") for n in (2, 1)]
                manifest["cascades"] = {
                    "student_2,student_1/int8": {
                        "threshold": threshold, "max_accuracy_drop": 0.0, "cost": "FLOPs",
                        "small_cost": 1.0, "large_cost": 2.0, "validation": split, "test": split,
                        "sha256": [file.facts["sha256"] for file in files],
                    }
                }  # fmt: skip
                (export / "manifest.json").write_text(json.dumps(manifest))
                classify.main(flags)
            found = answers(capsys)
            expected = ["student_1" if share < threshold else "student_2" for share in sure]
            assert sorted(expected) == ["student_1"] * 2 + ["student_2"] * 2
            assert [answer["model"] for answer in found] == expected
            for index, answer in enumerate(found):
                top = logits[expected[index]][index].argmax()
                assert answer["predictions"][0]["index"] == top
        classify.main([*flags[:2], flags[3]])
        assert "0.png (student_" in capsys.readouterr().out

    def test_goes_on_after_an_unreadable_image(self, exported, pictures, tmp_path, capsys):
        (tmp_path / "a.png").write_text("no image")
        shutil.copy(pictures[0] / "0.png", tmp_path / "b.png")
        (tmp_path / "empty").mkdir()
        model = f"--model={exported / 'student_1' / 'int8.tflite'}"
        images = [tmp_path / "missing.png", tmp_path, tmp_path / "empty"]
        with pytest.raises(SystemExit) as stop:
            classify.main([model, *map(str, images)])
        assert stop.value.code == 1
        shown = capsys.readouterr()
        assert shown.out.startswith(str(tmp_path / "b.png"))
        errors = shown.err.splitlines()
        assert len(errors) == 3
        assert "missing.png, not there" in errors[0]
        assert "a.png" in errors[1]
        assert "must hold images" in errors[2]

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ([], "Either --model or --cascade.* Received: neither"),
            (["--model=a", "--cascade=a,b"], "Received: both"),
            (["--cascade=student_2"], "must name two students"),
            (["--cascade=student_2,student_1"], "and --exports their folder"),
            (["--cascade=student_2,student_1", "--exports=X"], "oekd cascade, or given as --th"),
            (["--cascade=student_2,student_3", "--exports=X"], "must hold student_3 as int8"),
            (
                ["--cascade=student_2,student_1", "--exports=X", "--format=a"],
                "must hold student_2 as a",
            ),
            (["--model=X/labels.txt"], "is not there"),
            (["--model=X/manifest.json"], "must be a TFLite file"),
            (["--model=X/student_1/int8.tflite", "--labels=X/manifest.json"], "one label a line"),
            (["--model=X/student_1/int8.tflite", "--central_crop=0"], "must be above 0"),
            (["--model=X/student_1/int8.tflite", "--top=0"], "must be a whole number above 0"),
        ],
    )
    def test_refusals(self, exported, pictures, fails, flags, message):
        flags = [flag.replace("X", str(exported)) for flag in flags]
        assert re.search(message, fails(classify.main, *flags, pictures[0]))
