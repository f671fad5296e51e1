"""Module names of version 0.1."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import oekd_tf
from oekd_tf.core import old_names

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name", sorted({*old_names.MODULES} - {"train", "train_arrays", "compare"})
)
def test_a_module(name):
    old = importlib.import_module(f"oekd_tf.{name}")
    assert old is importlib.import_module(f"oekd_tf.{old_names.MODULES[name]}")
    assert old.__spec__.name == f"oekd_tf.{old_names.MODULES[name]}"


def test_modules_of_a_package_that_moved():
    from oekd_tf.callbacks.checkpoints import Checkpoints
    from oekd_tf.comparison.statistics import relative_gain
    from oekd_tf.optimizers.adam import Adam

    assert Checkpoints is oekd_tf.callbacks.Checkpoints
    assert relative_gain is oekd_tf.studies.relative_gain
    assert Adam is oekd_tf.optimizers.Adam


def test_attributes_of_the_package():
    assert oekd_tf.comparison is oekd_tf.studies
    for name in oekd_tf.__all__:
        assert getattr(oekd_tf, name) is not None


def test_no_name_is_made_up():
    with pytest.raises(ModuleNotFoundError, match=r"oekd_tf\.no_such_module"):
        importlib.import_module("oekd_tf.no_such_module")


@pytest.mark.integration
@pytest.mark.parametrize("name", sorted(old_names.BINARIES))
def test_a_binary(name):
    module = f"oekd_tf.{name}".removesuffix(".__main__")
    command = name.removesuffix(".__main__")
    old, new = (
        subprocess.run(
            [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=True,
            cwd=ROOT,
        ).stdout
        for words in ([module], ["oekd_tf", command])
    )  # fmt: skip
    assert old == new
    assert f"oekd {command}" in old
