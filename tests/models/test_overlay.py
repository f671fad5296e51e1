"""Integrated gradients over training images: by hand, when, over which images, and resumed."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import small_runs
from networks import small_ensemble

import oekd_tf
from oekd_tf.core.errors import ConfigError
from oekd_tf.methods.parts.progress import Progress
from oekd_tf.models.attribution import IntegratedGradientsOverlay, integrated_gradients, saliency
from oekd_tf.models.attribution.overlay import lay_over
from oekd_tf.training import build

# Two epochs of two steps to the first copy.
STEPS = 2
COPIED = 4


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    return images, rng.integers(0, 4, 32).astype(np.int32)


def ensemble_with(overlay, **arguments):
    keras.utils.set_random_seed(0)
    ensemble = small_ensemble(overlay=overlay, mean=100.0, std=50.0, **arguments)
    ensemble.compile(oekd_tf.optimizers.SGD(0.01))
    ensemble.plan(STEPS, epochs=6)
    return ensemble


def overlay_of(**changes):
    return IntegratedGradientsOverlay(**{"share": 0.5, "refresh_epochs": 2, **changes})


def progress_at(step):
    return Progress(keras.ops.convert_to_tensor(step), STEPS, 6)


def trained(overlay, examples, epochs, **arguments):
    ensemble = ensemble_with(overlay, **arguments)
    ensemble.fit(*examples, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return ensemble


def values(ensemble):
    return [np.array(v) for student in ensemble.students for v in student.variables]


@pytest.fixture(scope="module")
def copied(examples):
    """By source, ensembles that took a copy after their last step."""
    sources = ("pseudo_teacher", "ensemble")
    return {source: trained(overlay_of(source=source), examples, 2) for source in sources}


def test_laid_over_by_hand():
    images = np.array([[[[10], [20]], [[30], [255]]]], np.uint8)
    maps = np.array([[[1.0, 2.0], [3.0, 5.0]]], np.float32)
    # Squares 1, 4, 9, 25 from 0 to 255: 0, 31.875, 85, 255. Half of them and half of the pixels.
    found = lay_over(keras.ops.convert_to_tensor(images), maps, np.array([2.0], np.float32))
    np.testing.assert_array_equal(found.numpy().ravel(), [5, 26, 58, 255])
    assert found.dtype == "uint8"
    floats = lay_over(images.astype(np.float32) + 0.5, maps, np.array([1.0], np.float32))
    expected = np.add([10.5, 20.5, 30.5, 255.5], [0, 63.75, 127.5, 255]) / 2
    np.testing.assert_allclose(floats.numpy().ravel(), expected, rtol=1e-6)
    plain = lay_over(images, np.ones_like(maps), np.array([1.0], np.float32))
    np.testing.assert_array_equal(plain.numpy().ravel(), [5, 10, 15, 128])


@pytest.mark.parametrize("source", ["pseudo_teacher", "ensemble"])
def test_maps_are_those_of_the_network(copied, examples, source):
    images, labels = examples
    students = copied[source].students
    network = students[0]
    if source == "ensemble":
        inputs = keras.Input((16, 16, 3))
        network = keras.Model(inputs, keras.layers.Average()([s(inputs) for s in students]))
    expected = saliency(integrated_gradients(network, images, labels, steps=8, baseline=100.0))
    found = copied[source].overlay.maps(images, labels).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_the_share_of_a_batch(copied, examples):
    images, labels = examples
    overlay = copied["pseudo_teacher"].overlay
    found = overlay.on(images, labels, progress_at(COPIED)).numpy()
    assert (found != images).any((1, 2, 3)).tolist() == [True] * 16 + [False] * 16
    maps = overlay.maps(images[:16], labels[:16]).numpy()
    # What is added is the same grey in every channel, largest where the map is.
    grey = found[:16].astype(np.float32) - 0.5 * images[:16]
    assert np.ptp(grey, axis=-1).max() <= 1, "rounding"
    for own, added in zip(maps, grey.mean(-1), strict=True):
        assert added.ravel()[own.argmax()] == pytest.approx(127.5, abs=0.5)
        assert np.corrcoef(own.ravel(), added.ravel())[0, 1] > 0.9
    rows = keras.utils.to_categorical(labels, 4)
    np.testing.assert_array_equal(overlay.on(images, rows, progress_at(COPIED)), found)
    other = overlay.on(images, labels, progress_at(COPIED + 1)).numpy()
    assert (other[:16] != found[:16]).any(), "powers are drawn for each step"
    single = overlay.on(images[:1], labels[:1], progress_at(COPIED)).numpy()
    assert (single != images[:1]).any(), "one image at least"


def test_views_have_their_own_maps(copied, examples):
    images, labels = examples
    overlay = copied["pseudo_teacher"].overlay
    views = np.stack([images[:4], images[4:8], images[8:12]], axis=1)
    found = overlay.on(views, labels[:4], progress_at(COPIED)).numpy()
    assert found.shape == views.shape
    assert (found != views).any((2, 3, 4)).tolist() == [[True] * 3] * 2 + [[False] * 3] * 2
    maps = overlay.maps(views[1], np.repeat(labels[1:2], 3)).numpy()
    grey = (found[1].astype(np.float32) - 0.5 * views[1]).mean(-1)
    assert [g.ravel()[m.argmax()] for g, m in zip(grey, maps, strict=True)] == pytest.approx(
        [127.5] * 3, abs=0.5
    )


def test_the_control_has_maps_of_others(examples):
    control = trained(overlay_of(paired=False), examples, 2)
    images, labels = examples
    found = control.overlay.on(images, labels, progress_at(COPIED)).numpy()
    maps = control.overlay.maps(images[:16], labels[:16]).numpy()
    grey = (found[:16].astype(np.float32) - 0.5 * images[:16]).mean(-1)
    for of_before, added in zip(np.roll(maps, 1, axis=0), grey, strict=True):
        assert added.ravel()[of_before.argmax()] == pytest.approx(127.5, abs=0.5)


def test_nothing_before_the_first_copy(copied, examples):
    plain = trained(None, examples, 2)
    for one, other in zip(values(plain), values(copied["pseudo_teacher"]), strict=True):
        np.testing.assert_array_equal(one, other)
    later = trained(overlay_of(), examples, 3)
    plain.fit(*examples, batch_size=16, epochs=3, initial_epoch=2, shuffle=False, verbose=0)
    pairs = zip(values(plain), values(later), strict=True)
    assert any((one != other).any() for one, other in pairs)
    # The copy is that of the second epoch.
    kept = copied["pseudo_teacher"].overlay.variables
    for one, other in zip(kept, later.overlay.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_saved_ensemble_goes_on(copied, examples, tmp_path):
    whole = trained(overlay_of(), examples, 5)
    copied["pseudo_teacher"].save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    assert loaded.overlay.get_config() == whole.overlay.get_config()
    loaded.fit(*examples, batch_size=16, epochs=5, initial_epoch=2, shuffle=False, verbose=0)
    for one, other in zip(values(whole), values(loaded), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_student_has_it(copied):
    ensemble = copied["pseudo_teacher"]
    kept = {id(v) for v in ensemble.overlay.variables}
    assert kept <= {id(v) for v in ensemble.non_trainable_variables}
    assert not kept & {id(v) for s in ensemble.exported_models() for v in s.variables}


@pytest.mark.integration
def test_two_replicas(mirrored, examples):
    with mirrored.scope():
        both = ensemble_with(overlay_of(), synchronized=True)
    both.fit(*examples, batch_size=16, epochs=3, shuffle=False, verbose=0)
    one = trained(overlay_of(), examples, 3)
    # Its share of each replica's half is overlaid, not of the batch: alike up to the first copy.
    for a, b in zip(one.overlay.variables, both.overlay.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.integration
def test_compiled_with_xla(examples):
    ensemble = ensemble_with(overlay_of())
    ensemble.compile(oekd_tf.optimizers.SGD(0.01), jit_compile=True)
    ensemble.fit(*examples, batch_size=16, epochs=3, shuffle=False, verbose=0)
    plain = trained(overlay_of(), examples, 3)
    for one, other in zip(values(plain), values(ensemble), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("share", 0), ("share", 1.5), ("source", "teacher"), ("refresh_epochs", 0), ("steps", 0)],
)
def test_arguments_that_break_their_rule(argument, value):
    with pytest.raises(ValueError, match=f"^{argument} must be .*Received: {value!r}"):
        IntegratedGradientsOverlay(**{argument: value})


def test_an_overlay_that_no_ensemble_takes(copied):
    with pytest.raises(ValueError, match=r"overlay must be None or .*Received: one that another"):
        small_ensemble(overlay=copied["pseudo_teacher"].overlay)
    with pytest.raises(ValueError, match=r"overlay must be None or .*Received: 0\.1"):
        small_ensemble(overlay=0.1)
    with pytest.raises(ValueError, match="overlay must be None with stored logits"):
        small_ensemble(overlay=overlay_of(), method=oekd_tf.methods.OEKD(teacher="stored"))


def test_an_epoch_of_no_known_length(examples):
    ensemble = small_ensemble(overlay=overlay_of())
    ensemble.compile("adam")
    with pytest.raises(ValueError, match="steps in an epoch must be known"):
        ensemble.train_on_batch(examples[0][:16], examples[1][:16])


def test_of_a_config():
    config = small_runs.small_config(overlay__share=0.2, overlay__paired=False, seed=3)
    oekd_tf.config.check(config)
    arguments = ((28, 28, 1), 10, [127.5], [127.5], 4)
    overlay = build.build(config, *arguments).overlay
    assert overlay.get_config() == {
        "share": 0.2, "source": "pseudo_teacher", "refresh_epochs": 5, "steps": 8, "paired": False,
        "seed": 3, "name": "overlay",
    }  # fmt: skip
    # A baseline is trained without.
    config.only_student = 1
    assert not hasattr(build.build(config, *arguments), "overlay")
    config.only_student = 0
    config.data.augmentation = ()
    config.data.teacher_logits = "logits.npz"
    config.method.arguments.teacher = "stored"
    with pytest.raises(ConfigError, match=r"config\.data\.teacher_logits .*overlay\.share=0\.2"):
        oekd_tf.config.check(config)


@pytest.mark.integration
def test_under_jax_there_is_none():
    code = (
        "import oekd_tf; from networks import small_ensemble\n"
        "small_ensemble(overlay=oekd_tf.attribution.IntegratedGradientsOverlay())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=small_runs.environment(KERAS_BACKEND="jax"),
    )  # fmt: skip
    assert "ValueError: overlay must be None, unless Keras's backend is tensorflow" in done.stderr
