import numpy as np
import pytest

from oekd_tf.models.optimizers import schedules


def test_constant():
    assert schedules.constant(0.3) == 0.3


def test_step_decay_falls_at_its_boundaries():
    schedule = schedules.step_decay(0.1, [200, 300], 0.1)
    values = [float(schedule(step)) for step in (0, 199, 200, 299, 300, 999)]
    np.testing.assert_allclose(values, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-6)


def test_step_decay_without_boundaries_is_constant():
    assert schedules.step_decay(0.1, []) == 0.1


@pytest.mark.parametrize("boundaries", [[3, 2], [2, 2], [0, 5]])
def test_step_decay_boundaries_must_rise(boundaries):
    with pytest.raises(ValueError, match="Boundaries must rise"):
        schedules.step_decay(0.1, boundaries)


def test_cosine_without_warmup():
    schedule = schedules.cosine(0.2, steps=100)
    values = [float(schedule(step)) for step in (0, 25, 50, 100, 200)]
    expected = [0.2, 0.1 * (1 + np.sqrt(0.5)), 0.1, 0.0, 0.0]
    np.testing.assert_allclose(values, expected, atol=1e-7)


def test_cosine_with_warmup_and_floor():
    schedule = schedules.cosine(0.2, steps=110, warmup_steps=10, final_fraction=0.1)
    values = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(values, [0.0, 0.1, 0.2, 0.11, 0.02], atol=1e-7)


def test_warmup_must_be_shorter_than_training():
    with pytest.raises(ValueError, match=r"shorter than the training, 10 steps.*Received: 10"):
        schedules.cosine(0.1, steps=10, warmup_steps=10)


def test_warmup_share():
    shares = [float(schedules.warmup_share(step, 4)) for step in (0, 1, 3, 4, 9)]
    assert shares == [0.0, 0.25, 0.75, 1.0, 1.0]
    assert schedules.warmup_share(0, 0) == 1.0
