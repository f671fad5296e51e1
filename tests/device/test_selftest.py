"""Golden vectors, and what programs do wrong, made here by other means than those that find it."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import oekd_tf
from oekd_tf.cli import pick
from oekd_tf.cli import selftest as command
from oekd_tf.device.diagnosis import diagnose_inputs, diagnose_logits
from oekd_tf.device.exported import read_export
from oekd_tf.device.manifest import file_facts
from oekd_tf.device.selftest import check_pictures, golden_vectors, run_files
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import export_students

SIZE = 28
CROP = 0.875
MEAN, STD = [70.0, 80.0, 90.0], [85.0, 80.0, 75.0]


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """An export of a network that was trained on colours: three real images as the channels."""
    data = oekd_tf.data.load("fashion_mnist_mini", max_examples=1500)
    images, labels = next(data.train(1200, seed=0, augmentation=()).as_numpy_iterator())
    images = np.concatenate([images, np.roll(images, 1, 0), np.roll(images, 2, 0)], -1)
    taken = keras.Input((SIZE, SIZE, 3), name="images")
    x = keras.layers.Normalization(mean=MEAN, variance=np.square(STD))(taken)
    for channels in (8, 16):
        x = keras.layers.Conv2D(channels, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    student = keras.Model(taken, x, name="student_1")
    student.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    student.fit(images[200:], labels[200:], epochs=3, verbose=0)
    contract = {
        **data.contract,
        "image_shape": [SIZE, SIZE, 3],
        "mean": MEAN,
        "std": STD,
        "preparation": {**data.contract["preparation"], "crop": CROP},
    }
    output = tmp_path_factory.mktemp("colour") / "run"
    export_students(
        student, output, formats=("float32", "int8"), contract=contract,
        test_images=images[:200], test_labels=labels[:200], calibration_images=images[200:300],
        max_accuracy_drop=1.0, processes=0, progress=lambda line: None,
    )  # fmt: skip
    return output


def pictures(folder):
    return {name: folder / "selftest" / name for name in golden_vectors(folder).names}


def upright(path):
    with Image.open(path) as image:
        return (
            image.transpose(Image.Transpose.ROTATE_270) if path.suffix == ".jpg" else image.copy()
        )


def center(image, share):
    side = round(min(image.size) * share)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def resized(image, how=Image.Resampling.BILINEAR):
    return np.asarray(image.resize((SIZE, SIZE), how), np.float32)


def as_trained(path):
    image = upright(path)
    return np.asarray(image, np.float32) if image.width == SIZE else resized(center(image, CROP))


def unless_small(change):
    def changed(path):
        image = upright(path)
        return np.asarray(image, np.float32) if image.width == SIZE else change(image)

    return changed


def not_antialiased(image):
    pixels = np.asarray(center(image, CROP), np.float32)
    return tf.image.resize(pixels, (SIZE, SIZE), antialias=False).numpy()


def corner(image):
    side = round(min(image.size) * CROP)
    return image.crop((0, 0, side, side))


def square(image):
    return (max(image.size), max(image.size))


def barred(image):
    height = round(SIZE * image.height / image.width)
    inner = np.asarray(image.resize((SIZE, height), Image.Resampling.BILINEAR), np.float32)
    whole = np.zeros((SIZE, SIZE, 3), np.float32)
    top = (SIZE - height) // 2
    whole[top : top + height] = inner
    return whole


def lying(path):
    with Image.open(path) as image:
        return (
            np.asarray(image, np.float32) if image.width == SIZE else resized(center(image, CROP))
        )


MISTAKES = {
    "BGR instead of RGB": lambda p: as_trained(p)[..., ::-1],
    "scaled to 0…1": lambda p: as_trained(p) / 255,
    "scaled to -1…1": lambda p: as_trained(p) / 127.5 - 1,
    "normalized with mean and deviation": lambda p: (as_trained(p) - MEAN) / STD,
    "normalized with ImageNet's": lambda p: (
        (as_trained(p) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ),
    "squeezed instead of the center crop": unless_small(resized),
    "largest center crop is taken instead of the center crop of 0.875": unless_small(
        lambda i: resized(center(i, 1.0))
    ),
    "not antialiased": unless_small(not_antialiased),
    "nearest pixels": unless_small(
        lambda i: resized(center(i, CROP), Image.Resampling.NEAREST)
    ),
    "EXIF is ignored": lying,
    "rows and columns are exchanged": lambda p: as_trained(p).transpose(1, 0, 2),
    "channels come first": lambda p: as_trained(p).transpose(2, 0, 1),
    "mirrored": lambda p: as_trained(p)[:, ::-1],
    "upside down": lambda p: as_trained(p)[::-1],
    "grey, their luminance": lambda p: np.repeat(
        np.asarray(Image.fromarray(as_trained(p).astype(np.uint8)).convert("L"), np.float32)[
            ..., None
        ],
        3,
        -1,
    ),
    "grey, their mean": lambda p: np.repeat(as_trained(p).mean(-1, keepdims=True), 3, -1),
    "inverted": lambda p: 255 - as_trained(p),
    "bicubic": unless_small(lambda i: resized(center(i, CROP), Image.Resampling.BICUBIC)),
    "averages areas": unless_small(lambda i: resized(center(i, CROP), Image.Resampling.BOX)),
    "Lanczos": unless_small(lambda i: resized(center(i, CROP), Image.Resampling.LANCZOS)),
    "upper left corner": unless_small(lambda i: resized(corner(i))),
    "has bars": unless_small(lambda i: barred(i)),
    "padded, then resized": unless_small(lambda i: resized(ImageOps.pad(i, square(i)))),
    "turned the wrong way": lambda p: (
        resized(center(upright(p).transpose(Image.Transpose.ROTATE_180), CROP))
        if p.suffix == ".jpg"
        else as_trained(p)
    ),
}  # fmt: skip


def test_the_vectors_are_of_real_images_and_of_the_files(exported, data):
    vectors = golden_vectors(exported)
    images = data.test_arrays(300)[0]
    assert vectors.names == [f"picture_{n}.png" for n in (1, 2, 3, 4)] + ["picture_5.jpg"]
    np.testing.assert_array_equal(vectors.inputs[0], images[0])
    assert sorted(vectors.files) == [
        f"student_{n}/{form}" for n in (1, 2) for form in ("float32", "int8")
    ]
    content = json.loads((exported / "selftest" / "golden.json").read_text())
    assert content["images"][0]["label"] == data.class_names[data.test_arrays(300)[1][0]]
    model = TfliteModel(exported / "student_1" / "int8.tflite")
    expected, tolerance = vectors.files["student_1/int8"]
    np.testing.assert_allclose(model.logits(vectors.inputs), expected, rtol=1e-5)
    assert tolerance == pytest.approx(4 * model.output["quantization"][0])


def test_files_and_pictures_pass_where_they_were_made(colour):
    results = run_files(colour)
    assert [one.name for one in results] == ["student_1/float32", "student_1/int8"]
    assert all(one.passed and one.same_class == one.pictures == 5 for one in results)
    assert check_pictures(colour) == ""
    right = {name: as_trained(path) for name, path in pictures(colour).items()}
    assert diagnose_inputs(colour, right) == []
    stored = {name: (values - 128).tolist() for name, values in right.items()}
    assert diagnose_inputs(colour, stored, "student_1/int8") == []
    (said,) = diagnose_inputs(colour, stored)
    assert said == "128 is subtracted from pixels that are not for an int8 tensor"
    (said,) = diagnose_inputs(colour, right, "student_1/int8")
    assert said == "128 is not subtracted: an int8 tensor holds pixel - 128"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_by_name_from_inputs(colour, name):
    given = {file: MISTAKES[name](path) for file, path in pictures(colour).items()}
    (said,) = diagnose_inputs(colour, given)
    assert name in said


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_by_name_from_logits(colour, name):
    model = TfliteModel(colour / "student_1" / "float32.tflite")
    given = {}
    for file, path in pictures(colour).items():
        wrong = np.reshape(MISTAKES[name](path), (1, SIZE, SIZE, 3)).astype(np.float32)
        given[file] = model.logits(wrong)[0].tolist()
    (said,) = diagnose_logits(colour, given, "student_1/float32")
    assert name in said


def test_two_mistakes_are_both_told(colour):
    given = {file: as_trained(path)[..., ::-1] / 255 for file, path in pictures(colour).items()}
    said = " ".join(diagnose_inputs(colour, given))
    assert "BGR" in said
    assert "0…1" in said


def test_bytes_that_are_taken_as_int8_are_told(colour):
    given = {
        file: as_trained(path).astype(np.uint8).view(np.int8).tolist()
        for file, path in pictures(colour).items()
    }
    (said,) = diagnose_inputs(colour, given, "student_1/int8")
    assert "bytes are taken as int8" in said


def test_what_is_no_known_mistake_is_said_to_be_none(colour, rng):
    given = {file: rng.uniform(0, 255, (SIZE, SIZE, 3)) for file in pictures(colour)}
    said = diagnose_inputs(colour, given)
    assert said == [
        f"{file}: the input is none that a known mistake makes" for file in pictures(colour)
    ]


def test_one_wrong_picture_is_named(colour):
    paths = pictures(colour)
    given = {file: as_trained(path) for file, path in paths.items()}
    given["picture_2.png"] = given["picture_2.png"][:, ::-1]
    assert diagnose_inputs(colour, given) == ["picture_2.png: the picture is mirrored"]
    given = {file: as_trained(path).copy() for file, path in paths.items()}
    given["picture_3.png"][5, 5] += 40
    (said,) = diagnose_inputs(colour, given)
    assert said.startswith("picture_3.png: the input is none")


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_wrong_logits_of_one_picture_are_named(colour, form):
    vectors = golden_vectors(colour)
    logits, tolerance = vectors.files[f"student_1/{form}"]
    given = dict(zip(vectors.names, logits.copy(), strict=True))
    given["picture_2.png"] += 0.9 * tolerance
    assert diagnose_logits(colour, given, f"student_1/{form}") == []
    given["picture_2.png"][4] += 2 * tolerance
    (said,) = diagnose_logits(colour, given, f"student_1/{form}")
    assert said.startswith("picture_2.png: the logits are none that a known mistake makes; ")
    assert said.endswith("check --inputs")


def test_mistakes_of_the_output_are_not_those_of_pictures(colour):
    vectors = golden_vectors(colour)
    logits, _ = vectors.files["student_1/int8"]
    output = TfliteModel(colour / "student_1" / "int8.tflite").output
    scale, zero = output["quantization"]
    stored = np.round(logits / scale) + zero
    exponentials = np.exp(logits.astype(np.float64))
    for wrong, expected in (
        (exponentials / exponentials.sum(-1, keepdims=True), "softmax comes after"),
        (stored, "integers are given"),
        (stored - zero, "scale is missing"),
        (stored * scale, "zero point is missing"),
        (-np.sort(-logits), "in another order"),
    ):
        given = dict(zip(vectors.names, wrong.tolist(), strict=True))
        (said,) = diagnose_logits(colour, given, "student_1/int8")
        assert expected in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: [float("nan"), *v[1:]], "NaN, infinity"),
        (lambda v: [1e308, *v[1:]], "beyond float32"),
        (lambda v: [10**400, *v[1:]], "something else than numbers"),
        (lambda v: [str(one) for one in v], "something else than numbers"),
        (lambda v: {"0": 1}, "something else than numbers"),
        (lambda v: [v, v[1:]], "differ in length"),
        (lambda v: v[1:], "Received: 2351"),
    ],
)
def test_what_are_no_numbers(colour, change, message):
    given = {file: as_trained(path).ravel().tolist() for file, path in pictures(colour).items()}
    given["picture_2.png"] = change(given["picture_2.png"])
    with pytest.raises(ValueError, match=message):
        diagnose_inputs(colour, given)


def test_all_pictures_must_be_given(colour):
    given = {"picture_1.png": as_trained(pictures(colour)["picture_1.png"])}
    with pytest.raises(ValueError, match=r"Received: 1 of 5, without picture_2\.png, "):
        diagnose_inputs(colour, given)


def test_the_command(colour, tmp_path, capsys, fails):
    command.main([f"--exports={colour}"])
    said = capsys.readouterr().out
    assert "student_1/int8" in said
    assert "golden answers here" in said
    app = tmp_path / "app.json"
    right = {file: as_trained(path).tolist() for file, path in pictures(colour).items()}
    app.write_text(json.dumps(right))
    command.main([f"--exports={colour}", f"--inputs={app}"])
    assert "Right: all 5 pictures." in capsys.readouterr().out
    app.write_text(json.dumps({"picture_1.png": [1, 2, 3]}))
    assert "2352 finite numbers" in fails(command.main, f"--exports={colour}", f"--inputs={app}")
    app.write_text(json.dumps({"cat.png": [0] * 2352}))
    assert "among picture_1.png" in fails(command.main, f"--exports={colour}", f"--inputs={app}")
    app.write_text("[1]")
    assert "must be an object" in fails(command.main, f"--exports={colour}", f"--inputs={app}")
    assert "--model must be given" in fails(command.main, f"--exports={colour}", f"--logits={app}")


def test_what_a_file_manager_leaves_is_no_change(colour, tmp_path):
    folder = shutil.copytree(colour, tmp_path / "run")
    (folder / "selftest" / ".DS_Store").write_bytes(b"icons")
    (folder / "selftest" / "@eaDir").mkdir()
    (folder / "selftest" / "@eaDir" / "picture_1.png").write_bytes(b"thumbnail")
    assert check_pictures(folder) == ""
    (folder / "selftest" / "mine.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="selftest must be what was exported"):
        check_pictures(folder)


def test_labels_in_another_order_are_told(colour, tmp_path, fails):
    folder = shutil.copytree(colour, tmp_path / "run")
    path = folder / "student_1" / "labels.txt"
    first, second, *rest = path.read_text().splitlines()
    path.write_text("\n".join([second, first, *rest]) + "\n")
    message = fails(command.main, f"--exports={folder}")
    assert f"student_1/labels.txt, whose class 0 is {second!r}, not {first!r}" in message
    picked = tmp_path / "picked"
    pick.main([f"--exports={colour}", "--formats=int8", f"--output={picked}"])
    (picked / "labels.txt").write_text(path.read_text())
    assert "whose class 0 is" in fails(command.main, f"--exports={picked}")
    (picked / "labels.txt").write_text("one\n")
    assert "labels.txt must" in fails(command.main, f"--exports={picked}")


def test_a_picked_file_has_its_own(colour, tmp_path, capsys, fails):
    picked = tmp_path / "picked"
    pick.main([f"--exports={colour}", "--formats=int8", f"--output={picked}"])
    assert [one.name for one in run_files(picked)] == ["student_1/int8"]
    given = {file: MISTAKES["scaled to 0…1"](path) for file, path in pictures(picked).items()}
    assert "0…1" in diagnose_inputs(picked, given)[0]
    pick.main([f"--exports={colour}", "--formats=float32", f"--output={picked}", "--overwrite"])
    capsys.readouterr()
    command.main([f"--exports={picked}"])
    assert "student_1/float32" in capsys.readouterr().out
    (picked / "selftest" / "picture_1.png").write_bytes(b"mine")
    assert "selftest must be what was exported" in fails(command.main, f"--exports={picked}")


def test_other_weights_do_not_pass(colour, tmp_path, fails):
    folder = shutil.copytree(colour, tmp_path / "run")
    golden = folder / "selftest" / "golden.json"
    content = json.loads(golden.read_text())
    content["files"]["student_1/int8"]["logits"][2][3] += 30.0
    golden.write_text(json.dumps(content))
    assert "selftest must be what was exported" in fails(command.main, f"--exports={folder}")
    manifest = {**read_export(folder), "selftest": file_facts(golden.parent, folder)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "others of student_1/int8" in fails(command.main, f"--exports={folder}")


def test_an_export_without_vectors_is_one_line(colour, tmp_path, fails):
    folder = shutil.copytree(colour, tmp_path / "run")
    manifest = read_export(folder)
    del manifest["selftest"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    line = fails(command.main, f"--exports={folder}")
    assert "must hold golden vectors" in line
