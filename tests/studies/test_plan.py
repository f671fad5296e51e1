"""Which runs a study is made of, and what each changes."""

import re

import pytest

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError
from oekd_tf.studies.plan import (
    check_further,
    parse_ablations,
    parse_further,
    parse_methods,
    parse_offline,
    plan,
    run_config,
)


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
    config.ensemble.latency_ms = (0.2, 0.1)
    for run in plan(config, 1, (), {}, [], [2]):
        own = run_config(config, run)
        assert own.ensemble.int8_bytes == own.ensemble.latency_ms == ()
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
    asked = config_module.changed_arguments("oekd", offline.method.arguments.to_dict())
    assert asked == config_module.changed_arguments("oekd", config.method.arguments.to_dict())
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
    (fields,) = parse_methods(["my.module:Mine:T=(1,2)"]).values()
    assert fields == {"method.name": "my.module:Mine", "method.arguments.T": (1, 2)}
    # A method of the study's own names is told from them.
    assert list(parse_methods(["offline:teacher=t.keras"])) == ["by_offline_teacher_t.keras"]


def test_arguments_of_text_and_of_several_numbers():
    (text, both) = parse_methods(
        [
            "oekd:teacher_weights=cross_entropy",
            "oekd:teacher_weights=(3,1,1,1,1),divergence=standardized_kl",
        ]
    ).values()
    assert text == {"method.name": "oekd", "method.arguments.teacher_weights": "cross_entropy"}
    assert both == {
        "method.name": "oekd",
        "method.arguments.teacher_weights": (3, 1, 1, 1, 1),
        "method.arguments.divergence": "standardized_kl",
    }


def test_each_method_has_a_folder_of_its_own():
    texts = [
        "dml", "dml:temperature=3.0", "dml:temperature=-3", "dml:temperature=+3", "my.a:Mine",
        "my.b:Mine", "my.b:Mine:T=(1,2)", "my.b:Mine:T=[1, 2]", "my.b:Mine:T='1_2'",
        "my.b:Mine:Tü=1", "offline:teacher=runs/teacher", "offline:teacher=../runs teacher",
        "offline:teacher=..",
        "offline:teacher=t.png", "offline:teacher=" + "t" * 300, "offline:teacher=" + "t" * 301,
        "m:a_b=1", "m:a=b_1", "m:a='$(x)'",
    ]  # fmt: skip
    found = parse_methods(texts)
    assert len({name.lower() for name in found}) == len(texts)
    for name in found:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name), name
        assert not name.startswith(("ensemble", "alone", "offline", "mutual", "seed_"))
        assert not name.endswith((".png", ".json"))
    # A name is of its flag alone: a study goes on with fewer methods, or with more.
    for text, name in zip(texts, found, strict=True):
        assert text == "m:a=b_1" or list(parse_methods([text])) == [name]


@pytest.mark.parametrize(
    "texts",
    [
        ["dml", "dml"], ["dml:"], ["=3"], ["dml:temperature"], ["dml:temperature="],
        ["dml:temperature=,label_weight=1"], ["dml:temperature=1,temperature=2"], ["a\nb"], [""],
    ],
)  # fmt: skip
def test_methods_that_are_refused(texts):
    with pytest.raises(ConfigError, match=r"^--method must (be|have) .*Received: "):
        parse_methods(texts)


def test_another_method_has_its_own_arguments(config):
    """What the study's method is given does not reach another one, nor one of its own class."""
    config.method.arguments = {"warmup_epochs": 0.5, "temperature": 4.0}
    runs = plan(config, 1, (), parse_methods(["dml:temperature=3.0", "oekd:warmup_epochs=1"]))
    found = {run.method: run_config(config, run).method.to_dict() for run in runs}
    assert found["dml_temperature_3.0"] == {"name": "dml", "arguments": {"temperature": 3.0}}
    own = {"warmup_epochs": 1}
    assert found["oekd_warmup_epochs_1"] == {"name": "oekd", "arguments": own}
    ablations = parse_ablations(["heavy:method.arguments.label_weight=1"])
    (_, *_, heavy) = plan(config, 1, (), ablations)
    arguments = run_config(config, heavy).method.arguments.to_dict()
    assert arguments == {"warmup_epochs": 0.5, "temperature": 4.0, "label_weight": 1}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["dmll"], r"--method=dmll: config\.method\.name must be one of .*Did you mean 'dml'\?"),
        (["no.such:Class"], r"--method=no\.such:Class: config\.method\.name .*No module named"),
        (["dml:temprature=1"], r"--method=dml:temprature=1: .*Did you mean temperature\? Received"),
        (
            ["labels", "dml:temperature=0"],
            r"--method=dml:temperature=0: config\.method\.arg.*above 0",
        ),
        (
            ["oekd:teacher_weights=(1,1)"],
            r"--method=oekd:teacher_weights=\(1, 1\): .*teacher_weights must be .*3 numbers",
        ),
        (["oekd:warmup_epochs=8"], r"--method=oekd:warmup_epochs=8: .*at most .* 7\. Received: 8"),
        (
            ["dml:temperature=3", "dml:temperature=3.0,stem_gradient=all"],
            r"--method must be given once .* --method=dml:temperature=3\.0,stem_gradient=all, "
            "which means the same as --method=dml:temperature=3$",
        ),
        (["labels", "oekd_tf.methods:Labels"], ".*, which means the same as --method=labels"),
        (["oekd"], ".* --method=oekd, which means the same as the study's own method"),
    ],
)
def test_methods_that_the_study_cannot_have(config, texts, message):
    """One line that names the flag, also where budgets leave the widths to be found."""
    with pytest.raises(ConfigError, match=f"^{message}") as refused:
        plan(config, 1, (), parse_methods(texts))
    assert "\n" not in str(refused.value)
    config.ensemble.widths = config_module.default_config().ensemble.widths
    config.ensemble.int8_bytes = (30_000, 20_000)
    with pytest.raises(ConfigError, match=f"^{message}"):
        check_further(config, parse_methods(texts))


def test_methods_beside_ablations():
    assert list(parse_further(["dml"], ["T4:method.arguments.temperature=4"])) == ["dml", "T4"]
    with pytest.raises(ConfigError, match=r"'dml' beside --method=dml$"):
        parse_further(["dml"], ["dml:method.name=dml"])


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
            "^--ablation=cold: ",
        ),
        (
            {"seeds": 1, "ablations": parse_methods(["dml:temperature=0.0"])},
            r"^--method=dml:temperature=0\.0: ",
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


def test_offline_distillation_has_settings_of_its_own(config):
    own = parse_offline("temperature=4,label_weight=0.1")
    assert own == {"temperature": 4, "label_weight": 0.1}
    assert parse_offline("") == {}
    runs = plan(config, 1, (), {}, [3], [3], own)
    changed = {
        run.method: config_module.changed_arguments(
            "oekd", run_config(config, run).method.arguments.to_dict()
        )
        for run in runs
        if run.method != "mutual"
    }
    assert changed["offline"] == {**changed["ensemble"], "temperature": 4, "label_weight": 0.1}
    assert changed["alone"] == changed["ensemble"]


@pytest.mark.parametrize(
    "text", ["temperature", "T=1", "temperature=hot", "temperature=1,temperature=2"]
)
def test_bad_settings_of_offline_distillation(text):
    with pytest.raises(ConfigError, match=r"--offline_arguments must be .* Received: "):
        parse_offline(text)


def test_settings_of_offline_distillation_obey_the_rules(config):
    with pytest.raises(ConfigError, match=r"--offline_arguments: .*temperature must be"):
        plan(config, 1, (), {}, [3], [], {"temperature": -1})


def test_settings_of_offline_distillation_are_for_someone(config):
    with pytest.raises(ConfigError, match=r"without --offline, .* Received: {'temperature': 4}"):
        plan(config, 1, (), {}, [], [3], {"temperature": 4})
