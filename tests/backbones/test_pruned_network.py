"""Families that are made from any functional network."""

import keras
import numpy as np
import pytest
from keras import applications, layers, ops

import oekd_tf
from oekd_tf.backbones import from_keras
from oekd_tf.backbones.parts.channels import makes_channels

WIDTHS = (1.0, 0.6, 0.3)

FEW = ["MobileNetV2", "MobileNetV3Small"]
MORE = [
    "ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionV3",
    "MobileNet", "MobileNetV3Large", "ResNet50", "ResNet50V2", "VGG16", "Xception",
]  # fmt: skip
APPLICATIONS = [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
# As keras.applications prepares images that a network does not prepare itself.
MODULES = {
    "DenseNet121": applications.densenet, "InceptionV3": applications.inception_v3,
    "MobileNet": applications.mobilenet, "MobileNetV2": applications.mobilenet_v2,
    "ResNet50": applications.resnet, "ResNet50V2": applications.resnet_v2,
    "VGG16": applications.vgg16, "Xception": applications.xception,
}  # fmt: skip


def application(name, **arguments):
    size = 96 if name in ("InceptionV3", "Xception") else 64
    made = getattr(applications, name)(
        input_shape=(size, size, 3), weights=None, **{"include_top": False, **arguments}
    )
    return made, size


def randomise(model, rng):
    """Weights under which every layer matters."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            randomise(layer, rng)
        elif not isinstance(layer, layers.Normalization | layers.Dropout):
            for variable in layer.weights:
                variable.assign(random_value(variable, layer, rng))


def random_value(variable, layer, rng):
    shape = variable.shape
    if "variance" in variable.path or "gamma" in variable.path:
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) < 2:
        return rng.normal(0, 0.1, shape)
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
    # Not more, or gates of deep networks make much of the last bits.
    return rng.normal(0, np.sqrt(1 / fan_in), shape)


def features(student, images):
    return keras.Model(student.input, student.layers[-1].input).predict(images, verbose=0)


@keras.saving.register_keras_serializable("oekd_tf_tests")
class Scale(layers.Layer):
    """A layer of a user's own, with a number for each channel in its config."""

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, shape):
        self.factor = self.add_weight(shape=(self.channels,), initializer="ones")

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def every_kind(size=16):
    """A network with each way in which channels hang together."""
    images = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1.0)(images)
    x = layers.Conv2D(8, 3, padding="same", name="first")(x)
    x = layers.ReLU(name="start")(x)
    x = layers.Conv2D(12, 3, 2, padding="same", name="block_1")(x)
    x = layers.GroupNormalization(4, name="in_groups")(x)
    gate = layers.GlobalAveragePooling2D(name="squeeze")(x)
    gate = layers.Reshape((1, 1, 12), name="one_pixel")(gate)
    gate = layers.Dense(3, "relu", name="reduce")(gate)
    gate = layers.Dense(12, "sigmoid", name="expand")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    x = Scale(12, name="own")(x)
    y = layers.Conv2D(12, 3, padding="same", groups=4, name="groups_of_three")(x)
    x = layers.Add(name="sum_1")([x, layers.PReLU(shared_axes=[1, 2], name="prelu")(y)])
    y = layers.SeparableConv2D(10, 3, 2, padding="same", name="separable")(x)
    z = layers.Conv2D(6, 3, 2, padding="same", name="beside")(x)
    x = layers.Concatenate(name="both")([y, z])
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="twice")(x)
    x = ops.relu(layers.BatchNormalization(name="norm")(x) + 0.5)
    x = layers.Conv2D(9, 3, 2, padding="same", name="last")(x)
    x = layers.LayerNormalization(name="layer_norm")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(20, "relu", name="hidden")(x)
    return keras.Model(images, layers.Dense(5, name="classes")(x), name="every_kind")


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("top", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_student_1_is_the_network(name, top, rng):
    model, size = application(name, include_top=top)
    randomise(model, rng)
    ensemble = oekd_tf.OnlineEnsemble(from_keras(model), (size, size, 3), 10, WIDTHS)
    first = ensemble.students[0]
    images = rng.integers(0, 256, (3, size, size, 3)).astype(np.float32)
    prepared = MODULES[name].preprocess_input(images.copy()) if name in MODULES else images
    if top:
        last = next(layer for layer in reversed(model.layers) if makes_channels(layer))
        model = keras.Model(model.input, last.input)
    expected = model.predict(prepared, verbose=0)
    if expected.ndim == 4:
        expected = expected.mean(axis=(1, 2))
    found = features(first, images)
    np.testing.assert_allclose(
        found, expected.reshape(found.shape), rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )
    # Of the classifier, 10 classes; what prepares images is not counted.
    preparing = sum(
        layer.count_params() for layer in model.layers if isinstance(layer, layers.Normalization)
    )
    own = model.count_params() - preparing + (found.shape[-1] + 1) * 10
    assert first.count_params() == own
    sizes = [student.count_params() for student in ensemble.students]
    assert sizes[0] > 1.8 * sizes[1] > 5 * sizes[2]


def test_every_kind_of_layer_is_narrowed(rng, tmp_path):
    family = from_keras(every_kind())
    ensemble = oekd_tf.OnlineEnsemble(family, (16, 16, 3), 5, WIDTHS)
    assert next(b.shape[-1] for b in ensemble._branches.blocks[0]) == 12
    third = ensemble.students[2]
    names = ("block_1", "groups_of_three", "separable", "beside", "twice", "last", "hidden")
    found = [third.get_layer(f"student_3_{name}").output.shape[-1] for name in names]
    # 0.3 of four groups of three, of 10, 6 and 9 channels; of 20.
    assert found == [3, 3, 3, 1, 8, 2, 6]
    assert third.get_layer("student_3_groups_of_three").groups == 1
    assert third.get_layer("student_3_reduce").units == 1
    images = rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    ensemble.compile("adam")
    ensemble.fit(images, rng.integers(0, 5, 8), batch_size=4, verbose=0)
    expected = ensemble.predict(images, verbose=0)
    ensemble.save(tmp_path / "saved.keras")
    loaded = keras.saving.load_model(tmp_path / "saved.keras")
    for name, logits in loaded.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits, expected[name], atol=1e-5)
    # A family that was saved with an ensemble has no weights of its own to begin with.
    again = oekd_tf.OnlineEnsemble(loaded.backbone, (16, 16, 3), 5, WIDTHS)
    assert again.start is None
    assert ensemble.start is not None


def test_of_another_size_and_of_half_the_students(rng):
    model = every_kind()
    ensemble = oekd_tf.OnlineEnsemble(
        from_keras(keras.Model(model.input, model.get_layer("layer_norm").output)),
        (24, 20, 3), 7, (1.0, 0.5),
    )  # fmt: skip
    assert ensemble.mean == (127.5,) * 3
    assert ensemble.std == (127.5,) * 3
    assert ensemble.students[1].input_shape == (None, 24, 20, 3)


def test_what_is_frozen_in_the_model_is_trained():
    model = every_kind()
    model.trainable = False
    ensemble = oekd_tf.OnlineEnsemble(from_keras(model), (16, 16, 3), 5, WIDTHS)
    assert not model.trainable_variables
    open_one = oekd_tf.OnlineEnsemble(from_keras(every_kind()), (16, 16, 3), 5, WIDTHS)
    assert len(ensemble.trainable_variables) == len(open_one.trainable_variables)


def test_the_users_model_stays_as_it_is(rng):
    model = every_kind()
    before = model.get_weights()
    ensemble = oekd_tf.OnlineEnsemble(from_keras(model), (16, 16, 3), 5, WIDTHS)
    images = rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    ensemble.compile("sgd")
    ensemble.fit(images, rng.integers(0, 5, 8), verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_multiples_of_channels():
    ensemble = oekd_tf.OnlineEnsemble(
        from_keras(application("MobileNetV2")[0], channel_multiple=8), (64, 64, 3), 5, (1.0, 0.4)
    )
    channels = {
        layer.output.shape[-1]
        for layer in ensemble.students[1].layers
        if makes_channels(layer) and not layer.name.endswith("logits")
    }
    assert all(count % 8 == 0 for count in channels)


def ending_with(layer):
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(images)
    x = layers.Conv2D(8, 3, padding="same", name="second")(x)
    return keras.Model(images, layer(x))


def branching_early():
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(images)
    y = layers.Conv2D(8, 3, padding="same", name="second")(x)
    return keras.Model(images, layers.Add()([y, layers.Conv2D(8, 1, name="third")(images)]))


NONE = {"preprocessing": "none"}


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (lambda: ending_with(layers.Permute((3, 1, 2), name="turned")), NONE, "'turned' .Permute."),
        (lambda: ending_with(layers.Reshape((4, 64, 8), name="cut")), NONE, "'cut' .Reshape."),
        (every_kind, {"stem_layer": "nowhere"}, "stem_layer must name layers.*'nowhere'"),
        (every_kind, {"stem_layer": "reduce"}, "stem_layer must be a layer that all paths"),
        (every_kind, {"block_layers": ("sum_1", "nowhere")}, "block_layers must name layers"),
        (every_kind, {"block_layers": ("first",)}, "block_layers must come after the stem"),
        (every_kind, {"block_layers": ()}, "block_layers must be None or at least one"),
        (every_kind, {"preprocessing": "tf"}, "preprocessing must be None for a network that"),
        (lambda: ending_with(layers.ReLU()), {}, "preprocessing must be one of none, tf, torch"),
        (lambda: ending_with(layers.ReLU()), {"preprocessing": "bgr"}, "Received: 'bgr'"),
        (lambda: ending_with(layers.ReLU()), {"preprocessing": 1.0}, r"\(mean, std\)"),
        (branching_early, NONE, "which branches before 'second'"),
        (every_kind, {"batch_norm_momentum": 1.0}, "batch_norm_momentum must be None, or at least"),
        (every_kind, {"features_layer": "nowhere"}, "features_layer must name layers"),
        (lambda: "model", {}, "must be a functional or sequential keras.Model"),
    ],
)  # fmt: skip
def test_refusals(model, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_keras(model(), **arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_of_one_size_of_images():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu")(inputs)
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu")(x)
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(5)(x))
    family = from_keras(model, preprocessing="none")
    ensemble = oekd_tf.OnlineEnsemble(family, (8, 8, 3), 4, (1.0, 0.5))
    assert ensemble.students[0].count_params() == model.count_params() - 17
    with pytest.raises(ValueError, match="after a Flatten a network is tied to its size of images"):
        oekd_tf.OnlineEnsemble(family, (16, 16, 3), 4, (1.0, 0.5))


def test_a_backbone_of_keras_hub():
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], image_shape=(None, None, 3),
        stackwise_num_filters=[64, 128, 256, 512], stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2], block_type="basic_block",
    )  # fmt: skip
    ensemble = oekd_tf.OnlineEnsemble(
        from_keras(backbone, preprocessing="torch"), (64, 64, 3), 10, WIDTHS
    )
    assert ensemble.students[0].count_params() == backbone.count_params() + 513 * 10
    assert [block.shape[1:3] for block in ensemble._branches.blocks[2]] == [(8, 8), (4, 4), (2, 2)]
