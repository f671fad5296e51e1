"""Files that version 0.1 wrote: they load, resume and export, or are refused in one line."""

import json
import shutil
from pathlib import Path

import keras
import networks  # noqa: F401 (registers the network that is loaded)
import numpy as np
import pytest

from oekd_tf import config as config_module
from oekd_tf import training
from oekd_tf.cli import pick
from oekd_tf.core.errors import ConfigError

THERE = Path(__file__).parent / "written_by_0_1"


@pytest.fixture
def workdir(tmp_path):
    return shutil.copytree(THERE / "run", tmp_path / "run")


@pytest.fixture
def config():
    config = config_module.from_json((THERE / "run" / "config.json").read_text())
    with config.unlocked():
        config.export.formats = ()
    return config


def quiet(line):
    """Takes a message and shows it to nobody."""


def arrays(workdir, epoch):
    with np.load(workdir / "checkpoints" / f"epoch_{epoch:05}" / "arrays.npz") as found:
        return {name: found[name] for name in found.files}


def test_an_ensemble_goes_on_as_it_would_have():
    expected = dict(np.load(THERE / "expected.npz"))
    ensemble = keras.models.load_model(THERE / "ensemble.keras")
    assert ensemble.method.name == "oekd"
    assert ensemble.method.teacher_weights == (0.5, 0.25, 0.25)
    assert (ensemble.method.temperature, ensemble.method.feature_weight) == (3.0, 0.3)
    assert int(ensemble.optimizer.iterations) == 4
    images, labels = expected["images"], expected["labels"]
    for name, logits in ensemble.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits, expected[name], rtol=1e-5, atol=1e-6)
    ensemble.fit(images, labels, batch_size=4, verbose=0, shuffle=False)
    for name, logits in ensemble.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits, expected[f"after_{name}"], rtol=1e-3, atol=1e-4)


@pytest.mark.integration
def test_a_run_is_resumed_to_the_same_end(workdir, config):
    """Stopped after two of three epochs by the version before, ended by this one."""
    expected = arrays(workdir, 3)
    shutil.rmtree(workdir / "checkpoints" / "epoch_00003")
    (workdir / "summary.json").unlink()
    before = json.loads((THERE / "run" / "summary.json").read_text())
    said = []
    summary = training.train(config, workdir, said.append)
    assert any("resuming after epoch 2 of 3" in line for line in said)
    for name, value in arrays(workdir, 3).items():
        # Processors of other vector units add in another order.
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
    for own, old in zip(summary["students"], before["students"], strict=True):
        assert own["parameters"] == old["parameters"]
        assert own["test_accuracy"] == pytest.approx(old["test_accuracy"], abs=2e-3)


@pytest.mark.integration
def test_a_finished_run_is_a_finished_run(workdir, config, tmp_path):
    summary = training.train(config, workdir, quiet)
    assert summary == json.loads((THERE / "run" / "summary.json").read_text())
    manifest = training.export_run(workdir, tmp_path / "export", formats=("float32",), log=quiet)
    assert [student["name"] for student in manifest["students"]] == ["student_1", "student_2"]
    # The tested accuracy of what is exported is that of what was trained.
    for student, trained in zip(manifest["students"], summary["students"], strict=True):
        assert student["accuracy"] == pytest.approx(trained["test_accuracy"], abs=1e-6)
    with pytest.raises(ConfigError, match=r"config\.method\.arguments\.temperature=3.0, not 2.0"):
        training.train(changed(config, temperature=2.0), workdir, quiet)


def changed(config, **arguments):
    config = config_module.from_json(config_module.to_json(config))
    config.method.arguments.update(arguments)
    return config


def test_a_run_that_has_no_method_now(workdir):
    values = json.loads((workdir / "config.json").read_text())
    values["loss"]["distillation_target"] = "peers"
    (workdir / "config.json").write_text(json.dumps(values))
    with pytest.raises(
        ConfigError, match=r"config\.json: This run was written by oekd_tf 0\.1 "
    ) as error:
        training.restore_run(workdir)
    assert "\n" not in str(error.value)


def test_an_export_is_picked_from(tmp_path, capsys):
    output = tmp_path / "picked"
    pick.main([f"--exports={THERE / 'export'}", "--max_bytes=1MB", f"--output={output}"])
    assert "copied: " in capsys.readouterr().out
    assert (output / "labels.txt").is_file()
