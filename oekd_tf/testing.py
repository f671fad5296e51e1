"""What every method must pass, the user's own included.

    oekd_tf.testing.check_method("oekd")
    oekd_tf.testing.check_method("my_package.mine:Mine", {"temperature": 3.0})

Each check trains an ensemble of three tiny students on random images for a few steps. Those that
need other devices or another backend run in a process of their own.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from oekd_tf import methods
from oekd_tf.backbones.backbone import Backbone, Branch, scale_channels
from oekd_tf.core.processes import ProcessPool
from oekd_tf.core.types import Tensor
from oekd_tf.core.variables import as_array
from oekd_tf.models.online_ensemble import OnlineEnsemble

_CLASSES = 4
_SHAPE = (8, 8, 3)
_STEPS = 4


@keras.saving.register_keras_serializable("oekd_tf.testing")
class SmoothCnn(Backbone):
    """A network for checks: two blocks of a convolution and tanh, with no kink anywhere.

    Args:
        norm: Whether each convolution is followed by a batch normalisation.
        synchronized_batch_norm: Batch statistics over all replicas.
    """

    def __init__(self, norm: bool = False, synchronized_batch_norm: bool = False):
        self.norm = norm
        self.synchronized_batch_norm = synchronized_batch_norm

    def stem(self, images: Tensor) -> Tensor:
        layer = keras.layers.Conv2D(4, 3, padding="same", activation="tanh", name="stem_conv")
        return layer(images)

    def branch(self, stem_output: Tensor, width: float, name: str) -> Branch:
        x, blocks = stem_output, []
        for number, full in enumerate((8, 12), start=1):
            channels = scale_channels(full, width)
            prefix = f"{name}_block_{number}"
            x = keras.layers.Conv2D(channels, 3, 2, padding="same", name=prefix)(x)
            if self.norm:
                x = keras.layers.BatchNormalization(
                    momentum=0.5, synchronized=self.synchronized_batch_norm, name=f"{prefix}_norm"
                )(x)
            x = keras.layers.Activation("tanh", name=f"{prefix}_tanh")(x)
            blocks.append(x)
        return Branch(tuple(blocks), keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x))


@dataclasses.dataclass(frozen=True)
class _Case:
    """A method by name and arguments, so that another process can make it too."""

    name: str
    arguments: Mapping[str, Any]
    widths: Sequence[float]

    def ensemble(
        self, *, norm: bool = True, optimizer: Any = None, eager: bool = False, **arguments: Any
    ) -> Any:
        keras.utils.set_random_seed(0)
        backbone = arguments.pop("backbone", SmoothCnn(norm=norm))
        method = methods.get(self.name, **self.arguments)
        made = OnlineEnsemble(backbone, _SHAPE, _CLASSES, self.widths, method=method, **arguments)
        # A step that is not traced is quicker where there are few.
        made.compile(optimizer or keras.optimizers.SGD(0.05), jit_compile=False, run_eagerly=eager)
        made.plan(steps_per_epoch=_STEPS, epochs=2)
        return made

    def images(self, views: bool, count: int = 8 * _STEPS) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        shape = (count, len(self.widths), *_SHAPE) if views else (count, *_SHAPE)
        return rng.integers(0, 256, shape, np.uint8), rng.integers(0, _CLASSES, count)

    def held_out(self, ensemble: Any) -> dict[str, Any]:
        """Validation data as an argument of `fit`, for a method that cannot do without."""
        if not ensemble.method.needs_held_out:
            return {}
        return {"validation_data": self.images(views=False, count=8)}


def check_method(
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    widths: Sequence[float] = (1.0, 0.5, 0.25),
    only: Sequence[str] | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, str]:
    """Checks a method; raises at the first thing that is not as it must be.

    Args:
        name: Name of the method, or "module:Class" for one of one's own.
        arguments: Arguments of its class, such as JSON can hold.
        widths: Widths of the students.
        only: Names of `CHECKS` to run; all if None.
        log: Called with a line before and after each check, some of which take a minute or two.

    Returns:
        For each check "passed", or "skipped: " and why.

    Raises:
        AssertionError: A check failed; the message says which, and how.
        ValueError: There is no such method or check.

    Example:
        >>> oekd_tf.testing.check_method("dml", {"temperature": 2.0})["gradients"]
        'passed'
    """
    case = _Case(name, dict(arguments or {}), tuple(widths))
    methods.method_class(name)
    found = {}
    checks = list(only or CHECKS)
    for check in checks:
        if check not in CHECKS:
            raise ValueError(f"A check must be one of {', '.join(CHECKS)}. Received: {check!r}")
    for number, check in enumerate(checks, start=1):
        log(f"{name}, check {number} of {len(checks)}: {check} ...")
        begun = time.perf_counter()
        try:
            found[check] = CHECKS[check](case) or "passed"
        except AssertionError as error:
            raise AssertionError(f"{name}: check {check!r} failed: {error}") from error
        except Exception as error:
            error.add_note(f"raised in check {check!r} of the method {name!r}")
            raise
        log(f"  {found[check]} ({time.perf_counter() - begun:.0f} s)")
    return found


def check_gradients(case: _Case) -> None:
    """The gradient of the loss is its finite difference, what is stopped held constant.

    For each student, the stem and the method's own variables, the loss is moved a little along
    the gradient: the change must be the gradient's squared norm. Where the gradient is zero the
    loss must not move. A method must use `keras.ops.stop_gradient` for its targets.
    """
    import tensorflow as tf

    ensemble = case.ensemble(norm=False)
    images, labels = case.images(ensemble.method.views == "students", 8)
    images, labels = tf.constant(images), tf.constant(labels)
    weights = ensemble.method.loss_weights(methods.Progress())
    targets: list[Tensor] = []

    def loss(replay: bool) -> Tensor:
        with _stopped_gradients(targets, replay):
            outputs = ensemble(images, training=True, with_parts=True)
            terms = ensemble.loss_terms(labels, outputs, images=images, training=True)
        return sum(weight * terms[name] for name, weight in weights.items())

    variables = ensemble.trainable_variables
    state = [(v, v.numpy()) for v in ensemble.variables]
    with tf.GradientTape() as tape:
        value = loss(replay=False)
    gradients = dict(zip(map(id, variables), tape.gradient(value, variables), strict=True))
    groups = {
        "the method": ensemble.method.trainable_variables,
        **{s.name: s.trainable_variables for s in ensemble.students},
    }
    for name, group in groups.items():
        moved = [(v, gradients[id(v)]) for v in group if gradients[id(v)] is not None]
        norm = float(np.sqrt(sum(np.sum(np.square(g)) for _, g in moved)))
        rng = np.random.default_rng(0)
        # No gradient: any direction must leave the loss as it is.
        directions = [
            rng.normal(size=v.shape) if norm < 1e-6 else np.asarray(gradients[id(v)])
            for v in group
            if norm < 1e-6 or gradients[id(v)] is not None
        ]
        expected = norm**2 if norm >= 1e-6 else 0.0
        # The loss may be so curved that the longer step says nothing.
        for length in (3e-3, 1e-3, 3e-4):
            step = length / max(norm, 1e-3)
            differences = []
            for sign in (1, -1):
                chosen = group if norm < 1e-6 else [v for v, _ in moved]
                for variable, direction in zip(chosen, directions, strict=True):
                    variable.assign_add(np.float32(sign * step * direction))
                differences.append(float(loss(replay=True)))
                for variable, old in state:
                    variable.assign(old)
            change = (differences[0] - differences[1]) / (2 * step)
            if abs(change - expected) <= 0.03 * expected + 3e-3 * max(norm, 1e-2):
                break
        else:
            raise AssertionError(
                f"moving {name} along its gradient changes the loss by {change:.6g}, the gradient "
                f"says {expected:.6g}"
            )


def check_terms(case: _Case) -> None:
    """Terms have the names of the weights, are finite and float32, and are logged by name."""
    ensemble = case.ensemble()
    views = ensemble.method.views == "students"
    images, labels = case.images(views)
    history = ensemble.fit(
        images, labels, batch_size=8, verbose=0, **case.held_out(ensemble)
    ).history
    names = {"loss", *ensemble.method.term_names, "teacher_accuracy"}
    missing = names - history.keys()
    assert not missing, f"the logs lack {', '.join(sorted(missing))}"
    for name, values in history.items():
        assert np.isfinite(values).all(), f"{name} is {values}"
    plain, labels = case.images(views=False)
    outputs = ensemble(plain, training=False, with_parts=True)
    assert outputs["teacher"].shape == (len(plain), _CLASSES), (
        "the teacher's logits have another shape"
    )
    for name, term in ensemble.loss_terms(labels, outputs, images=plain).items():
        assert not len(term.shape), f"{name} is not one value an example, nor a scalar"
        assert keras.backend.standardize_dtype(term.dtype) == "float32", f"{name} is {term.dtype}"


def check_saving(case: _Case) -> None:
    """A saved ensemble is the same after loading, optimizer included."""
    ensemble = case.ensemble(optimizer="adam", eager=True)
    images, labels = case.images(ensemble.method.views == "students")
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, **case.held_out(ensemble)}
    ensemble.fit(images, labels, **arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ensemble.keras"
        ensemble.save(path)
        loaded = keras.models.load_model(path)
    own, other = ensemble.method.get_config(), loaded.method.get_config()
    assert json.dumps(own, default=str) == json.dumps(other, default=str), (
        f"its config is {other} after loading, not {own}"
    )
    for model in (ensemble, loaded):
        model.fit(images, labels, **arguments)
    _assert_same(ensemble, loaded, atol=1e-6, what="trained on after loading")


def check_resume(case: _Case) -> None:
    """From a checkpoint within an epoch training goes on bit for bit."""
    from oekd_tf.training.callbacks import checkpoint_files

    images, labels = case.images(case.ensemble().method.views == "students")
    batches = [(images[i : i + 8], labels[i : i + 8]) for i in range(0, len(images), 8)]
    whole = case.ensemble(optimizer="adam", eager=True)
    for batch in batches:
        whole.train_on_batch(*batch)
    first, second = (
        case.ensemble(optimizer="adam", eager=True),
        case.ensemble(optimizer="adam", eager=True),
    )
    for batch in batches[:2]:
        first.train_on_batch(*batch)
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint_files.save(folder, first, checkpoint_files.Position(0, 2))
        checkpoint_files.load(path, second)
    for batch in batches[2:]:
        second.train_on_batch(*batch)
    _assert_same(whole, second, atol=0.0, what="resumed from a checkpoint")


def check_refused_steps(case: _Case) -> None:
    """A step that is refused, or skipped by a loss scale, leaves the method as it was."""
    ensemble = case.ensemble(eager=True)
    views = ensemble.method.views == "students"
    images, labels = case.images(views, 8)
    ensemble.train_on_batch(images, labels)
    before = [_array(v) for v in (*ensemble.variables, *ensemble.optimizer.variables)]
    wrong = labels.copy()
    wrong[3] = _CLASSES
    try:
        ensemble.train_on_batch(images, wrong)
    except ValueError:
        pass
    else:
        raise AssertionError("a label out of range was not refused")
    after = [_array(v) for v in (*ensemble.variables, *ensemble.optimizer.variables)]
    for old, new, variable in zip(before, after, ensemble.variables, strict=False):
        assert np.array_equal(old, new), f"a refused step changed {variable.path}"
    scaled = case.ensemble(dtype="mixed_float16", eager=True)
    scaled.train_on_batch(images, labels)
    kept = [*scaled.trainable_variables, *scaled.non_trainable_variables]
    before = [_array(v) for v in kept]
    # So large that half precision's gradients overflow, while the loss itself is finite.
    scaled.optimizer.dynamic_scale.assign(2.0**100)
    scaled.train_on_batch(images, labels)
    assert float(_array(scaled.optimizer.dynamic_scale)) == 2.0**99, "no step was skipped"
    for variable, old in zip(kept, before, strict=True):
        assert np.array_equal(_array(variable), old), (
            f"a step that the loss scale skipped changed {variable.path}"
        )


def check_mixed_precision(case: _Case) -> None:
    """Under half precision logits and terms are float32, and training goes on."""
    for policy in ("mixed_float16", "mixed_bfloat16"):
        ensemble = case.ensemble(dtype=policy, eager=True)
        images, labels = case.images(ensemble.method.views == "students")
        history = ensemble.fit(
            images, labels, batch_size=8, verbose=0, **case.held_out(ensemble)
        ).history
        assert np.isfinite(history["loss"]).all(), f"under {policy} the loss is {history['loss']}"
        plain, labels = case.images(views=False)
        outputs = ensemble(plain, with_parts=True)
        for name in (*ensemble.output_names,):
            dtype = keras.backend.standardize_dtype(outputs[name].dtype)
            assert dtype == "float32", f"under {policy} the logits of {name} are {dtype}"
        for name, term in ensemble.loss_terms(labels, outputs, images=plain).items():
            dtype = keras.backend.standardize_dtype(term.dtype)
            assert dtype == "float32", f"under {policy} {name} is {dtype}"


def check_exported(case: _Case) -> None:
    """What is exported are plain networks, without any of the method's variables."""
    ensemble = case.ensemble()
    own = {id(v) for v in ensemble.method.variables}
    models = ensemble.exported_models()
    assert models, "nothing is exported"
    for model in models:
        shape = (tuple(model.input_shape), tuple(model.output_shape))
        assert shape == ((None, *_SHAPE), (None, _CLASSES)), f"{model.name} maps {shape}"
        assert not any(id(v) in own for v in model.variables), (
            f"{model.name} holds variables of the method"
        )


def check_replicas(case: _Case) -> None:
    """Two replicas train as one device does."""
    _in_process("_replicas", case, {})


def check_jax(case: _Case) -> str | None:
    """Under JAX training gives the weights that it gives under TensorFlow."""
    if importlib.util.find_spec("jax") is None:
        return "skipped: JAX is not installed"
    with tempfile.TemporaryDirectory() as folder:
        environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
        _in_process("_train_under_jax", case, environment, folder)
        ensemble = keras.models.load_model(Path(folder) / "initial.keras")
        ensemble.plan(steps_per_epoch=_STEPS, epochs=2)
        _train_for_jax(ensemble, case)
        with np.load(Path(folder) / "trained.npz") as arrays:
            stored = [arrays[name] for name in arrays.files]
    for variable, other in zip(ensemble.variables, stored, strict=True):
        if variable.name != "seed_generator_state":
            difference = float(np.abs(_array(variable) - other).max(initial=0.0))
            assert difference < 2e-3, f"{variable.path} differs by {difference:.2g} under JAX"
    return None


CHECKS: dict[str, Callable[[_Case], str | None]] = {
    "terms": check_terms,
    "gradients": check_gradients,
    "saving": check_saving,
    "resume": check_resume,
    "refused_steps": check_refused_steps,
    "mixed_precision": check_mixed_precision,
    "exported": check_exported,
    "replicas": check_replicas,
    "jax": check_jax,
}


@contextlib.contextmanager
def _stopped_gradients(targets: list[Tensor], replay: bool) -> Iterator[None]:
    """Keeps what `stop_gradient` stops, or gives it back in the same order."""
    original = keras.ops.stop_gradient
    waiting = iter(list(targets))

    def stop(value: Tensor) -> Tensor:
        if replay:
            return next(waiting)
        targets.append(original(value))
        return targets[-1]

    keras.ops.stop_gradient = stop
    try:
        yield
    finally:
        keras.ops.stop_gradient = original


def _array(variable: Any) -> np.ndarray:
    return as_array(variable).copy()


def _assert_same(one: Any, other: Any, atol: float, what: str) -> None:
    for left, right in zip(one.variables, other.variables, strict=True):
        if left.name == "seed_generator_state":
            continue
        difference = float(np.abs(_array(left) - _array(right)).max(initial=0.0))
        assert difference <= atol, f"{left.path} differs by {difference:.2g} when {what}"


def _train_for_jax(ensemble: Any, case: _Case) -> None:
    images, labels = case.images(ensemble.method.views == "students")
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0}
    ensemble.fit(images, labels, **arguments, **case.held_out(ensemble))


def _train_under_jax(case: _Case, folder: str) -> None:
    ensemble = case.ensemble()
    # As users train, and as arrays are taken over.
    ensemble.jit_compile = True
    ensemble.save(Path(folder) / "initial.keras")
    _train_for_jax(ensemble, case)
    np.savez(Path(folder) / "trained.npz", *(_array(v) for v in ensemble.variables))


@functools.cache
def _two_replicas() -> Any:
    # A process can have one such strategy.
    from oekd_tf.models.distributed.strategy import make_strategy

    return make_strategy("mirrored", logical_cpus=2)


def _replicas(case: _Case) -> None:
    import tensorflow as tf

    strategy = _two_replicas()
    results = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        with scope:
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            ensemble = case.ensemble(
                backbone=SmoothCnn(norm=True, synchronized_batch_norm=replicas > 1)
            )
        data = tf.data.Dataset.from_tensor_slices(
            case.images(ensemble.method.views == "students")
        ).batch(8)
        logs = ensemble.fit(data, verbose=0, **case.held_out(ensemble)).history
        values = [_array(v) for v in ensemble.variables]
        results.append((logs, values, ensemble.variables))
    (logs, values, variables), (other_logs, other_values, _) = results
    for name in logs:
        # A share of each batch has statistics of its own where they are not synchronized.
        assert np.allclose(logs[name], other_logs[name], rtol=1e-3, atol=1e-4), (
            f"{name} is {other_logs[name]} on two replicas, {logs[name]} on one device"
        )
    for value, other, variable in zip(values, other_values, variables, strict=True):
        if variable.name == "seed_generator_state":
            continue
        difference = float(np.abs(value - other).max(initial=0.0))
        assert difference < 1e-3, f"{variable.path} differs by {difference:.2g} on two replicas"


def _in_process(function: str, case: _Case, variables: Mapping[str, str], *more: str) -> None:
    """Runs a function of this module on a case in a process of its own."""
    given = json.dumps([function, dataclasses.asdict(case), list(more)])
    pool = ProcessPool()
    process = pool.start(
        "oekd_tf.testing", given, variables={"TF_CPP_MIN_LOG_LEVEL": "3", **variables},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _, messages = process.communicate()
    lines = [line for line in messages.splitlines() if line.strip()]
    assert pool.wait(process) == 0, lines[-1] if lines else f"exit code {process.returncode}"


if __name__ == "__main__":
    chosen, values, rest = json.loads(sys.argv[1])
    # As the module that others import, so that the network is registered once.
    from oekd_tf import testing

    getattr(testing, chosen)(testing._Case(**values), *rest)
