"""Initial weights under JAX are what they are with a compilation for every shape."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]

SCRIPT = """
import contextlib

import jax
import keras
import numpy as np
from networks import small_ensemble

from oekd_tf.models.jax import trainer
from oekd_tf.models.jax.initial_weights import drawn_by_size


def values(draws):
    trainer.drawn_by_size = draws
    keras.utils.set_random_seed(3)
    ensemble = small_ensemble(oekd={"adaptation_initializer": "orthogonal"})
    return [np.array(v) for v in ensemble.variables]


plain, ours = values(contextlib.nullcontext), values(drawn_by_size)
assert len(plain) == len(ours) > 20
for a, b in zip(plain, ours, strict=True):
    np.testing.assert_array_equal(a, b)

makers = [
    keras.initializers.HeNormal, keras.initializers.GlorotUniform, keras.initializers.RandomNormal,
]
for make in makers:
    for shape in ((), (3, 5), (4097,), (3, 3, 64, 64)):
        initializer = make(seed=4)
        if not shape and make is not keras.initializers.RandomNormal:
            continue
        expected = initializer(shape)
        with drawn_by_size():
            found = initializer(shape)
        assert found.dtype == expected.dtype and found.shape == shape, found
        np.testing.assert_array_equal(expected, found)

# Another generator, whose numbers depend on the size of the draw, is left alone.
before = keras.src.backend.random.normal
with jax.default_prng_impl("rbg"), drawn_by_size():
    assert keras.src.backend.random.normal is before
with drawn_by_size():
    assert keras.src.backend.random.normal is not before
assert keras.src.backend.random.normal is before
"""


@pytest.mark.integration
@pytest.mark.slow
def test_initial_weights_are_bit_for_bit_the_same(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    environment = {
        **os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True,
        timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
