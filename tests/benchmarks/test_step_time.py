"""What a training step is compared with."""

import importlib.util
from pathlib import Path

import networks
import pytest

from oekd_tf.models.size import count_flops

PATH = Path(__file__).parents[2] / "benchmarks" / "step_time.py"


@pytest.fixture(scope="module")
def step_time():
    spec = importlib.util.spec_from_file_location("step_time_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_training_flops_count_the_stem_once(step_time):
    students = networks.small_ensemble(widths=(1.0, 0.5)).students
    # 3×3 kernels: stem of 16×16 outputs, then two blocks of 8×8 and 4×4, then the classifier.
    stem = 2 * 16 * 16 * 9 * 3 * 8
    wide = 2 * (8 * 8 * 9 * 8 * 8 + 4 * 4 * 9 * 8 * 16 + 16 * 4)
    narrow = 2 * (8 * 8 * 9 * 8 * 4 + 4 * 4 * 9 * 4 * 8 + 8 * 4)
    assert step_time.training_flops(students[:1], 5) == 3 * 5 * (stem + wide)
    assert step_time.training_flops(students, 5) == 3 * 5 * (stem + wide + narrow)
    assert count_flops(*students) == sum(map(count_flops, students)) - stem


def test_shares_of_peak(step_time):
    # 1 GFLOP in 10 s against 4 GFLOP in 8 s; the processor took 10 s and 16 s.
    wall, work = step_time.shares_of_peak(10**9, (10.0, 10.0), 4 * 10**9, (8.0, 16.0))
    assert (wall, work) == (pytest.approx(0.2), pytest.approx(0.4))


def test_product_takes_time(step_time):
    multiply = step_time.product(512)
    multiply()
    wall, work = zip(*(multiply() for _ in range(5)), strict=True)
    assert 0 < min(wall) < 1
    # On 512 rows a product is longer than the clock of the processor is coarse.
    assert max(work) > 0
