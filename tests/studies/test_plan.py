"""Which runs a study is made of, and what each changes."""

import pytest

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError
from oekd_tf.studies.plan import parse_ablations, parse_methods, plan, run_config


@pytest.fixture
def config():
    config = config_module.default_config()
    config.epochs = 7
    config.ensemble.widths = (1.0, 0.5, 0.25)
    config.export.formats = ("float32",)
    return config


def test_seed_by_seed(config):
    config.seed = 4
    runs = plan(config, 2, (), {"no_kd": {"method.arguments.distillation_weight": 0.0}}, [3], [2])
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


def test_runs_have_the_widths_that_the_study_found(config):
    config.ensemble.int8_bytes = (30_000, 20_000)
    for run in plan(config, 1, (), {}, [], [2]):
        own = run_config(config, run)
        assert own.ensemble.int8_bytes == ()
        assert own.ensemble.widths == ((1.0, 0.5) if run.method == "mutual" else (1.0, 0.5, 0.25))


def test_all_runs_share_the_recipe(config):
    """Nothing but what makes the method differs between any two runs."""
    allowed = {
        "ensemble": (),
        "alone": ("only_student",),
        "offline": ("only_student", "teacher_workdir"),
        "mutual": ("ensemble.", "method."),
        "hot": ("method.arguments",),
    }
    for run in plan(config, 2, (), {"hot": {"method.arguments.temperature": 8.0}}, [2], [2]):
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
    assert mutual.method.name == "dml"


def test_ablations():
    assert parse_ablations(
        ["T4:method.arguments.temperature=4", "two:ensemble.widths=(1.0, 0.2),seed_=x"]
    ) == {
        "T4": {"method.arguments.temperature": 4},
        "two": {"ensemble.widths": (1.0, 0.2), "seed_": "x"},
    }


@pytest.mark.parametrize("text", ["T4", ":a=1", "T 4:a=1", "T4:a", "alone:a=1", "seed_1:a=1"])
def test_ablations_that_are_refused(text):
    with pytest.raises(ConfigError, match="Received: "):
        parse_ablations([text])


def test_methods():
    found = parse_methods(["dml", "dml:temperature=3.0", "oekd:feature_weight=0,warmup_epochs=2"])
    assert found == {
        "dml": {"method.name": "dml"},
        "dml_temperature_3.0": {"method.name": "dml", "method.arguments.temperature": 3.0},
        "oekd_feature_weight_0_warmup_epochs_2": {
            "method.name": "oekd",
            "method.arguments.feature_weight": 0,
            "method.arguments.warmup_epochs": 2,
        },
    }
    assert parse_methods(["my.module:Mine:T=(1,2)"]) == {
        "Mine_T_1_2": {"method.name": "my.module:Mine", "method.arguments.T": (1, 2)}
    }
    # A method of the study's own names is told from them.
    assert list(parse_methods(["offline:teacher=t.keras"])) == ["by_offline_teacher_t.keras"]


@pytest.mark.parametrize("texts", [["dml", "dml"], ["dml:"], ["=3"], ["dml:temperature"]])
def test_methods_that_are_refused(texts):
    with pytest.raises(ConfigError, match=r"--method must be .*Received: "):
        parse_methods(texts)


def test_another_method_has_its_own_arguments(config):
    """What the study's method is given does not reach another one."""
    config.method.arguments = {"feature_weight": 0.5, "temperature": 4.0}
    runs = plan(config, 1, (), parse_methods(["dml:temperature=3.0", "oekd:feature_weight=0.1"]))
    found = {run.method: run_config(config, run).method.to_dict() for run in runs}
    assert found["dml_temperature_3.0"] == {"name": "dml", "arguments": {"temperature": 3.0}}
    own = {"feature_weight": 0.1, "temperature": 4.0}
    assert found["oekd_feature_weight_0.1"] == {"name": "oekd", "arguments": own}
    with pytest.raises(ConfigError, match=r"'dml_feature_weight_1': .*feature_weight"):
        plan(config, 1, (), parse_methods(["dml:feature_weight=1"]))


def test_backbone_argument(config):
    (run,) = [r for r in plan(config, 1, (), {"deep": {"backbone.arguments.depth": 20}}) if
              r.method == "deep"]  # fmt: skip
    assert run_config(config, run).backbone.arguments.depth == 20


def test_mutual_learning_takes_nothing_from_the_study(config):
    """Whatever the study's own loss and ensemble are, its pairs are those of the paper."""
    (plain,) = [run for run in plan(config, 1, (2,), {}, [], [2]) if run.method == "mutual"]
    expected = run_config(config, plain)
    config.ensemble.pseudo_teacher_epochs = 3
    config.method.arguments = {
        "stem_gradient": "none", "teacher_weights": (1.0, 0.0, 0.0), "warmup_epochs": 2.0,
        "temperature": 4.0, "distillation_weight": 0.5,
    }  # fmt: skip
    (changed,) = [run for run in plan(config, 1, (2,), {}, [], [2]) if run.method == "mutual"]
    own = run_config(config, changed)
    for path in config_module.FIELDS:
        if path.startswith(("ensemble.", "method.")):
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
        (
            {"seeds": 1, "ablations": {"cold": {"method.arguments.temperature": 0.0}}},
            "Ablation 'cold': ",
        ),
        (
            {"seeds": 1, "ablations": parse_methods(["dml:temperature=0.0"])},
            r"^Method 'dml_temperature_0\.0': ",
        ),
        ({"seeds": 1, "offline": [1]}, "--offline must be numbers from 2 to 3"),
        ({"seeds": 1, "mutual": [2, 2]}, "each once"),
        ({"seeds": 1, "students": [2], "offline": [2]}, "--students must hold 1"),
        ({"seeds": 1, "ablations": {"a": {"epochs": 3}}}, r"Received: 'epochs'"),
        (
            {"seeds": 1, "ablations": {"a": {"method.arguments.temperature": -1.0}}},
            "method.arguments.temperature",
        ),
        # The field of version 0.1 means the same.
        ({"seeds": 1, "ablations": {"a": {"loss.temperature": -1.0}}}, "method.arguments.temper"),
    ],
)
def test_refusals(config, arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan(config, **arguments)
