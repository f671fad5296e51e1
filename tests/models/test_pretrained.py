"""Students that begin with weights of a network that was trained before."""

import pickle

import keras
import numpy as np
import pytest
from keras import applications
from networks import PlainCnn, small_ensemble

import oekd_tf
from oekd_tf import backbones
from oekd_tf.backbones.parts.channels import Network, makes_channels
from oekd_tf.backbones.parts.tape import record
from oekd_tf.core.variables import as_array
from oekd_tf.models.pretrained.selection import Selection
from oekd_tf.models.pretrained.source import find_source

WIDTHS = (1.0, 0.6, 0.3)
FAMILIES = [
    (backbones.CifarResNet(8), 16),
    (backbones.CifarResNet(14, stem_units=1, channel_multiple=4), 16),
    (backbones.DenseNet(22), 16),
    (backbones.MobileNetV3("small"), 32),
    pytest.param(backbones.MobileNetV2(), 32, marks=pytest.mark.slow),
    pytest.param(backbones.EfficientNet("b0"), 32, marks=pytest.mark.slow),
    pytest.param(backbones.ResNeXt(50), 32, marks=pytest.mark.slow),
    pytest.param(backbones.ImageNetDenseNet(121), 32, marks=pytest.mark.slow),
    pytest.param("DenseNet121", 64, marks=pytest.mark.slow),
    pytest.param("EfficientNetV2B0", 64, marks=pytest.mark.slow),
    pytest.param("InceptionV3", 96, marks=pytest.mark.slow),
    pytest.param("MobileNetV2", 64, marks=pytest.mark.slow),
    pytest.param("ResNet50V2", 64, marks=pytest.mark.slow),
]


def family_of(given, size):
    if not isinstance(given, str):
        return given
    return backbones.from_keras(
        getattr(applications, given)(
            input_shape=(size, size, 3), weights=None, include_top=False, pooling="avg"
        )
    )


def randomise(model, rng, offsets=0.1):
    """Weights under which every layer matters; `offsets` are of what is added."""
    for layer in model.layers:
        for variable in layer.weights:
            shape = variable.shape
            if "seed" in variable.path or isinstance(layer, keras.layers.Normalization):
                continue
            if "variance" in variable.path or "gamma" in variable.path:
                value = rng.uniform(0.5, 1.5, shape)
            elif len(shape) > 1:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
                value = rng.normal(0, np.sqrt(2 / fan_in), shape)
            else:
                value = offsets * rng.normal(0, 1.0, shape)
            variable.assign(value)


def pictures(rng, size, count=4):
    return rng.integers(0, 256, (count, size, size, 3)).astype(np.float32)


def features(student, images):
    return as_array(keras.Model(student.input, student.layers[-1].input)(images))


@pytest.mark.parametrize(("family", "size"), FAMILIES)
def test_student_1_begins_with_all_of_it(family, size, rng):
    family = family_of(family, size)
    before = oekd_tf.OnlineEnsemble(family, (size, size, 3), 7, WIDTHS)
    randomise(before.students[0], rng)
    after = oekd_tf.OnlineEnsemble(
        family, (size, size, 3), 5, WIDTHS, initial_weights=before, slice="bn_scale"
    )
    images = pictures(rng, size)
    expected = features(before.students[0], images)
    np.testing.assert_allclose(features(after.students[0], images), expected, rtol=1e-5, atol=1e-5)
    # Only the classifiers, of fewer classes, and projections of shortcuts are new.
    assert not after.start.classifier
    for student, names in after.start.new.items():
        assert f"{student}_logits" in names
        assert all(name.endswith(("logits", "shortcut_conv")) for name in names)


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize(("family", "size"), FAMILIES)
def test_a_slice_computes_what_is_left_of_the_network(family, size, number, rng):
    """Where all other channels of student 1 are 0, a slice has nothing to lose."""
    if number == 3 and isinstance(family, backbones.MobileNetV3):
        pytest.skip("at 0.3 two of its layers have as many channels, and are added up")
    family = family_of(family, size)
    ensemble = oekd_tf.OnlineEnsemble(family, (size, size, 3), 7, WIDTHS)
    first, student = ensemble.students[0], ensemble.students[number - 1]
    # Normalisation and activation then leave a 0 what it is.
    randomise(first, rng, offsets=0.0)
    own = {layer.name for layer in student.layers}
    for layer in first.layers:
        name = layer.name.replace("student_1", student.name)
        if not makes_channels(layer) or layer.name.endswith("logits"):
            continue
        kept = layer.output.shape[-1]
        if name in own:
            kept = student.get_layer(name).output.shape[-1]
        if layer.name.startswith("stem") and isinstance(family, backbones.CifarResNet):
            # What the stem's other channels have reaches the first sum.
            kept = student.get_layer(f"{student.name}_block_1_unit_2_1_conv".replace(
                "unit_2", "unit_1" if family.stem_units == 0 else "unit_2"
            )).output.shape[-1]  # fmt: skip
        for variable in layer.weights:
            value = as_array(variable).copy()
            value[..., kept:] = 0.0
            variable.assign(value)
    sliced = oekd_tf.OnlineEnsemble(
        family, (size, size, 3), 7, WIDTHS, initial_weights=first, slice="first"
    )
    assert sliced.start.classifier
    images = pictures(rng, size)
    expected = as_array(first(images))
    assert np.abs(expected).max() > 0.0
    np.testing.assert_allclose(
        as_array(sliced.students[number - 1](images)), expected,
        rtol=1e-3, atol=1e-4 * np.abs(expected).max(),
    )  # fmt: skip


def two_layers():
    """Two convolutions and a sum: 4 channels that go together, then 6."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, use_bias=False, name="a")(images)
    y = keras.layers.Conv2D(4, 1, use_bias=False, name="b")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    x = keras.layers.Add(name="sum")([x, y])
    return keras.Model(images, keras.layers.Conv2D(6, 1, use_bias=False, name="c")(x))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("first", [0, 1]),
        # Means of kernels over their layer's mean: a .4 .8 1.2 1.6, b 1.5 1.5 .4 .6.
        ("l1", [1, 3]),
        ("bn_scale", [0, 2]),
    ],
)
def test_which_channels_are_chosen(rule, expected):
    model = two_layers()
    model.get_layer("a").set_weights([np.broadcast_to([1.0, -2, 3, 4], (1, 1, 3, 4))])
    model.get_layer("b").set_weights([np.broadcast_to([8.0, 8, -2, 3], (1, 1, 4, 4))])
    gamma = np.array([-3.0, 1, 2, 0.5])
    model.get_layer("norm").set_weights([gamma, *model.get_layer("norm").get_weights()[1:]])
    network = Network(record(model))
    steps = {step.name: step for step in network.tape.steps}
    chosen = Selection(network, rule)
    for name in ("a", "b", "norm", "sum"):
        (part,) = network.of(steps[name].output)
        assert chosen.of(part, 2).tolist() == expected
    assert chosen.of(network.of(steps["c"].output)[0], 6).tolist() == list(range(6))


def test_random_channels_are_of_the_seed():
    network = Network(record(two_layers()))
    (part,) = network.of(network.tape.output)
    found = []
    for seed in (0, 0, 1, 2, 3):
        keras.utils.set_random_seed(seed)
        found.append(Selection(network, "random").of(part, 3).tolist())
    assert found[0] == found[1]
    assert len({tuple(one) for one in found}) > 1


@pytest.fixture
def trained(batch):
    ensemble = small_ensemble(mean=100.0, std=50.0)
    ensemble.compile("adam")
    ensemble.fit(*batch, epochs=2, verbose=0)
    return ensemble


def test_from_a_file_and_a_folder(trained, batch, tmp_path):
    trained.save(tmp_path / "ensemble.keras")
    keras.Model(trained.students[0].inputs, trained.students[0].outputs).save(
        tmp_path / "one.keras"
    )
    for given in (tmp_path, tmp_path / "ensemble.keras", str(tmp_path / "one.keras"), trained):
        again = small_ensemble(initial_weights=given)
        # Its preparation, too, and its classifier, of as many classes.
        assert again.mean == (100.0,) * 3
        assert again.std == (50.0,) * 3
        np.testing.assert_allclose(
            again.students[0].predict(batch[0], verbose=0),
            trained.students[0].predict(batch[0], verbose=0), atol=1e-5,
        )  # fmt: skip
        assert again.start.classifier
    # What it was trained with may be said, and nothing else.
    assert small_ensemble(initial_weights=trained, mean=100.0, std=[50.0] * 3).std == (50.0,) * 3
    with pytest.raises(ValueError, match=r"mean must be left out where .*100.* Received: 0\.0"):
        small_ensemble(initial_weights=trained, mean=0.0)


@pytest.mark.parametrize(
    ("family", "application"),
    [
        (backbones.MobileNetV2(0.35), lambda: applications.MobileNetV2(
            (64, 64, 3), alpha=0.35, weights=None, classifier_activation=None)),
        pytest.param(backbones.MobileNetV3("small"), backbones.MobileNetV3("small").imagenet,
                     marks=pytest.mark.slow),
        pytest.param(backbones.EfficientNet("b0"), backbones.EfficientNet("b0").imagenet,
                     marks=pytest.mark.slow),
        pytest.param(backbones.ImageNetDenseNet(121), backbones.ImageNetDenseNet(121).imagenet,
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_from_a_network_of_keras_applications(family, application, tmp_path, rng):
    """In order, because its layers have other names; to other images and classes."""
    try:
        model = application(weights=None)
    except TypeError:
        model = application()
    randomise(model, rng)
    model.save(tmp_path / "application.keras")
    ensemble = oekd_tf.OnlineEnsemble(
        family, (48, 40, 3), 10, (1.0, 0.5), initial_weights=tmp_path / "application.keras"
    )
    size = model.input.shape[1] or 64
    source = oekd_tf.OnlineEnsemble(
        family, (size, size, 3), 1000, (1.0,), initial_weights=model, std=ensemble.std
    )
    assert source.start.classifier
    assert not ensemble.start.classifier
    images = pictures(rng, size, 2)
    prepared = images
    if not any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        # It does not say how it takes its images.
        prepared = (images - 127.5) / np.array(source.std)
    np.testing.assert_allclose(
        as_array(source.students[0](images)), as_array(model(prepared)), rtol=1e-3, atol=1e-3
    )


def test_images_are_prepared_as_keras_applications_does(tmp_path):
    """Also those of a network in a file, which a run's copy of ImageNet's is."""
    family = backbones.MobileNetV2(0.35)
    family.imagenet(weights=None).save(tmp_path / "kept.keras")
    ensemble = oekd_tf.OnlineEnsemble(
        family, (32, 32, 3), 4, (1.0,), initial_weights=tmp_path / "kept.keras"
    )
    assert ensemble.mean == ensemble.std == (127.5,) * 3
    source = find_source(tmp_path / "kept.keras", family, (32, 32, 3))
    assert source.pixels == ((127.5,) * 3, (127.5,) * 3)


def deeper():
    return oekd_tf.OnlineEnsemble(backbones.CifarResNet(14), (16, 16, 3), 4, (1.0,))


def other_epsilon():
    family = backbones.CifarResNet(8, batch_norm_epsilon=0.5)
    return oekd_tf.OnlineEnsemble(family, (16, 16, 3), 4, (1.0,))


def grey():
    return oekd_tf.OnlineEnsemble(backbones.CifarResNet(8), (16, 16, 1), 4, (1.0,))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (deeper, r"of 18 layers with weights and a classifier\. Received: .*, of 3[0-9] layers"),
        (other_epsilon, "give other features"),
        (grey, "whose layer 'stem_conv' has weights of shapes .*1, 16"),
        (lambda: 7, "Received: 7"),
        (lambda: "imagenet", "keras.applications does not have for CifarResNet"),
    ],
)
def test_a_source_that_does_not_fit(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        oekd_tf.OnlineEnsemble(
            backbones.CifarResNet(8), (16, 16, 3), 4, WIDTHS, initial_weights=source()
        )
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("initial_weights must be")


def test_images_of_other_channels(trained):
    message = r"input_shape must have 3 channels, as the images of the network .* Received: 1"
    with pytest.raises(ValueError, match=message):
        oekd_tf.OnlineEnsemble(PlainCnn((8, 16)), (16, 16, 1), 4, WIDTHS, initial_weights=trained)


def test_a_network_with_other_channels(trained):
    with pytest.raises(ValueError, match="student 1's 'student_1_block_2' has") as caught:
        oekd_tf.OnlineEnsemble(PlainCnn((8, 12)), (16, 16, 3), 4, WIDTHS, initial_weights=trained)
    assert "whose layer 'student_1_block_2' has weights of shapes [(3, 3, 8, 16)" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "name", ["weights.pkl", "weights.keras", "weights.h5", "nowhere.keras", "."]
)
def test_a_file_that_is_none(name, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harmed"), "w"))

    if name.startswith("weights"):
        (tmp_path / name).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match="initial_weights must be") as caught:
        small_ensemble(initial_weights=tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "harmed").exists()


def test_a_lambda_is_not_run(tmp_path):
    images = keras.Input((16, 16, 3))
    model = keras.Model(images, keras.layers.Lambda(lambda x: x * 2.0, name="twice")(images))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(
        ValueError, match="cannot be loaded: its layer 'twice' is a Lambda"
    ) as caught:
        small_ensemble(initial_weights=tmp_path / "lambda.keras")
    assert len(str(caught.value).splitlines()) == 1


def test_a_slice_that_is_none():
    with pytest.raises(ValueError, match="slice must be one of l1, bn_scale, first, random"):
        small_ensemble(slice="l2")


class TestFrozenStem:
    def test_it_stays_then_moves(self, trained, batch):
        ensemble = small_ensemble(initial_weights=trained)
        ensemble.compile(oekd_tf.optimizers.SGD(0.1, momentum=0.9, l2=0.1))
        stem = [as_array(v).copy() for v in ensemble._branches.stem.variables]
        branch = as_array(ensemble.students[2].get_layer("student_3_block_1").kernel).copy()
        callback = oekd_tf.callbacks.FrozenStem(epochs=2)
        ensemble.fit(*batch, epochs=2, callbacks=[callback], verbose=0)
        for before, now in zip(stem, ensemble._branches.stem.variables, strict=True):
            np.testing.assert_array_equal(as_array(now), before)
        moved = as_array(ensemble.students[2].get_layer("student_3_block_1").kernel)
        assert (moved != branch).any()
        ensemble.fit(
            *batch, initial_epoch=2, epochs=3, callbacks=[oekd_tf.callbacks.FrozenStem(2)],
            verbose=0,
        )  # fmt: skip
        assert any(
            (as_array(now) != before).any()
            for before, now in zip(stem, ensemble._branches.stem.variables, strict=True)
        )

    def test_statistics_stay(self, batch):
        ensemble = oekd_tf.OnlineEnsemble(backbones.CifarResNet(8), (16, 16, 3), 4, (1.0, 0.5))
        ensemble.compile("sgd")
        ensemble.stem_frozen = True
        before = [as_array(v).copy() for v in ensemble._branches.stem.variables]
        assert len(before) == 5
        ensemble.fit(*batch, verbose=0)
        for old, now in zip(before, ensemble._branches.stem.variables, strict=True):
            np.testing.assert_array_equal(as_array(now), old)

    def test_of_a_student_alone(self, trained, batch):
        student = small_ensemble(initial_weights=trained).students[1]
        student.compile("sgd", loss=oekd_tf.losses.label_loss)
        stem = [as_array(v).copy() for v in student.get_layer("stem").variables]
        student.fit(*batch, epochs=2, callbacks=[oekd_tf.callbacks.FrozenStem(2)], verbose=0)
        for before, now in zip(stem, student.get_layer("stem").variables, strict=True):
            np.testing.assert_array_equal(as_array(now), before)
        assert student.get_layer("stem").trainable

    def test_epochs_below_0(self):
        with pytest.raises(ValueError, match="epochs must be at least 0"):
            oekd_tf.callbacks.FrozenStem(-1)


class TestSmallerLearningRate:
    def test_which_variables(self, trained):
        ensemble = small_ensemble(initial_weights=trained)
        rates = ensemble.pretrained_rates(0.25)
        assert set(rates.values()) == {0.25}
        assert "student_3_block_1/kernel" in rates
        assert "student_3_logits/kernel" in rates
        images = oekd_tf.OnlineEnsemble(
            ensemble.backbone, (16, 16, 3), 9, WIDTHS, initial_weights=trained
        )
        # A new classifier learns as fast as ever.
        assert "student_3_logits/kernel" not in images.pretrained_rates(0.25)
        assert small_ensemble().pretrained_rates(0.25) == {}
        with pytest.raises(ValueError, match=r"must be above 0\. Received: 0"):
            ensemble.pretrained_rates(0)

    @pytest.mark.parametrize("make", [oekd_tf.optimizers.SGD, oekd_tf.optimizers.Adam])
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_a_step_is_smaller_by_the_factor(self, make, momentum):
        arguments = {"momentum": momentum} if make is oekd_tf.optimizers.SGD else {}
        start = np.array([[1.0, -2.0]], np.float32)
        plain, slow = (keras.Variable(start, name=name) for name in ("plain", "slow"))
        optimizer = make(0.1, rates={"slow": 0.25}, **arguments)
        optimizer.build([plain, slow])
        for _ in range(3):
            optimizer.apply([keras.ops.ones((1, 2)), keras.ops.ones((1, 2))], [plain, slow])
        np.testing.assert_allclose(
            as_array(slow) - start, 0.25 * (as_array(plain) - start), rtol=1e-4
        )
        again = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(optimizer)
        )
        assert again.rates == {"slow": 0.25}

    def test_refusal(self):
        ensemble = small_ensemble()
        with pytest.raises(ValueError, match=r"such as 'stem/kernel'. Received: 'stm/kernel'"):
            ensemble.compile(oekd_tf.optimizers.Adam(rates={"stm/kernel": 0.1}))
        # Some may be of variables that are trained elsewhere.
        ensemble.compile(oekd_tf.optimizers.SGD(rates={"stem/kernel": 0.1, "other/kernel": 0.1}))
        with pytest.raises(ValueError, match="rates must be factors of at least 0"):
            oekd_tf.optimizers.Adam(rates={"slow": -1.0})
