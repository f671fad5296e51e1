"""The look at a data set before training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import oekd_tf
from oekd_tf.cli import check_data as command

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.full((20, 30 + index, 3), 100 if name == "cat" else 200, np.uint8)
                pixels[:2] = rng.integers(0, 256, pixels[:2].shape)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "photos"


def test_counts_and_pictures(photos, tmp_path):
    seen = []
    found = oekd_tf.data.check_data(
        photos, output=tmp_path / "out", progress=lambda *numbers: seen.append(numbers)
    )
    assert found.counts == {"train": [12, 12], "test": [4, 4]}
    assert found.class_names == ["cat", "dog"]
    assert found.formats == {"PNG": 32}
    assert found.sizes[30, 20] == 4
    assert (found.problems, found.unreadable, found.notes) == ([], [], [])
    assert seen[-1] == (32, 32)
    # Nine tenths of a picture are one grey level.
    levels = np.array(found.brightness)
    assert len(levels) == 32
    assert 90 < levels[:12].mean() < 112
    assert 180 < levels[12:24].mean() < 200
    assert [len(pictures) for pictures in found.examples.values()] == [8, 8]
    assert "| cat   |    12 |    4 |" in (tmp_path / "out/report.md").read_text()
    facts = json.loads((tmp_path / "out/data_check.json").read_text())
    assert facts["counts"] == found.counts
    sheet = np.asarray(Image.open(tmp_path / "out/examples.png"))
    # The second row's pictures are brighter than the first's.
    first, second = sheet[30:60, 240:250].mean(), sheet[105:140, 240:250].mean()
    assert first < 120 < 180 < second
    assert (tmp_path / "out/spread.png").read_bytes()[:4] == b"\x89PNG"


def test_what_training_refuses_is_listed_whole(photos, tmp_path, capsys):
    for name in ("train/cat/0.png", "test/dog/1.png"):
        content = (photos / name).read_bytes()
        (photos / name).write_bytes(content[:60])
    (photos / "train/bird").mkdir()
    shutil.copy(photos / "train/cat/5.png", photos / "test/cat/copy.png")
    (photos / "test/cat/x.heic").touch()
    flags = [f"--data_dir={photos}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit) as stop:
        command.main(flags)
    assert stop.value.code == 1
    shown = capsys.readouterr().out
    for line in (
        "- no training pictures of bird",
        "- 2 files cannot be read",
        "- 1 picture stands in both train and test, such as train/cat/5.png and test/cat/copy.png",
        "- left out, not of a format that is read: 1 .heic",
    ):
        assert line in shown.splitlines()
    assert "- train/cat/0.png: " in shown
    assert "- test/dog/1.png: " in shown
    with pytest.raises(SystemExit, match="which exists"):
        command.main(flags)
    with pytest.raises(SystemExit):
        command.main([*flags, "--overwrite"])
    (tmp_path / "out/data_check.json").unlink()
    with pytest.raises(SystemExit, match="must not be within the data"):
        command.main([flags[0], f"--output={photos / 'train' / 'report'}"])
    with pytest.raises(SystemExit, match="Only a folder of an earlier check"):
        command.main([*flags, "--overwrite"])


def test_a_class_under_two_spellings_is_listed_with_the_rest(photos):
    (photos / "test/dog").rename(photos / "test/Dog")
    (photos / "train/cat/x.txt").touch()
    found = oekd_tf.data.check_data(photos)
    assert found.problems[0].startswith("A class must have one name. Received: folders 'Dog' in")
    assert found.counts["test"] == [4, 4, 0]
    assert "left out, not of a format that is read: 1 .txt" in found.notes


def test_of_nothing_is_one_line(tmp_path):
    for flags in ([f"--data_dir={tmp_path}"], [f"--data_dir={tmp_path}", "--source=nosuch"]):
        with pytest.raises(SystemExit) as stop:
            command.main(flags)
        assert "\n" not in str(stop.value.code)


@pytest.mark.slow
def test_of_a_prepared_data_set():
    if not SHARED.is_dir():
        pytest.skip(f"gtsrb32 is not in {SHARED}")
    found = oekd_tf.data.check_data(SHARED, "gtsrb32", group_key="track")
    assert {split: sum(counts) for split, counts in found.counts.items()} == {
        "train": 13_070, "test": 6_315,
    }  # fmt: skip
    assert found.problems == []
    assert found.sizes == {(32, 32): 19_385}
    assert any("stand in both train and test" in note for note in found.notes)
