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
    ensemble = oekd_tf.OnlineEnsemble(family, (size, size, 3), 4, widths=(1.0, 0.2))
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
