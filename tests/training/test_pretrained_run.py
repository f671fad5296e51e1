"""Runs whose students begin with weights of another run."""

import json
import shutil

import keras
import numpy as np
import pytest
from small_runs import small_config

from oekd_tf import training
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.files import sha256
from oekd_tf.models.online_ensemble import OnlineEnsemble
from oekd_tf.training.workdir import refuse_workdir_of_another

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run, and where it was."""
    workdir = tmp_path_factory.mktemp("source") / "first"
    training.train(small_config(epochs=1, name="first"), workdir, lambda line: None)
    return workdir


def again(source, **changes):
    return small_config(
        name="again", initial_weights=str(source), ensemble__frozen_stem_epochs=1,
        optimizer__pretrained_factor=0.5, baselines=(2,), **changes,
    )  # fmt: skip


def state(workdir):
    return [np.array(variable) for variable in training.restore_model(workdir).variables]


def test_a_run_keeps_what_it_began_with(source, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    workdir, said = tmp_path / "run", []
    training.train(again(moved), workdir, said.append)
    (line,) = [line for line in said if line.startswith("students begin")]
    assert line == (
        f"students begin with weights of {moved}: student 1 with all of them, others with a slice "
        "(l1), with its classifier"
    )
    assert json.loads((workdir / "summary.json").read_text())["start"] == line
    assert f"Start: {line.split(str(moved))[0]}" in (workdir / "report.md").read_text()
    first, contract = (
        json.loads((folder / "contract.json").read_text()) for folder in (source, workdir)
    )
    for field in ("mean", "std"):
        assert contract[field] == pytest.approx(first[field], rel=1e-6)
    kept = workdir / "initial_weights.keras"
    assert contract["initial_weights"] == {
        "source": str(moved), "sha256": sha256(kept), "slice": "l1",
    }  # fmt: skip
    # The baseline began with the same, and learned as the ensemble did.
    alone = workdir / "baseline_student_2"
    assert sha256(alone / "initial_weights.keras") == sha256(kept)
    assert json.loads((alone / "contract.json").read_text())["mean"] == contract["mean"]

    # Stopped after its first epoch, it goes on to the same end, whatever became of the source.
    shutil.rmtree(moved)
    resumed = tmp_path / "resumed"
    shutil.copytree(workdir, resumed)
    for name in ("summary.json", "report.md", "baseline_student_2"):
        path = resumed / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in sorted((resumed / "checkpoints").glob("epoch_*"))[1:]:
        shutil.rmtree(folder)
    said.clear()
    training.train(again(moved), resumed, said.append)
    assert any(line.startswith("resuming after epoch 1") for line in said)
    for one, other in zip(state(workdir), state(resumed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)

    # A trained ensemble knows how fast its parts learned.
    loaded = keras.saving.load_model(workdir / "ensemble.keras")
    assert isinstance(loaded, OnlineEnsemble)
    assert set(loaded.optimizer.rates.values()) == {0.5}

    (resumed / "summary.json").unlink()
    (resumed / "initial_weights.keras").write_bytes(b"other")
    with pytest.raises(ConfigError, match="must be what the run began with, and is damaged"):
        training.train(again(moved), resumed, said.append)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "which is not there"),
        (".", "which is a folder without a finished run"),
        ("imagenet", "must have images of three channels"),
        ("damaged.keras", "which is no file that Keras has saved"),
    ],
)
def test_weights_that_are_none_leave_nothing(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.keras").write_text("damaged")
    with pytest.raises(ConfigError, match=f"config.initial_weights must .*{message}") as caught:
        training.train(again(given), tmp_path / "run", lambda line: None)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.glob("run/*.keras"))


def test_a_network_that_does_not_fit_can_be_put_right(source, tmp_path):
    """What is refused leaves nothing for which the right command would be refused."""
    workdir = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"config.initial_weights must be .* layers with weights"):
        training.train(again(source, backbone__arguments__depth=14), workdir, lambda line: None)
    assert not (workdir / "initial_weights.keras").exists()
    refuse_workdir_of_another(again(source), workdir)


def test_a_family_of_a_network_knows_its_images(tmp_path, monkeypatch):
    """Mean and deviation are the network's, and the function need take no argument."""
    (tmp_path / "my_family.py").write_text(
        "import keras, oekd_tf\n\ndef family():\n"
        "    images = keras.Input((28, 28, 1))\n"
        "    x = keras.layers.Rescaling(1 / 50, -2.0)(images)\n"
        "    for number in range(3):\n"
        "        x = keras.layers.Conv2D(8, 3, 2, activation='relu', padding='same')(x)\n"
        "    return oekd_tf.backbones.from_keras(keras.Model(images, x))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = small_config(epochs=1)
    config.backbone.name = "my_family:family"
    with config.backbone.unlocked():
        config.backbone.arguments = {}
    training.train(config, tmp_path / "run", lambda line: None)
    contract = json.loads((tmp_path / "run" / "contract.json").read_text())
    assert contract["mean"] == pytest.approx([100.0])
    assert contract["std"] == pytest.approx([50.0])
    assert training.restore_model(tmp_path / "run").mean == pytest.approx((100.0,))
