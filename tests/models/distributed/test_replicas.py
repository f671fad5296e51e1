"""Two and four replicas against one device, on the same global batches."""

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import small_runs
from replica_cases import CASES

pytestmark = pytest.mark.integration


class Tolerance(NamedTuple):
    """Largest deviation from one device.

    Attributes:
        logs: Of losses, relative; accuracies deviate by none.
        weights: Of weights' changes; of gradients relative to the largest of their variable.
        evaluation: Of losses in evaluation, relative.
    """

    logs: float = 1e-5
    weights: float = 1e-5
    evaluation: float = 1e-4


# Sums in another order round otherwise: a few 1e-7 of a loss. What grows from there:
ROUNDING = Tolerance()
# A gradient of batch normalisation is a small difference of large sums.
GRADIENT = Tolerance(weights=2e-3)
# Adam divides by the gradient's size, so that a gradient that is only rounding moves a weight.
ADAM = Tolerance(weights=2e-3, evaluation=5e-3)
# Eleven bits, and eight.
FLOAT16 = Tolerance(logs=1e-3, weights=2e-3, evaluation=2e-3)
BFLOAT16 = Tolerance(logs=1e-2, weights=2e-2, evaluation=5e-2)

TOLERANCES = {
    **{name: GRADIENT for name in CASES if name.startswith("gradient")},
    "adam": ADAM,
    "keras_adam": ADAM,
    "mixed_float16": FLOAT16,
    "mixed_bfloat16": BFLOAT16,
}

# Replicas and the cases of the default run; all others are slow.
CHOSEN = {2: ["gradient", "adam", "uneven"]}
EVERYTHING = [
    (replicas, case)
    for replicas in (2, 4)
    for case in CASES
    if case not in (*CHOSEN.get(replicas, ()), "empty")
]


def results(replicas, cases, folder, **variables):
    output = folder / f"{replicas}.npz"
    script = str(small_runs.TESTS / "replica_cases.py")
    done = subprocess.run(
        [sys.executable, script, str(replicas), str(output), *cases],
        env=small_runs.environment(**variables), capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(output) as found:
        return dict(found)


def of_all(chosen, folder):
    """By number of replicas; one device runs every case that another runs."""
    cases = [case for case in CASES if any(case in some for some in chosen.values())]
    found = {1: results(1, cases, folder)}
    return found | {n: results(n, some, folder) for n, some in chosen.items()}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    return of_all(CHOSEN, tmp_path_factory.mktemp("replicas"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    rest = {n: [case for m, case in EVERYTHING if m == n] for n in (2, 4)}
    return of_all(rest, tmp_path_factory.mktemp("everything"))


def compare(found, replicas, case):
    tolerance = TOLERANCES.get(case, ROUNDING)
    names = [name for name in found[replicas] if name.startswith(f"{case}/")]
    assert len(names) > 40
    for name in names:
        one, other = found[1][name], found[replicas][name]
        kind = name.split("/")[1]
        if "accuracy" in name and "mixed" not in case and kind != "evaluation":
            np.testing.assert_allclose(other, one, atol=1e-6, err_msg=name)
        elif kind in ("epoch", "step"):
            np.testing.assert_allclose(other, one, rtol=tolerance.logs, atol=1e-6, err_msg=name)
        elif kind == "evaluation" and "accuracy" not in name:
            limit = tolerance.evaluation
            np.testing.assert_allclose(other, one, rtol=limit, atol=limit / 100, err_msg=name)
        elif kind == "gradient":
            scale = max(np.abs(one).max(), 1e-3)
            np.testing.assert_allclose(
                other / scale, one / scale, atol=tolerance.weights, err_msg=name
            )
        elif kind in ("weight", "statistics"):
            np.testing.assert_allclose(other, one, atol=tolerance.weights, err_msg=name)


@pytest.mark.parametrize(
    ("replicas", "case"), [(n, case) for n, cases in CHOSEN.items() for case in cases]
)
def test_as_on_one_device(chosen, replicas, case):
    compare(chosen, replicas, case)


@pytest.mark.slow
@pytest.mark.parametrize(("replicas", "case"), EVERYTHING)
def test_every_case(everything, replicas, case):
    compare(everything, replicas, case)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_a_replica_without_an_example(replicas, tmp_path):
    # TensorFlow's oneDNN convolutions fail there.
    off = {"TF_ENABLE_ONEDNN_OPTS": "0"}
    found = {n: results(n, ["empty"], tmp_path, **off) for n in (1, replicas)}
    compare(found, replicas, "empty")
