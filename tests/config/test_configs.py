import pytest
from config_steps import groups, load, names, reduced, step_and_export

from oekd_tf import config as config_module

PAPER_SMALL = [
    f"{data}_{network}"
    for data in ("cifar10", "cifar100", "svhn")
    for network in (
        *(f"resnet{depth}" for depth in (20, 32, 44, 56, 110)),
        "densenet100_k12",
        "resnext50",
        *(f"efficientnet_{variant}" for variant in ("b0", "b2", "b4")),
    )
]
PAPER_IMAGENET = [
    f"imagenet_{network}"
    for network in (
        *(f"resnet{depth}" for depth in (18, 34, 50, 101)),
        "densenet121",
        "resnext50",
        *(f"efficientnet_{variant}" for variant in ("b0", "b2", "b4")),
    )
]


def test_every_experiment_of_the_paper_has_a_config():
    assert set(PAPER_SMALL) | set(PAPER_IMAGENET) | {"demo"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_config_says_what_it_is(name):
    config, text = load(name)
    config_module.check(config)
    assert config.name == name
    lines = text.splitlines()
    assert any(line.startswith("Source: ") for line in lines)
    if name != "demo":
        assert f"Command: python -m oekd_tf.train --config=configs/{name}.py" in lines
        assert any(line.startswith("Cost: ") for line in lines)
        assert any(line.startswith("Accuracy: ") for line in lines)


# Two families of the paper and the demo; the others take three times as long, and are marked slow.
QUICK = ("cifar100_densenet100_k12", "cifar100_resnet110", "demo")


@pytest.mark.integration
@pytest.mark.parametrize(
    "together",
    [
        pytest.param(group, marks=[] if group[0] in QUICK else pytest.mark.slow)
        for group in groups("", without="imagenet")
    ],
    ids="+".join,
)
def test_a_step_and_an_export_at_reduced_depth(together, tmp_path):
    step_and_export(reduced(together[0]), tmp_path, ("float32",))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in names() if not n.startswith("imagenet")])
def test_a_step_and_every_export_at_full_depth(name, tmp_path):
    config, _ = load(name)
    step_and_export(config, tmp_path, tuple(config.export.formats) or ("float32", "int8"))


def test_the_papers_headline_config():
    config, text = load("cifar100_resnet110")
    assert "10.64 %" in text
    assert config.backbone.arguments.depth == 110
    assert (config.epochs, config.batch_size) == (350, 128)
    assert "136,500 steps" in text
    assert config.data.validation_fraction == 0
    assert config.optimizer.learning_rate == 1e-3
    assert config.optimizer.l2 == 1e-5
    assert config.schedule.step_epochs == (200, 300)
    config, text = load("cifar100_densenet100_k12")
    assert "8.17 %" in text
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("sgd", 0.1)
    assert (config.batch_size, config.optimizer.l2) == (48, 1e-4)
    assert "364,350 steps" in text
    assert config.data.validation_fraction == 0
    assert config.schedule.step_epochs == (170, 250)
