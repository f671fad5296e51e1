import keras
import numpy as np
import pytest
from keras import applications, layers
from student_checks import check_student

import oekd_tf
from oekd_tf.backbones import FunctionBackbone


@keras.saving.register_keras_serializable("oekd_tf_tests")
def plain_cnn(width):
    """A plain CNN of ten lines, with layers that Keras names."""
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="start")(images)
    for number, channels in enumerate((8, 16, 32), start=1):
        x = layers.Conv2D(max(1, int(channels * width)), 3, 2, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU(name=f"end_{number}")(x)
    return keras.Model(images, x)


@keras.saving.register_keras_serializable("oekd_tf_tests")
def mobilenet_v2(width):
    return applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=width, include_top=False, weights=None, pooling="avg"
    )


def residual(width):
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", name="start")(images)
    channels = int(8 * width)
    y = layers.Conv2D(channels, 3, padding="same", name="body")(x)
    y = layers.Add(name="sum")([y, layers.Conv2D(channels, 1, name="skip")(x)])
    y = layers.Add(name="again")([y, layers.Conv2D(channels, 1, name="early")(images)])
    return keras.Model(images, y)


def fixed_reshape(width):
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(int(8 * width), 3, padding="same", name="start")(images)
    y = layers.GlobalAveragePooling2D()(x)
    y = layers.Reshape((1, 1, int(8 * width)))(y)
    x = layers.Multiply(name="scaled")([x, y])
    return keras.Model(images, x)


ENDS = ("end_1", "end_2", "end_3")
PLAIN = FunctionBackbone(plain_cnn, "start", ENDS)
MOBILENET = FunctionBackbone(
    mobilenet_v2, "Conv1_relu", ("block_5_add", "block_12_add", "out_relu")
)


@pytest.mark.parametrize(
    ("family", "size"),
    [
        pytest.param(PLAIN, 16, id="cnn"),
        pytest.param(MOBILENET, 32, id="mbv2", marks=pytest.mark.slow),
    ],
)
def test_a_function_makes_a_family_that_trains_saves_and_exports(family, size, rng, tmp_path):
    ensemble = oekd_tf.OnlineEnsemble(family, (size, size, 3), 4, widths=(1.0, 0.5))
    images = rng.integers(0, 256, (16, size, size, 3), dtype=np.uint8)
    labels = rng.integers(0, 4, 16)
    ensemble.compile("adam")
    before = [v.numpy() for v in ensemble.students[1].trainable_variables]
    ensemble.fit(images, labels, batch_size=8, verbose=0)
    moved = [
        np.abs(v.numpy() - old).max() > 0
        for v, old in zip(ensemble.students[1].trainable_variables, before, strict=True)
    ]
    assert all(moved)
    ensemble.save(tmp_path / "e.keras")
    loaded = keras.models.load_model(tmp_path / "e.keras")
    np.testing.assert_allclose(
        loaded(images)["student_2"], ensemble(images)["student_2"], rtol=1e-5, atol=1e-5
    )
    check_student(ensemble.students[1], images, labels, tmp_path)


def test_a_full_width_student_is_the_built_network():
    ensemble = oekd_tf.OnlineEnsemble(PLAIN, (16, 16, 3), 4, widths=(1.0, 0.5))
    student, built = ensemble.students[0], plain_cnn(1.0)
    kernels = [v.shape for v in student.trainable_variables][:-2]
    assert kernels == [v.shape for v in built.trainable_variables]
    names = [layer.name for layer in ensemble.students[1].layers]
    assert "stem_start" in names
    assert "student_2_conv2d_1" in names
    assert "student_2_end_3" in names


@keras.saving.register_keras_serializable("oekd_tf_tests")
def trained_cnn(width):
    """As from a file of weights: each layer's are drawn anew, biases and statistics too."""
    model = plain_cnn(width)
    rng = np.random.default_rng(int(100 * width))
    model.set_weights([rng.uniform(0.5, 1, w.shape) for w in model.get_weights()])
    return model


def _by_layer(model, prefix=""):
    kinds = (layers.Conv2D, layers.BatchNormalization)
    return [
        layer.get_weights()
        for layer in model.layers
        if isinstance(layer, kinds) and layer.name.startswith(prefix)
    ]


@pytest.mark.parametrize("shared_stem", [True, False])
def test_weights_that_the_function_loads_are_kept(shared_stem, recwarn, rng, tmp_path):
    family = FunctionBackbone(trained_cnn, "start", ENDS)
    ensemble = oekd_tf.OnlineEnsemble(
        family, (16, 16, 3), 4, widths=(1.0, 0.5), shared_stem=shared_stem
    )
    for student, width in zip(ensemble.students, (1.0, 0.5), strict=True):
        kept, given = _by_layer(student), _by_layer(trained_cnn(width))
        # The stem is the full-width network's for all students.
        given[0] = _by_layer(trained_cnn(1.0))[0]
        assert len(kept) == len(given) == 7
        for ours, theirs in zip(kept, given, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
    assert not [w for w in recwarn if "do not fit" in str(w.message)]
    images = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    ensemble.compile("sgd")
    ensemble.fit(images, rng.integers(0, 4, 8), batch_size=8, verbose=0)
    ensemble.save(tmp_path / "e.keras")
    loaded = keras.models.load_model(tmp_path / "e.keras")
    for one, other in zip(loaded.get_weights(), ensemble.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("loaded", [True, False])
def test_weights_that_cannot_be_kept_are_named(loaded, recwarn):
    def narrow_stem(width):
        images = keras.Input((16, 16, 3))
        x = layers.Conv2D(int(8 * width), 3, padding="same", name="start")(images)
        x = layers.Conv2D(8, 3, name="first")(x)
        x = layers.BatchNormalization(name="norm")(x)
        model = keras.Model(images, x)
        if loaded:
            model.set_weights([np.full(w.shape, 0.5) for w in model.get_weights()])
        return model

    family = FunctionBackbone(narrow_stem, "start", ("norm",))
    student = oekd_tf.OnlineEnsemble(family, (16, 16, 3), 4, widths=(1.0, 0.5)).students[1]
    said = [str(w.message) for w in recwarn if "do not fit" in str(w.message)]
    assert said == (
        [
            "Weights that build gave first do not fit student_2, which takes the output of the "
            "full-width stem; these start anew, its other 1 layers have theirs."
        ]
        if loaded
        else []
    )
    if loaded:
        first, norm = student.get_layer("student_2_first"), student.get_layer("student_2_norm")
        assert np.ptp(first.get_weights()[0]) > 0
        np.testing.assert_array_equal(norm.get_weights()[2], np.full(8, 0.5))


def test_names_do_not_depend_on_what_was_built_before():
    names = []
    for _ in range(2):
        layers.Conv2D(1, 1)
        ensemble = oekd_tf.OnlineEnsemble(PLAIN, (16, 16, 3), 4, widths=(1.0, 0.5))
        names.append([layer.name for layer in ensemble.students[1].layers])
    assert names[0] == names[1]


def test_batch_norm_is_synchronized_when_asked():
    family = FunctionBackbone(plain_cnn, "start", ENDS, synchronized_batch_norm=True)
    ensemble = oekd_tf.OnlineEnsemble(family, (16, 16, 3), 4, widths=(1.0, 0.5))
    norms = [
        layer
        for layer in ensemble.students[1].layers
        if isinstance(layer, layers.BatchNormalization)
    ]
    assert len(norms) == 3
    assert all(layer.synchronized for layer in norms)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (FunctionBackbone(plain_cnn, "begin", ENDS), "must be layers of build.*start.*'begin'"),
        (FunctionBackbone(plain_cnn, "end_1", ENDS), "Blocks must come after.*Received: 'end_1'"),
        (
            FunctionBackbone(residual, "start", ("body", "again")),
            "All paths.*Received: 'again', which also takes the output of 'early'",
        ),
        (
            FunctionBackbone(fixed_reshape, "start", ("scaled",)),
            "must accept the full-width stem's output.*Received: at width 0.5",
        ),
        (
            FunctionBackbone(lambda width: layers.Conv2D(1, 1), "start", ("x",)),
            "must return a functional",
        ),
    ],
)
def test_a_family_that_cannot_be_cut_there_says_why(family, message):
    with pytest.raises(ValueError, match=message):
        oekd_tf.OnlineEnsemble(family, (16, 16, 3), 4, widths=(1.0, 0.5))


def test_the_networks_image_size_must_be_the_ensembles():
    with pytest.raises(ValueError, match=r"\(32, 32, 3\).*Received: one for \(16, 16, 3\)"):
        oekd_tf.OnlineEnsemble(PLAIN, (32, 32, 3), 4, widths=(1.0, 0.5))


@pytest.mark.parametrize("arguments", [("no function", "s", ("b",)), (plain_cnn, "s", "b")])
def test_arguments(arguments):
    with pytest.raises(ValueError, match="Received"):
        FunctionBackbone(*arguments)
