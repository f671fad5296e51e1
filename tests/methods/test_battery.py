"""Every method, with what it must pass; and that the battery finds what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import small_runs
from keras import ops

from oekd_tf import methods, testing
from oekd_tf.methods import Method
from oekd_tf.methods.parts import losses

OWN = ("Gated", "Averaged", "Views")
SLOW = ("replicas", "jax")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The path of a network that is a teacher to `offline`."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    images = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 3, activation="tanh")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(images, keras.layers.Dense(4)(x)).save(path)
    return str(path)


def name_of(method):
    return f"methods_for_tests:{method}" if method in OWN else method


@pytest.mark.parametrize(
    ("method", "check"),
    [
        # The code of all of them is that of one where arithmetic is in half precision.
        pytest.param(
            method, check,
            marks=[pytest.mark.slow] if check == "mixed_precision" and method != "oekd" else [],
        )
        for method in (*methods.names(), *OWN)
        for check in testing.CHECKS
        if check not in SLOW
    ],
)  # fmt: skip
def test_check(method, check, teacher):
    arguments = {"teacher": teacher} if method == "offline" else {}
    assert testing.check_method(name_of(method), arguments, only=[check]) == {check: "passed"}


# Each alone is checked by its own tests; here what they do to each other.
COMBINED = [
    ("oekd", {"teacher_weights": "cross_entropy", "features": "attention", "divergence": "dkd",
              "ema_decay": 0.9, "feature_blocks": [1]}),
    ("oekd", {"teacher_weights": "simplex", "features": "projected", "divergence": "nkd",
              "feature_schedule": "fade", "distillation_schedule": "linear"}),
    ("oekd", {"teacher_weights": "better", "features": "channel_mean",
              "divergence": "standardized_kl", "ema_decay": 0.99}),
    ("kdcl", {"target": "general", "features": "relative_mse"}),
    ("kdcl", {"target": "linear"}),
    ("labels", {"ema_decay": 0.9, "stem_gradient": "mean"}),
]  # fmt: skip


@pytest.mark.parametrize("check", ["gradients", pytest.param("resume", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", COMBINED, ids=lambda case: "-".join(map(str, case[1].values())))
def test_parts_together(case, check):
    assert testing.check_method(*case, only=[check]) == {check: "passed"}


# Methods with averages, batch statistics, weights of the whole batch, and validation data.
KEEP_STATE = [("one", {}), ("pcl", {}), COMBINED[1], COMBINED[3]]


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("which", ["keep_state", "all"])
def test_replicas(which, teacher):
    """In one process; `oekd` itself has tests/replica_cases.py."""
    given = {"offline": {"teacher": teacher}}
    everyone = [(name_of(m), given.get(m, {})) for m in (*methods.names(), *OWN)] + COMBINED
    cases = KEEP_STATE if which == "keep_state" else everyone
    script = Path(__file__).parent.parent / "replicas_of_methods.py"
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(cases)], capture_output=True, text=True,
        timeout=1200, check=False, env=small_runs.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("passed ")]
    assert passed == [f"passed {name} {json.dumps(given)}" for name, given in cases]


# In a process of its own, as a user has it; under JAX the others take minutes.
IN_A_PROCESS = [
    pytest.param(method, "jax", marks=[] if method == "oekd" else pytest.mark.slow)
    for method in (*methods.names(), *OWN)
]


@pytest.mark.integration
@pytest.mark.parametrize(("method", "check"), [("labels", "replicas"), *IN_A_PROCESS])
def test_check_in_a_process(method, check, teacher):
    arguments = {"teacher": teacher} if method == "offline" else {}
    found = testing.check_method(name_of(method), arguments, only=[check])
    assert found[check].startswith(("passed", "skipped: JAX is not installed"))


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("case", COMBINED, ids=lambda case: "-".join(map(str, case[1].values())))
def test_parts_together_under_jax(case):
    found = testing.check_method(*case, only=["jax"])["jax"]
    assert found.startswith(("passed", "skipped: JAX is not installed"))


@keras.saving.register_keras_serializable("oekd_tf_tests")
class WrongGradient(Method):
    """A gradient that is not that of its loss: the backward pass of a wrong formula."""

    def loss_weights(self, progress):
        return {"label_loss": 1.0}

    def terms(self, batch):
        @ops.custom_gradient
        def doubled(x):
            return (
                x,
                lambda *args, upstream=None: 2.0 * (upstream if upstream is not None else args[0]),
            )

        return {"label_loss": sum(batch.label_loss(doubled(z)) for z in batch.logits)}


@keras.saving.register_keras_serializable("oekd_tf_tests")
class WrongName(Method):
    def loss_weights(self, progress):
        return {"label_loss": 1.0}

    def terms(self, batch):
        return {"lable_loss": batch.label_loss(batch.logits[0])}


@keras.saving.register_keras_serializable("oekd_tf_tests")
class NotSummed(Method):
    def loss_weights(self, progress):
        return {"label_loss": 1.0}

    def terms(self, batch):
        return {"label_loss": batch.label_loss(ops.stack(list(batch.logits)))}


@keras.saving.register_keras_serializable("oekd_tf_tests")
class NotKept(Method):
    def __init__(self, power=2.0, **kwargs):
        super().__init__(**kwargs)
        self.exponent = power

    def loss_weights(self, progress):
        return {"label_loss": 1.0}

    def terms(self, batch):
        return {"label_loss": batch.label_loss(batch.logits[0])}


@keras.saving.register_keras_serializable("oekd_tf_tests")
class Forgetful(Method):
    """Does not keep its argument."""

    def __init__(self, temperature=2.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = temperature

    def loss_weights(self, progress):
        return {"label_loss": 1.0}

    def terms(self, batch):
        return {"label_loss": self.scale * batch.label_loss(batch.logits[0])}

    def get_config(self):
        return {"name": self.name}


def test_the_guides_example_passes(tmp_path, monkeypatch):
    """A method of one's own, as docs/method.md has it."""
    page = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
    code = page.split("```python\n")[1].partition("\n\n\nensemble = ")[0]
    assert len(code.splitlines()) <= 20
    (tmp_path / "of_the_guide.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    checks = ["terms", "gradients", "resume"]
    found = testing.check_method("of_the_guide:Wider", {"divergence": "dkd"}, only=checks)
    assert found == dict.fromkeys(checks, "passed")


class TestFindsWhatIsWrong:
    def test_a_gradient(self):
        with pytest.raises(AssertionError, match=r"check 'gradients' failed: moving student_1"):
            testing.check_method("test_battery:WrongGradient", only=["gradients"])

    def test_a_name(self):
        with pytest.raises(ValueError, match=r"names of loss_weights, label_loss.*lable_loss"):
            testing.check_method("test_battery:WrongName", only=["terms"])

    def test_a_term_with_a_row_for_each_student(self):
        with pytest.raises(ValueError, match=r"^terms must give one value an example, .*\(3, 8\)"):
            testing.check_method("test_battery:NotSummed", only=["terms"])

    def test_an_argument_that_is_not_saved(self):
        with pytest.raises(AssertionError, match=r"check 'saving' failed"):
            testing.check_method("test_battery:Forgetful", {"temperature": 3.0}, only=["saving"])

    def test_an_argument_that_is_not_kept(self):
        with pytest.raises(ValueError, match=r"^method must keep the arguments .*'power'"):
            testing.check_method("test_battery:NotKept", {"power": 2.0}, only=["terms"])

    def test_unknown(self):
        with pytest.raises(ValueError, match=r"A check must be one of terms, .*Received: 'all'"):
            testing.check_method("oekd", only=["all"])
        with pytest.raises(ValueError, match=r"A method must be one of cl_ilr, .*Received: 'none'"):
            testing.check_method("none")


def ensemble_of(method, **arguments):
    case = testing._Case(name_of(method), arguments, (1.0, 0.5, 0.25))
    return case, case.ensemble()


def test_gate_rows_sum_to_one_and_are_trained():
    case, ensemble = ensemble_of("Gated")
    images, labels = case.images(views=False)
    before = ensemble.method.gate.kernel.numpy()
    ensemble.fit(images, labels, batch_size=8, verbose=0)
    assert np.abs(ensemble.method.gate.kernel.numpy() - before).max() > 0
    outputs = ensemble(images, with_parts=True)
    logits = np.stack([outputs[s.name] for s in ensemble.students])
    parts = {n: outputs[n] for n in ("stem", "blocks", "features")}
    batch = methods.Batch(images=images, logits=list(logits), **parts)
    shares = np.asarray(ensemble.method.shares(batch))
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        outputs["teacher"], np.einsum("bs,sbc->bc", shares, logits), rtol=1e-4, atol=1e-5
    )


def test_moving_averages_by_hand():
    case, ensemble = ensemble_of("Averaged", decay=0.75)
    images, labels = case.images(views=False)
    student = ensemble.students[2]
    expected = [v.numpy() for v in student.trainable_variables]
    for start in (0, 8):
        ensemble.train_on_batch(images[start : start + 8], labels[start : start + 8])
        for average, variable in zip(expected, student.trainable_variables, strict=True):
            average += 0.25 * (variable.numpy() - average)
    for average, variable in zip(expected, ensemble.method.averages[2], strict=True):
        np.testing.assert_allclose(variable, average, rtol=1e-5, atol=1e-7)
    exported = ensemble.exported_models()[2]
    for average, variable in zip(expected, exported.trainable_variables, strict=True):
        np.testing.assert_allclose(variable, average, rtol=1e-5, atol=1e-7)
    assert np.abs(exported.trainable_variables[0] - student.trainable_variables[0]).max() > 0


def test_views_reach_their_students_and_epochs_are_told():
    case, ensemble = ensemble_of("Views")
    images, labels = case.images(views=True)
    outputs = ensemble(images[:4], with_parts=True)
    for index, student in enumerate(ensemble.students):
        np.testing.assert_allclose(
            outputs[student.name], student(images[:4, index]), rtol=1e-4, atol=1e-5
        )
    plain, plain_labels = case.images(views=False)
    ensemble.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    assert float(ensemble.method.epochs_seen) == 0
    ensemble.fit(
        images, labels, batch_size=8, epochs=2, verbose=0, validation_data=(plain, plain_labels)
    )
    assert float(ensemble.method.epochs_seen) == 2
    assert [model.name for model in ensemble.exported_models()] == ["student_3"]
    with pytest.raises(ValueError, match=r"shape \(batch, 3, 8, 8, 3\)"):
        ensemble.fit(plain, plain_labels, verbose=0)


def test_a_method_belongs_to_one_ensemble():
    from oekd_tf import OnlineEnsemble

    method = methods.OEKD()
    OnlineEnsemble(testing.SmoothCnn(), (8, 8, 3), 4, (1.0, 0.5), method=method)
    with pytest.raises(ValueError, match=r"method must be one of its own .*Received: one that"):
        OnlineEnsemble(testing.SmoothCnn(), (8, 8, 3), 4, (1.0, 0.5), method=method)


def test_names_are_found_from_the_files(tmp_path, monkeypatch):
    """A new method is a new file and no other change."""
    (tmp_path / "first_only.py").write_text(
        "import keras\n"
        "from oekd_tf.methods.parts.method import Method\n"
        "@keras.saving.register_keras_serializable('oekd_tf_tests')\n"
        "class FirstOnly(Method):\n"
        "    def loss_weights(self, progress):\n"
        "        return {'label_loss': 1.0}\n"
        "    def terms(self, batch):\n"
        "        return {'label_loss': batch.label_loss(batch.logits[0])}\n"
    )
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert "first_only" in methods.names()
    assert methods.FirstOnly.__name__ == "FirstOnly"
    assert isinstance(methods.get("first_only"), methods.FirstOnly)
    said = []
    checks = ["terms", "gradients", "saving"]
    found = testing.check_method("first_only", only=checks, log=said.append)
    assert [line for line in said if line.startswith("first_only, check ")] == [
        f"first_only, check {number} of 3: {check} ..." for number, check in enumerate(checks, 1)
    ]
    assert [line.split(" (")[0] for line in said[1::2]] == ["  passed"] * 3
    assert set(found.values()) == {"passed"}


def test_progress():
    progress = methods.Progress(step=30, steps_per_epoch=20, epochs=10)
    assert float(progress.epoch) == 1.5
    assert float(progress.fraction) == pytest.approx(0.15)
    assert float(progress.linear(3.0)) == 0.5
    assert float(progress.sigmoid(0.3)) == pytest.approx(np.exp(-5 * 0.25))
    assert methods.Progress().linear(3.0) == methods.Progress().sigmoid(0.3) == 1.0
    # Laine and Aila's ramp over 80 of 300 epochs, at epochs 0, 20, 40, 60 and 80.
    ramp = [
        float(methods.Progress(step=e, steps_per_epoch=1, epochs=300).sigmoid(80 / 300))
        for e in (0, 20, 40, 60, 80)
    ]
    np.testing.assert_allclose(ramp, [0.0067, 0.060, 0.287, 0.732, 1.0], atol=6e-4)


def test_losses_module_is_public():
    import oekd_tf

    assert oekd_tf.losses is losses
