"""What every family must do, at a size for tests."""

import keras
import numpy as np
import pytest
from networks import family_id
from student_checks import check_student

import oekd_tf
from oekd_tf import backbones

FAMILIES = [
    (backbones.DenseNet(16, 6), 16),
    (backbones.EfficientNet("b0"), 32),
    (backbones.ImageNetDenseNet(121), 32),
    (backbones.MobileNetV2(), 32),
    (backbones.MobileNetV3("large"), 32),
    (backbones.MobileNetV3("small"), 32),
    (backbones.ResNet(18), 32),
    (backbones.ResNeXt(50, stem_kernel=3), 16),
    (backbones.WideResNet(50), 32),
]
# The others are exported by the configs' tests.
QUICK = (backbones.DenseNet, backbones.MobileNetV2)


@pytest.mark.parametrize(("family", "size"), FAMILIES, ids=family_id)
def test_students_blocks_fit_the_pseudo_teachers(family, size):
    ensemble = oekd_tf.OnlineEnsemble(
        family, (size, size, 3), 4, widths=(1.0, 0.2), method=oekd_tf.methods.OEKD.paper()
    )
    wide, narrow = ensemble._branches.blocks
    assert len(wide) == 3
    for full, student, layer in zip(wide, narrow, ensemble.adaptation[0], strict=True):
        assert full.shape[:3] == student.shape[:3]
        assert student.shape[3] < full.shape[3]
        assert layer.compute_output_shape(student.shape) == full.shape


@pytest.mark.integration
@pytest.mark.parametrize(
    ("family", "size"),
    [
        pytest.param(*case, marks=[] if isinstance(case[0], QUICK) else pytest.mark.slow)
        for case in FAMILIES
    ],
    ids=family_id,
)
def test_a_narrow_student_saves_and_exports(family, size, rng, tmp_path):
    ensemble = oekd_tf.OnlineEnsemble(family, (size, size, 3), 4, widths=(1.0, 0.2))
    images = rng.integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    check_student(ensemble.students[1], images, rng.integers(0, 4, 8), tmp_path)


@pytest.mark.parametrize(("family", "size"), FAMILIES, ids=family_id)
def test_configs_round_trip(family, size):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(family))
    assert type(again) is type(family)
    assert again.get_config() == family.get_config()
    assert type(family)(synchronized_batch_norm=True).synchronized_batch_norm


@pytest.mark.integration
@pytest.mark.parametrize(("family", "size"), FAMILIES, ids=family_id)
def test_every_layer_has_numbers_of_its_own_and_the_seed_decides_them(family, size):
    def kernels(seed):
        keras.utils.set_random_seed(seed)
        images = keras.Input((size, size, 3))
        branch = family.branch(family.stem(images), 0.2, "s")
        weights = keras.Model(images, branch.features).trainable_variables
        return [v.numpy() for v in weights if len(v.shape) == 4]

    first, again, other = kernels(0), kernels(0), kernels(1)
    assert len({kernel.tobytes() for kernel in first}) == len(first)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize("width", [0.9, 0.5, 0.3, 0.11, 0.02])
def test_groups_divide_at_every_width(width):
    images = keras.Input((16, 16, 3))
    family = backbones.ResNeXt(50, stem_kernel=3)
    branch = family.branch(family.stem(images), width, "s")
    grouped = [
        layer
        for layer in keras.Model(images, branch.features).layers
        if isinstance(layer, keras.layers.Conv2D) and layer.name.endswith("_2_conv")
    ]
    assert len(grouped) == 16
    assert {layer.groups for layer in grouped} == {max(1, int(32 * width))}
    # A group keeps its channels: 4 in the first stage, 32 in the last.
    assert grouped[0].filters // grouped[0].groups == 4
    assert grouped[-1].filters // grouped[-1].groups == 32


@keras.saving.register_keras_serializable("oekd_tf_tests")
def plain_network(width, channel_multiple=1):
    x = images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, name="start")(x)
    for number, full in enumerate((24, 40), start=1):
        channels = backbones.scale_channels(full, width, channel_multiple)
        x = keras.layers.Conv2D(channels, 3, name=f"end_{number}")(x)
    return keras.Model(images, x)


def of_one_width(width):
    return plain_network(width)


def function_family(**arguments):
    return backbones.FunctionBackbone(plain_network, "start", ("end_1", "end_2"), **arguments)


def class_name(value):
    return None if isinstance(value, int) else type(value).__name__


# Rounded to 8 by their papers already.
MOBILE = (backbones.EfficientNet, backbones.MobileNetV2, backbones.MobileNetV3)
IN_MULTIPLES = [
    (backbones.CifarResNet(8), 16),
    (backbones.DenseNet(16, 12), 16),
    (function_family(), 16),
    *(case for case in FAMILIES if not isinstance(case[0], backbones.DenseNet)),
]


def is_large(family):
    deep = (backbones.WideResNet, backbones.ImageNetDenseNet)
    return isinstance(family, deep) or getattr(family, "size", "") == "large"


def in_multiples(family, multiple):
    return type(family).from_config({**family.get_config(), "channel_multiple": multiple})


@pytest.mark.parametrize(
    ("family", "size"),
    [
        # The code of others of this list, at sizes that take long.
        pytest.param(*case, marks=pytest.mark.slow if is_large(case[0]) else [])
        for number, case in enumerate(IN_MULTIPLES)
    ],
    ids=class_name,
)
def test_channels_are_multiples(family, size):
    multiple = {backbones.DenseNet: 4}.get(type(family), 16 if isinstance(family, MOBILE) else 8)
    rounded = in_multiples(family, multiple)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rounded))
    assert again.get_config() == rounded.get_config()
    assert f"channel_multiple={multiple}" in repr(again)
    images = keras.Input((size, size, 3))
    stem = again.stem(images)

    def built(network, width, name):
        model = keras.Model(images, network.branch(stem, width, name).features)
        counts = [
            layer.filters
            for layer in model.layers
            if type(layer) is keras.layers.Conv2D and "_se_" not in layer.name
        ]
        return counts, model.count_params()

    source = built(family, 1.0, "source")
    full = built(again, 1.0, "full")
    assert full == source
    sizes = [full[1]]
    for width in (0.6, 0.3):
        counts, parameters = built(again, width, f"at_{10 * width:.0f}")
        sizes.append(parameters)
        # A network's shortcuts stand where channels change: those of full width may be fewer.
        widest = max(full[0])
        assert all(count % multiple == 0 or count < multiple for count in counts)
        assert max(counts) <= widest
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.parametrize("family", [case[0] for case in IN_MULTIPLES], ids=class_name)
@pytest.mark.parametrize("multiple", [0, 1.5, True])
def test_a_multiple_is_a_whole_number(family, multiple):
    with pytest.raises(ValueError, match=rf"channel_multiple must be .* Received: {multiple}"):
        in_multiples(family, multiple)


def test_a_function_must_take_the_multiple():
    with pytest.raises(ValueError, match=r"build must take .* and channel_multiple=4"):
        backbones.FunctionBackbone(of_one_width, "start", ("end_1",), channel_multiple=4)


@pytest.mark.parametrize("family", [backbones.EfficientNet("b0"), backbones.MobileNetV3("small")])
def test_mobile_networks_are_in_multiples_of_8_already(family):
    images = keras.Input((32, 32, 3))
    stem = family.stem(images)
    networks = [family, in_multiples(family, 8)]
    sizes = [
        keras.Model(images, network.branch(stem, 0.35, f"s{number}").features).count_params()
        for number, network in enumerate(networks)
    ]
    assert sizes[0] == sizes[1]


def test_an_ensemble_in_multiples_saves_and_loads(tmp_path, rng):
    family = backbones.CifarResNet(8, channel_multiple=8)
    ensemble = oekd_tf.OnlineEnsemble(family, (16, 16, 3), 4, widths=(1.0, 0.6, 0.3))
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    outputs = ensemble(images, with_parts=True)
    channels = [[block.shape[-1] for block in blocks] for blocks in outputs["blocks"]]
    # 9.6, 19.2 and 38.4 of 16, 32 and 64 at 0.6; 4.8, 9.6 and 19.2 at 0.3.
    assert channels == [[16, 32, 64], [8, 16, 40], [8, 8, 16]]
    ensemble.save(tmp_path / "e.keras")
    loaded = keras.models.load_model(tmp_path / "e.keras")
    assert loaded.backbone.channel_multiple == 8
    np.testing.assert_array_equal(loaded(images)["student_3"], outputs["student_3"])


def test_widths_of_the_same_channels_are_refused():
    # Both are of 8, 8 and 16 channels.
    family = backbones.CifarResNet(8, channel_multiple=8)
    with pytest.raises(
        ValueError, match=r"multiples of 8\. Received: 0.25 and 0.2, which"
    ) as error:
        oekd_tf.OnlineEnsemble(family, (16, 16, 3), 4, widths=(1.0, 0.5, 0.25, 0.2))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: backbones.DenseNet(41), r"6n \+ 4.*Received: depth=41"),
        (lambda: backbones.DenseNet(40, 0), "growth_rate.*Received: 0"),
        (lambda: backbones.ImageNetDenseNet(100), "one of 121, 169, 201.*Received: depth=100"),
        (lambda: backbones.ResNet(20), "one of 18, 34, 50, 101, 152.*Received: depth=20"),
        (lambda: backbones.ResNet(18, groups=2), "below depth 50.*Received: groups=2"),
        (lambda: backbones.ResNet(50, stem_kernel=5), "7 or 3.*Received: 5"),
        (lambda: backbones.WideResNet(50, 0), "Received: groups=1 and width_per_group=0"),
        (lambda: backbones.EfficientNet("b8"), "one of b0, .*Received: 'b8'"),
        (lambda: backbones.EfficientNet(dropout_rate=1.0), "below 1.*Received: 1.0"),
        (lambda: backbones.MobileNetV2(0), "above 0.*Received: 0"),
        (lambda: backbones.MobileNetV3("medium"), "small or large.*Received: 'medium'"),
        (lambda: backbones.MobileNetV3(dropout_rate=-1), "at least 0.*Received: -1"),
    ],
)
def test_arguments_have_rules(build, message):
    with pytest.raises(ValueError, match=message):
        build()
