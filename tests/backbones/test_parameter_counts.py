import keras
import pytest
from networks import build_alone, family_id

from oekd_tf import backbones
from oekd_tf.models.branches import build_branches
from oekd_tf.models.size import count_parameters

WIDTHS = (1.0, 0.8, 0.6, 0.4, 0.2)

# Figures worked out for the paper's networks: classes, the stem, students 1 to 5.
PAPER = [
    (backbones.DenseNet(100, 12), 10, 648, (769_162, 446_170, 279_482, 102_410, 33_002)),
    (backbones.DenseNet(100, 12), 100, 648, (800_032, 469_480, 297_752, 113_120, 38_672)),
    (
        backbones.EfficientNet("b0"),
        100,
        928,
        (4_135_648, 2_669_798, 1_514_120, 805_050, 241_372),
    ),
    (
        backbones.EfficientNet("b2"),
        100,
        928,
        (7_841_894, 5_128_654, 2_998_326, 1_448_890, 387_304),
    ),
    (
        backbones.EfficientNet("b4"),
        100,
        1_392,
        (17_727_916, 11_447_290, 6_468_340, 2_946_452, 894_630),
    ),
]

# As torchvision publishes them; EfficientNet, DenseNet and the MobileNets also in
# keras.applications, there with the statistics of batch normalisation.
PUBLISHED = [
    (backbones.ResNet(18), 11_689_512),
    (backbones.ResNet(34), 21_797_672),
    (backbones.ResNet(50), 25_557_032),
    (backbones.ResNet(101), 44_549_160),
    (backbones.ResNet(152), 60_192_808),
    (backbones.ResNeXt(50), 25_028_904),
    (backbones.ResNeXt(101, width_per_group=8), 88_791_336),
    (backbones.WideResNet(50), 68_883_240),
    (backbones.WideResNet(101), 126_886_696),
    (backbones.ImageNetDenseNet(121), 7_978_856),
    (backbones.ImageNetDenseNet(169), 14_149_480),
    (backbones.ImageNetDenseNet(201), 20_013_928),
    (backbones.EfficientNet("b0"), 5_288_548),
    (backbones.EfficientNet("b1"), 7_794_184),
    (backbones.EfficientNet("b2"), 9_109_994),
    (backbones.EfficientNet("b3"), 12_233_232),
    (backbones.EfficientNet("b4"), 19_341_616),
    (backbones.EfficientNet("b5"), 30_389_784),
    (backbones.EfficientNet("b6"), 43_040_704),
    (backbones.EfficientNet("b7"), 66_347_960),
    (backbones.MobileNetV2(), 3_504_872),
    (backbones.MobileNetV3("small"), 2_542_856),
    (backbones.MobileNetV3("large"), 5_483_032),
]


# The smallest of each kind; the others differ in depth and multipliers alone.
QUICK = (
    backbones.ResNet(18), backbones.ResNet(50), backbones.EfficientNet("b0"),
    backbones.MobileNetV2(), backbones.MobileNetV3("small"),
)  # fmt: skip


# Between others that are not: their multipliers are of the same table.
SLOW = (backbones.EfficientNet("b1"), backbones.EfficientNet("b3"), backbones.EfficientNet("b4"))


def quick_first(rows):
    """The rows, those of deep networks marked integration, and some of them slow."""
    quick, slow = ({repr(family) for family in families} for families in (QUICK, SLOW))

    def marks(family):
        if repr(family) in quick:
            return ()
        return pytest.mark.slow if repr(family) in slow else pytest.mark.integration

    return [pytest.param(*row, marks=marks(row[0])) for row in rows]


@pytest.fixture(autouse=True)
def _initialise_with_zeros(monkeypatch):
    # Drawing a hundred million weights takes longer than building the network.
    zeros = keras.initializers.Zeros()
    monkeypatch.setattr(backbones.ConvolutionalBackbone, "kernel_initializer", zeros)
    monkeypatch.setattr(backbones.EfficientNet, "kernel_initializer", zeros)


@pytest.mark.parametrize(
    ("family", "classes", "stem", "students"), quick_first(PAPER), ids=family_id
)
def test_the_papers_students(family, classes, stem, students):
    built = [build_alone(family, 32, classes, width) for width in WIDTHS]
    assert tuple(parameters for _, _, parameters, _ in built) == students
    assert {stem_parameters for *_, stem_parameters in built} == {stem}


@pytest.mark.parametrize(("family", "parameters"), quick_first(PUBLISHED), ids=family_id)
def test_the_published_network_at_full_width(family, parameters):
    assert build_alone(family, 224, 1000, 1.0)[2] == parameters


@pytest.mark.integration
@pytest.mark.parametrize(("depth", "growth_rate", "millions"), [(250, 24, 15.3), (190, 40, 25.6)])
def test_deep_densenets_have_the_published_size(depth, growth_rate, millions):
    _, _, parameters, _ = build_alone(backbones.DenseNet(depth, growth_rate), 32, 10, 1.0)
    assert round(parameters / 1e6, 1) == millions


@pytest.mark.slow
@pytest.mark.parametrize(("width", "millions"), [(1.0, 19.4), (0.2, 0.7)])
def test_resnet_1202_builds(width, millions):
    family = backbones.CifarResNet(1202)
    built = build_branches(family, (32, 32, 3), 10, [width], (0.0,) * 3, (1.0,) * 3)
    assert round(count_parameters(built.students[0]) / 1e6, 1) == millions
