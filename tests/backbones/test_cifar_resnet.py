import keras
import numpy as np
import pytest

import oekd_tf
from oekd_tf.backbones import CifarResNet, scale_channels

# Trainable parameters of students 1 to 5: figures worked out for the paper's networks.
COUNTS = {
    (20, 10): (272_474, 171_536, 97_018, 42_231, 10_773),
    (20, 100): (278_324, 176_216, 100_528, 44_571, 11_943),
    (32, 100): (472_756, 298_240, 168_952, 73_895, 18_915),
    (44, 100): (667_188, 420_264, 237_376, 103_219, 25_887),
    (56, 100): (861_620, 542_288, 305_800, 132_543, 32_859),
    (110, 100): (1_736_564, 1_091_396, 613_708, 264_501, 64_233),
}


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


# Deeper ones are built in the same way, and take long.
DEEP = [
    pytest.param(*key, marks=[pytest.mark.integration] if key[0] > 32 else []) for key in COUNTS
]


@pytest.mark.parametrize(("depth", "classes"), DEEP)
def test_parameter_counts(depth, classes):
    ensemble = oekd_tf.OnlineEnsemble(CifarResNet(depth), (32, 32, 3), classes)
    assert tuple(trainable(s) for s in ensemble.students) == COUNTS[depth, classes]
    stem = {id(v): v for v in ensemble.students[0].trainable_variables}
    shared = [v for v in ensemble.students[1].trainable_variables if id(v) in stem]
    assert sum(int(np.prod(v.shape)) for v in shared) == 464


def test_depth_8_blocks_halve_the_resolution():
    ensemble = oekd_tf.OnlineEnsemble(CifarResNet(8), (32, 32, 1), 10, widths=(1.0, 0.5))
    outputs = ensemble(np.zeros((2, 32, 32, 1)), with_parts=True)
    assert [tuple(block.shape) for block in outputs["blocks"][1]] == [
        (2, 32, 32, 8),
        (2, 16, 16, 16),
        (2, 8, 8, 32),
    ]


@pytest.mark.parametrize("depth", [0, 2, 9, 21])
def test_depth_must_be_6n_plus_2(depth):
    with pytest.raises(ValueError, match=rf"6n \+ 2.*Received: depth={depth}"):
        CifarResNet(depth)


def test_config_round_trip():
    backbone = CifarResNet(32, synchronized_batch_norm=True, batch_norm_momentum=0.8)
    assert CifarResNet.from_config(backbone.get_config()).get_config() == backbone.get_config()
    assert backbone.get_config()["depth"] == 32


def test_scale_channels_floors_but_not_below_the_product():
    assert [scale_channels(64, w) for w in (1.0, 0.8, 0.6, 0.4, 0.2)] == [64, 51, 38, 25, 12]
    assert scale_channels(100, 0.29) == 29


@pytest.mark.parametrize(
    ("full", "width", "multiple", "channels"),
    [
        (64, 0.6, 4, 40),  # 38.4
        (64, 0.6, 16, 32),
        (64, 0.2, 8, 16),  # 12.8
        (20, 0.6, 8, 16),  # 12, halfway
        (64, 0.02, 8, 8),  # 1.28, at least one multiple
        (20, 0.99, 8, 16),  # 19.8: 24 would be more than at full width
        (20, 1.0, 8, 20),
        (6, 0.5, 8, 6),  # less than a multiple at full width
    ],
)
def test_scale_channels_to_a_multiple(full, width, multiple, channels):
    assert scale_channels(full, width, multiple) == channels
    assert scale_channels(full, width, 1) == int(full * width)


def test_a_layer_without_channels_is_refused():
    with pytest.raises(ValueError, match=r"at least one channel.*Received: width=0.05"):
        scale_channels(16, 0.05)


def test_stem_channels_change_the_common_base_block_alone():
    ensemble = oekd_tf.OnlineEnsemble(
        CifarResNet(8, stem_channels=8), (32, 32, 3), 10, widths=(1.0, 0.5)
    )
    # 3×3×3×8 and BatchNorm's two a channel.
    assert trainable(ensemble._branches.stem) == 216 + 16
    outputs = ensemble(np.zeros((2, 32, 32, 3)), with_parts=True)
    assert [block.shape[-1] for block in outputs["blocks"][0]] == [16, 32, 64]
    assert [block.shape[-1] for block in outputs["blocks"][1]] == [8, 16, 32]
    with pytest.raises(ValueError, match=r"stem_channels must be .*Received: 0"):
        CifarResNet(8, stem_channels=0)


def test_a_strided_stem_has_the_same_parameters_and_a_quarter_of_the_pixels():
    usual, strided = (
        oekd_tf.OnlineEnsemble(
            CifarResNet(8, stem_strides=strides), (32, 32, 3), 10, widths=(1.0, 0.5)
        )
        for strides in (1, 2)
    )
    shapes = [[variable.shape for variable in one.variables] for one in (usual, strided)]
    assert shapes[0] == shapes[1]
    blocks = [one(np.zeros((1, 32, 32, 3)), with_parts=True)["blocks"] for one in (usual, strided)]
    assert [block.shape[1] for block in blocks[0][1]] == [32, 16, 8]
    assert [block.shape[1] for block in blocks[1][1]] == [16, 8, 4]
    assert CifarResNet.from_config(CifarResNet(8, stem_strides=2).get_config()).stem_strides == 2
    with pytest.raises(ValueError, match=r"stem_strides must be 1 or 2\. Received: 3"):
        CifarResNet(8, stem_strides=3)


def test_features_before_relu_are_what_the_block_ends_in():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3))
    outputs = []
    for before in (False, True):
        keras.utils.set_random_seed(0)
        ensemble = oekd_tf.OnlineEnsemble(
            CifarResNet(14, features_before_relu=before), (16, 16, 3), 10, widths=(1.0, 0.5)
        )
        outputs.append(ensemble(images, with_parts=True))
    after, before = outputs
    np.testing.assert_array_equal(after["student_2"], before["student_2"])
    for student in range(2):
        for block, total in zip(after["blocks"][student], before["blocks"][student], strict=True):
            assert np.min(total) < 0
            np.testing.assert_array_equal(block, np.maximum(total, 0))
