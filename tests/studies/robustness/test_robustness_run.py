"""The robustness of a finished run: its figures, resume, files, and bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_runs import environment, small_config

import oekd_tf
from oekd_tf import training
from oekd_tf.core.errors import ConfigError
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.studies.metrics import accuracy
from oekd_tf.studies.robustness import Settings, measure_robustness, read_robustness

QUIET = lambda line: None  # noqa: E731
SETTINGS = Settings(
    images=60, attack_images=20, severities=(5,), epsilons=(8.0,), sparsities=(0.5,)
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished run with the baseline of its student 2."""
    folder = tmp_path_factory.mktemp("robust") / "run"
    training.train(small_config(epochs=2, baselines=(2,)), folder, QUIET)
    return folder


@pytest.fixture(scope="module")
def measured(place):
    said = []
    result = measure_robustness(place, SETTINGS, log=said.append)
    return result, said


def scores(result, student, trained, form):
    (found,) = [
        n["scores"]
        for n in result["networks"]
        if (n["student"], n["trained"], n["form"]) == (student, trained, form)
    ]
    return found


def test_the_networks_and_their_figures(place, measured):
    result, said = measured
    assert result == read_robustness(place / "robustness")
    assert [(n["student"], n["trained"], n["form"]) for n in result["networks"]] == [
        ("student_1", "together", "keras"), ("student_1", "together", "int8"),
        ("student_2", "together", "keras"), ("student_2", "together", "int8"),
        ("student_2", "alone", "keras"), ("student_2", "alone", "int8"),
    ]  # fmt: skip
    _, data, ensemble = training.restore_run(place)
    images, labels = data.test_arrays(60)
    alone = training.restore_model(place / "baseline_student_2")
    first, second = ensemble.students
    foggy = oekd_tf.robustness.corrupt(images, "fog", 5)
    for model, trained in ((first, "together"), (second, "together"), (alone, "alone")):
        found = scores(result, model.name, trained, "keras")
        for pixels, score in (
            (images, found["accuracy"]["test"]), (foggy, found["corruption"]["fog 5"]),
        ):  # fmt: skip
            assert score == pytest.approx(accuracy(model.predict(pixels, verbose=0), labels))
    # The file that was measured.
    (path,) = (place / "robustness" / "int8").glob("student_2_alone_*.tflite")
    found = scores(result, "student_2", "alone", "int8")
    assert found["accuracy"]["test"] == accuracy(TfliteModel(path).logits(images), labels)
    assert found["corruption"]["fog 5"] == accuracy(TfliteModel(path).logits(foggy), labels)
    # Attacks: student 1's examples are the others' transfer.
    examples = np.rint(oekd_tf.robustness.pgd(first, images[:20], labels[:20], 8.0))
    for model, trained, measure in (
        (first, "together", "pgd 8"), (second, "together", "transfer 8"),
        (alone, "alone", "transfer 8"),
    ):  # fmt: skip
        attack = scores(result, model.name, trained, "keras")["attack"]
        expected = accuracy(model.predict(examples, verbose=0), labels[:20])
        # A gradient of almost nothing may have either sign: one image.
        assert attack[measure] == pytest.approx(expected, abs=0.051)
    assert "transfer 8" not in scores(result, "student_1", "together", "keras")["attack"]
    assert {"fgsm 8", "pgd 8", "transfer 8"} == set(
        scores(result, "student_2", "together", "int8")["attack"]
    )
    pruned = scores(result, "student_2", "together", "keras")["pruning"]["50 %"]
    weights = second.get_weights()
    second.set_weights(oekd_tf.robustness.pruned_weights(second, 0.5))
    assert pruned == pytest.approx(accuracy(second.predict(images, verbose=0), labels))
    second.set_weights(weights)
    assert "pruning" not in scores(result, "student_2", "together", "int8")
    calibration = scores(result, "student_1", "together", "int8")["calibration"]
    assert {"ece", "nll", "brier", "temperature", "ece scaled"} < set(calibration)
    detection = scores(result, "student_1", "together", "keras")["detection"]
    assert set(detection) == {"noise: probability", "noise: energy"}
    looks = scores(result, "student_2", "together", "keras")["attribution"]
    maps = [
        oekd_tf.attribution.saliency(
            oekd_tf.attribution.integrated_gradients(one, images, labels, 16)
        )
        for one in (first, second)
    ]
    correlation = oekd_tf.attribution.rank_correlation(*maps).mean()
    assert looks == {"student_1 together": pytest.approx(correlation, abs=1e-3)}
    assert any(line.startswith("1/") for line in said)


def test_report_and_picture(place, measured):
    report = (place / "robustness" / "report.md").read_text()
    for title in ("Together less alone", "## Corruption", "## Attack", "## Calibration"):
        assert title in report
    # One row below each other: a table of all, of differences, and of each property.
    row = next(line for line in report.splitlines() if line.startswith("| student_2"))
    assert "together" in row
    for name in ("robustness.png", "maps.png"):
        assert f"]({name})" in report
        with Image.open(place / "robustness" / name) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_again_it_is_done(place, measured):
    said = []
    assert (
        measure_robustness(place, SETTINGS, log=said.append)["networks"]
        == (measured[0]["networks"])
    )
    assert any("done before" in line for line in said)
    assert not any(line.startswith("1/") for line in said)


def test_stopped_in_the_middle(place, measured, monkeypatch):
    """What was measured is kept, also behind a line that was cut, and the rest is the same."""
    ledger = place / "robustness" / "measured.jsonl"
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join(lines[:6]) + "\n" + lines[6][:20])
    said = []
    again = measure_robustness(place, SETTINGS, log=said.append)
    assert again["networks"] == measured[0]["networks"]
    assert sum(line.split("/")[0].isdigit() for line in said) == len(lines) - 6


def test_other_settings_begin_anew(place, measured, tmp_path):
    said = []
    other = SETTINGS._replace(seed=1)
    result = measure_robustness(place, other, properties=["accuracy"], int8=False, log=said.append)
    assert [n["form"] for n in result["networks"]] == ["keras"] * 3
    assert {name for n in result["networks"] for name in n["scores"]} == {"accuracy"}
    assert not any("done before" in line for line in said)
    assert any(line.startswith("measuring anew") for line in said)


@pytest.mark.parametrize(
    ("changes", "properties", "message"),
    [
        ({"images": -1}, (), "images must be at least 0. Received: -1"),
        ({"attack_images": 0}, (), "attack_images must be at least 1. Received: 0"),
        ({"severities": (6,)}, (), "severities must be of 1 to 5, each once"),
        ({"severities": ()}, (), "severities must be of 1 to 5, each once"),
        ({"epsilons": (0.5,)}, (), "epsilons must be from 1 to 255, each once"),
        ({"epsilons": (2.0, 2.0)}, (), "epsilons must be from 1 to 255, each once"),
        ({"sparsities": (1.0,)}, (), "sparsities must be above 0 and below 1, each once"),
        ({"seed": -1}, (), "seed must be at least 0. Received: -1"),
        ({}, ("fairness",), r"properties must be among accuracy, .* Received: \['fairness'\]"),
    ],
)
def test_bad_settings(place, changes, properties, message):
    with pytest.raises(ConfigError, match=message):
        measure_robustness(place, SETTINGS._replace(**changes), properties=properties)


def test_bad_workdirs(place, tmp_path):
    with pytest.raises(ConfigError, match=r"A workdir must hold a run's config.json. Received"):
        measure_robustness(tmp_path, SETTINGS)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="such as the folder above a baseline's"):
        measure_robustness(place / "baseline_student_2", SETTINGS, log=QUIET)


def test_damaged_files(place, tmp_path):
    with pytest.raises(ConfigError, match=r"A folder must hold robustness.json. Received"):
        read_robustness(tmp_path)
    found = json.loads((place / "robustness" / "robustness.json").read_text())
    found["networks"][0]["trained"] = "apart"
    (tmp_path / "robustness.json").write_text(json.dumps(found))
    with pytest.raises(ConfigError, match=r"robustness.json must be a run's robustness"):
        read_robustness(tmp_path)


@pytest.mark.integration
def test_the_command(place, tmp_path):
    """Pictures of another folder are to be noticed; what is wrong is one line."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(12):
                grey = rng.integers(0, 256, (20, 20), dtype=np.uint8)
                Image.fromarray(grey, "L").save(folder / f"{number}.png")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "oekd_tf", "robustness", f"--workdir={place}", *arguments],
            capture_output=True, text=True, timeout=300, check=False, env=environment(),
        )  # fmt: skip

    done = run(
        "--other=image_folder", f"--other_data_dir={tmp_path / 'pictures'}", "--images=30",
        "--properties=accuracy,detection", "--noint8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AUROC %" in done.stdout
    found = read_robustness(place / "robustness")
    assert set(found["networks"][0]["scores"]["detection"]) == {
        "noise: probability", "noise: energy", "image_folder: probability", "image_folder: energy",
    }  # fmt: skip
    refused = run("--severities=1.5")
    assert refused.returncode == 1
    (line,) = refused.stderr.strip().splitlines()
    assert line == "error: severities must be of 1 to 5, each once. Received: (1.5,)"
