"""The same model on Keras's JAX backend, in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[2]

SCRIPT = """
import sys

import keras
import numpy as np
from networks import small_ensemble

import oekd_tf
from oekd_tf.core.errors import NonFiniteLossError
from oekd_tf.models.labelled_student import LabelledStudent

assert keras.backend.backend() == "jax"
rng = np.random.default_rng(0)
labels = rng.integers(0, 4, 64)
images = rng.integers(0, 60, (64, 16, 16, 3)) + 60 * labels[:, None, None, None]
images = images.astype(np.uint8)
ensemble = small_ensemble()
ensemble.compile(oekd_tf.optimizers.Adam(0.01, l2=1e-4))
first = oekd_tf.callbacks.PseudoTeacherFirst(1)
history = ensemble.fit(
    images, labels, batch_size=16, epochs=8, validation_data=(images, labels),
    verbose=0,
    callbacks=[first, keras.callbacks.EarlyStopping("val_student_3_accuracy", patience=8)],
).history
assert history["feature_loss"][0] == 0 < history["feature_loss"][1], history["feature_loss"]
assert history["loss"][-1] < 0.7 * history["loss"][1], history["loss"]
assert history["student_3_accuracy"][-1] > 0.5, history["student_3_accuracy"]
logs = ensemble.evaluate(images, labels, verbose=0, return_dict=True)
assert abs(logs["loss"] - history["val_loss"][-1]) < 1e-4
assert "tensorflow" not in sys.modules

ensemble.save("ensemble.keras")
loaded = keras.models.load_model("ensemble.keras")
warm = small_ensemble(oekd={
    "label_weight": 0.0, "feature_weight": 1.0, "distillation_weight": 0.0, "warmup_epochs": 2.0,
})
warm.compile(keras.optimizers.SGD(0.0))
warm.plan(steps_per_epoch=2, epochs=3)
# The weights stay: the loss is the share of one and the same number, 0, ¼, ½, ¾ and 1 of it.
whole = warm.train_on_batch(images[:16], labels[:16], return_dict=True)["feature_loss"]
shares = [0.0]
for step in range(1, 6):
    warm.reset_metrics()
    shares.append(warm.train_on_batch(images[:16], labels[:16], return_dict=True)["loss"] / whole)
np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75, 1, 1], rtol=1e-4)

# A loss that is NaN, whatever the precision; a step that the loss scale skips.
def values(model):
    return [np.array(v) for v in (*model.trainable_variables, *model.non_trainable_variables)]


students = small_ensemble(dtype="mixed_float16").students
student = students[0]
alone = LabelledStudent(student.inputs, student.outputs[0], name="alone")
for model in (small_ensemble(), small_ensemble(dtype="mixed_float16"), alone):
    loss = {"loss": oekd_tf.losses.label_loss} if model is alone else {}
    model.compile(keras.optimizers.Adam(0.01), **loss)
    model.fit(images, labels, batch_size=32, verbose=0)
    before = values(model)
    weights = np.ones(64, "float32")
    weights[20] = np.nan
    try:
        model.fit(images, labels, 16, sample_weight=weights, shuffle=False, verbose=0)
        raise AssertionError("NaN was trained on")
    except NonFiniteLossError as error:
        assert "loss=nan in epoch 1 at step " in str(error), error
    if model is not alone:
        assert int(model.optimizer.iterations) == 3
    if getattr(model.optimizer, "dynamic_scale", None) is None:
        continue
    model.optimizer.dynamic_scale.assign(2.0**100)
    before = values(model)
    model.fit(images, labels, batch_size=32, verbose=0)
    assert float(np.array(model.optimizer.dynamic_scale)) == 2.0**98
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(new, old)
broken = small_ensemble()
broken.compile(keras.optimizers.SGD(1e30))
before = values(broken)
broken.train_on_batch(images, labels)
broken.compile(keras.optimizers.SGD(0.01))
before = values(broken)
assert not np.isfinite(broken.train_on_batch(images, labels)[0])
for old, new in zip(before, values(broken), strict=True):
    np.testing.assert_array_equal(new, old)

# JAX would take 2**32, in 32 bits, for class 0.
for given in ({"y": labels + 2**32}, {"y": labels, "validation_data": (images, labels + 1)}):
    try:
        broken.fit(images, verbose=0, **given)
        raise AssertionError("labels out of range were trained on")
    except ValueError as error:
        assert "Labels must be class indices, whole numbers from 0 to 3" in str(error), error

outputs, again = (m.predict(images, verbose=0) for m in (ensemble, loaded))
for name in outputs:
    np.testing.assert_allclose(outputs[name], again[name], atol=1e-5)
np.savez("outputs.npz", images=images, labels=labels, loss=logs["loss"], **outputs)
"""


@pytest.mark.slow
def test_trains_with_jax_and_gives_tensorflows_logits(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    import keras

    # The classes of what is loaded, which another test of this process may have imported or not.
    import networks  # noqa: F401
    import numpy as np

    import oekd_tf.ensemble  # noqa: F401

    outputs = np.load(tmp_path / "outputs.npz")
    ensemble = keras.models.load_model(tmp_path / "ensemble.keras")
    for name, logits in ensemble.predict(outputs["images"], verbose=0).items():
        np.testing.assert_allclose(logits, outputs[name], rtol=1e-3, atol=1e-3)
    logs = ensemble.evaluate(outputs["images"], outputs["labels"], verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(float(outputs["loss"]), rel=1e-3)
