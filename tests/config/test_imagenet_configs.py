"""Apart from test_configs.py, so that the two run beside each other."""

import pytest
from config_steps import groups, load, names, reduced, step_and_export

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "together",
    [
        pytest.param(group, marks=[] if group[0] == "imagenet_resnet18" else pytest.mark.slow)
        for group in groups("imagenet")
    ],
    ids="+".join,
)
def test_a_step_and_an_export_at_reduced_depth(together, tmp_path):
    step_and_export(reduced(together[0]), tmp_path, ("float32",))


@pytest.mark.slow
@pytest.mark.parametrize("name", names("imagenet"))
def test_a_step_and_every_export_at_full_depth(name, tmp_path):
    config, _ = load(name)
    step_and_export(config, tmp_path, tuple(config.export.formats))
