"""Which runs a study is made of, and what each changes."""

import pytest

from oekd_tf import config as config_module
from oekd_tf.comparison.plan import parse_ablations, plan, run_config
from oekd_tf.config import ConfigError


@pytest.fixture
def config():
    config = config_module.default_config()
    config.epochs = 7
    config.ensemble.widths = (1.0, 0.5, 0.25)
    config.export.formats = ("float32",)
    return config


def test_seed_by_seed(config):
    config.seed = 4
    runs = plan(config, 2, (), {"no_kd": {"loss.distillation_weight": 0.0}}, [3], [2])
    assert [(run.method, run.seed, run.student) for run in runs] == [
        (method, seed, student)
        for seed in (4, 5)
        for method, student in (
            ("ensemble", 0),
            ("alone", 1),
            ("alone", 2),
            ("alone", 3),
            ("offline", 3),
            ("mutual", 2),
            ("no_kd", 0),
        )
    ]
    assert len({run.folder for run in runs}) == len(runs)


def test_all_runs_share_the_recipe(config):
    """Nothing but what makes the method differs between any two runs."""
    allowed = {
        "ensemble": (),
        "alone": ("only_student",),
        "offline": ("only_student", "teacher_workdir"),
        "mutual": ("ensemble.", "loss."),
        "hot": ("loss.temperature",),
    }
    for run in plan(config, 2, (), {"hot": {"loss.temperature": 8.0}}, [2], [2]):
        own = run_config(config, run, "study")
        assert own.export.formats == ()
        for path in config_module.FIELDS:
            if config_module.get(own, path) != config_module.get(config, path):
                assert path.startswith(("seed", "export.formats", *allowed[run.method])), path


def test_methods_of_others(config):
    runs = {(run.method, run.student): run for run in plan(config, 1, (), {}, [3], [3])}
    offline = run_config(config, runs["offline", 3], "study")
    assert offline.teacher_workdir == "study/seed_0"
    assert offline.only_student == 3
    mutual = run_config(config, runs["mutual", 3])
    assert mutual.ensemble.widths == (1.0, 0.25)
    assert not mutual.ensemble.shared_stem
    assert mutual.loss.distillation_target == "peers"


def test_ablations():
    assert parse_ablations(["T4:loss.temperature=4", "two:ensemble.widths=(1.0, 0.2),seed_=x"]) == {
        "T4": {"loss.temperature": 4},
        "two": {"ensemble.widths": (1.0, 0.2), "seed_": "x"},
    }


@pytest.mark.parametrize("text", ["T4", ":a=1", "T 4:a=1", "T4:a", "alone:a=1", "seed_1:a=1"])
def test_ablations_that_are_refused(text):
    with pytest.raises(ConfigError, match="Received: "):
        parse_ablations([text])


def test_backbone_argument(config):
    (run,) = [r for r in plan(config, 1, (), {"deep": {"backbone.arguments.depth": 20}}) if
              r.method == "deep"]  # fmt: skip
    assert run_config(config, run).backbone.arguments.depth == 20


def test_mutual_learning_takes_nothing_from_the_study(config):
    """Whatever the study's own loss and ensemble are, its pairs are those of the paper."""
    (plain,) = [run for run in plan(config, 1, (2,), {}, [], [2]) if run.method == "mutual"]
    expected = run_config(config, plain)
    config.ensemble.stem_gradient = "none"
    config.ensemble.pseudo_teacher_epochs = 3
    config.ensemble.teacher_weights = (1.0, 0.0, 0.0)
    config.loss.warmup_epochs = 2.0
    config.loss.temperature = 4.0
    config.loss.distillation_weight = 0.5
    (changed,) = [run for run in plan(config, 1, (2,), {}, [], [2]) if run.method == "mutual"]
    own = run_config(config, changed)
    # These two are of the feature loss, which a pair does not have.
    without = ("ensemble.train_adaptation", "ensemble.adaptation_initializer", "loss.feature_scale")
    for path in config_module.FIELDS:
        if path.startswith(("ensemble.", "loss.")) and path not in without:
            assert config_module.get(own, path) == config_module.get(expected, path), path


def test_no_alternatives_for_one_student(config):
    config.ensemble.widths = (1.0,)
    with pytest.raises(ConfigError, match="--offline must be left out where there is one student"):
        plan(config, 1, offline=[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"seeds": 1, "students": [4]}, "--students must be numbers from 1 to 3"),
        ({"seeds": 1, "ablations": {"alone": {}}}, "must not begin with"),
        ({"seeds": 1, "ablations": {"report.md": {}}}, "nor end as a report's file"),
        ({"seeds": 1, "ablations": {"cold": {"loss.temperature": 0.0}}}, "Ablation 'cold': "),
        ({"seeds": 1, "offline": [1]}, "--offline must be numbers from 2 to 3"),
        ({"seeds": 1, "mutual": [2, 2]}, "each once"),
        ({"seeds": 1, "students": [2], "offline": [2]}, "--students must hold 1"),
        ({"seeds": 1, "ablations": {"a": {"epochs": 3}}}, r"Received: 'epochs'"),
        ({"seeds": 1, "ablations": {"a": {"loss.temperature": -1.0}}}, "loss.temperature"),
    ],
)
def test_refusals(config, arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan(config, **arguments)
