"""Which names are taken for mirrored classes, and which are not."""

import pytest
from small_runs import small_config

from oekd_tf import training
from oekd_tf.data import mirrored_classes
from oekd_tf.data.mirroring import mirror_warning


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["left", "right"], [("left", "right")]),
        (["stop", "Turn Right", "yield", "turn_left"], [("Turn Right", "turn_left")]),
        (["arrow-LEFT-small", "arrow-RIGHT-small"], [("arrow-LEFT-small", "arrow-RIGHT-small")]),
        (["turnLeft", "turnRight"], [("turnLeft", "turnRight")]),
        (["Kurve links", "Kurve rechts"], [("Kurve links", "Kurve rechts")]),
        (["virage à gauche", "virage à droite"], [("virage à gauche", "virage à droite")]),
        (["curva izquierda", "curva derecha"], [("curva izquierda", "curva derecha")]),
        (["sinistra", "destra"], [("sinistra", "destra")]),
        (["clockwise", "counter-clockwise"], [("clockwise", "counter-clockwise")]),
        (["anticlockwise", "clockwise"], [("anticlockwise", "clockwise")]),
        (list("abcdpq"), [("b", "d"), ("p", "q")]),
        (["left hand", "p", "right hand", "q"], [("left hand", "right hand"), ("p", "q")]),
    ],
)
def test_pairs(names, pairs):
    assert mirrored_classes(names) == pairs


@pytest.mark.parametrize(
    "names",
    [
        ["bright", "copyright", "leftover", "dark"],
        ["turn left", "go straight"],
        ["turn left", "keep right"],
        ["left turn", "turn right"],
        ["B", "D", "P", "Q"],
        ["bird", "dog", "pig", "quail"],
        [str(digit) for digit in range(10)],
        ["links", "images"],
        ["upright", "upleft side"],
        ["clockwise", "wise"],
        [],
    ],
)
def test_no_pairs(names):
    assert mirrored_classes(names) == []
    assert mirror_warning(names, ("pad_crop", "flip")) is None


def test_the_warning_says_which_and_what_to_set():
    names = ["keep left", "keep right", "turn left", "turn right", "stop"]
    assert mirror_warning(names, ("pad_crop", "flip")) == (
        "warning: classes 'keep left' and 'keep right' (and 1 more pair) look like mirror images "
        "of each other, and the augmentation 'flip' mirrors half of the training images; set "
        "--config.data.augmentation=\"('pad_crop',)\" if they are"
    )
    assert mirror_warning(names, ("pad_crop",)) is None
    assert '="()" if' in mirror_warning(["left", "right"], ("flip",))


@pytest.mark.integration
@pytest.mark.slow
def test_training_begins_with_it(tmp_path, rng):
    from PIL import Image

    for split, count in (("train", 20), ("test", 4)):
        for name in ("arrow_left", "arrow_right"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for index in range(count):
                image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype="uint8"))
                image.save(tmp_path / "photos" / split / name / f"{index}.png")
    config = small_config(
        epochs=1, batch_size=8, data__source="image_folder", data__max_examples=0,
        data__data_dir=str(tmp_path / "photos"), data__validation_fraction=0.1,
        data__image_size=(16, 16),
    )  # fmt: skip
    said = []
    training.train(config, tmp_path / "run", said.append)
    (line,) = [line for line in said if line.startswith("warning: ")]
    assert "'arrow_left' and 'arrow_right'" in line
    config.data.augmentation = ("pad_crop",)
    said.clear()
    training.train(config, tmp_path / "other", said.append)
    assert not any(line.startswith("warning: ") for line in said)
