"""What comes from someone else must not run code."""

import hashlib
import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import small_ensemble

import oekd_tf
from oekd_tf.training.callbacks import Checkpoints, checkpoint_files


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_with_a_pickle_in_it(tmp_path):
    ensemble = small_ensemble()
    ensemble.compile("sgd")
    folder = checkpoint_files.save(tmp_path, ensemble, checkpoint_files.Position(1))
    touched = tmp_path / "touched"
    arrays = folder / "arrays.npz"
    np.savez(arrays, np.array([Payload(touched)], object))
    state = json.loads((folder / "checkpoint.json").read_text())
    state["bytes"] = arrays.stat().st_size
    state["sha256"] = hashlib.sha256(arrays.read_bytes()).hexdigest()
    # Who can change the arrays can write a digest for them.
    del state["digest"]
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (folder / "checkpoint.json").write_text(json.dumps({**state, "digest": digest}))
    with pytest.raises(checkpoint_files.CheckpointError, match="must be as `save` writes"):
        Checkpoints(tmp_path).restore(ensemble)
    assert not touched.exists()
    with np.load(arrays, allow_pickle=True) as loaded:
        loaded["arr_0"]
    assert touched.exists()


def test_a_keras_file_with_a_lambda(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(tmp_path / "theirs.keras")
    with pytest.raises(ValueError, match="unsafe"):
        keras.models.load_model(tmp_path / "theirs.keras")


@pytest.mark.parametrize("module", ["os", "builtins", None])
def test_an_ensemble_whose_backbone_is_something_else(tmp_path, module):
    path = tmp_path / "theirs.keras"
    small_ensemble().save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    config = json.loads(parts["config.json"])
    touched = tmp_path / "touched"
    call = {"command": f"touch {touched}"}
    config["config"]["backbone"] = {
        "module": module, "class_name": "system", "config": call, "registered_name": "system"
    }  # fmt: skip
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    with pytest.raises((TypeError, ValueError)):
        keras.models.load_model(path)
    assert not touched.exists()


def test_nothing_unpickles_or_leaves_safe_mode():
    unsafe = re.compile(
        r"\bpickle\.|import pickle|allow_pickle=True|safe_mode=False|enable_unsafe|\bexec\(|"
        r"(?<!literal_)\beval\(|yaml\.load"
    )
    for path in Path(oekd_tf.__file__).parent.rglob("*.py"):
        assert not unsafe.search(path.read_text()), path
