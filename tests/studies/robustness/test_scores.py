"""Scores by hand: AUROC, energy, temperature, Brier, pruning, noise of the same frequencies."""

import numpy as np
import pytest
from networks import small_ensemble

from oekd_tf import robustness
from oekd_tf.studies.metrics import brier_score, expected_calibration_error


def test_auroc_against_all_pairs(rng):
    inside, outside = rng.integers(0, 6, 40) + 1.0, rng.integers(0, 6, 50)
    pairs = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    assert robustness.auroc(inside, outside) == pytest.approx(pairs.mean())
    assert robustness.auroc([2.0, 3.0], [0.0, 1.0]) == 1
    assert robustness.auroc([1.0], [1.0]) == 0.5


@pytest.mark.parametrize(("inside", "outside"), [([], [1.0]), ([1.0], []), ([[1.0]], [1.0])])
def test_auroc_of_nothing(inside, outside):
    with pytest.raises(ValueError, match="inside and outside must be scores, at least one each"):
        robustness.auroc(inside, outside)


def test_scores_of_logits():
    logits = np.array([[0.0, 0.0], [np.log(3), 0.0], [1000.0, 0.0]])
    np.testing.assert_allclose(robustness.top_probability(logits), [0.5, 0.75, 1.0])
    np.testing.assert_allclose(robustness.negative_energy(logits), [np.log(2), np.log(4), 1000.0])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_labels_were_drawn_with(rng, temperature):
    honest = rng.normal(0, 2, (20_000, 5))
    shares = np.exp(honest) / np.exp(honest).sum(-1, keepdims=True)
    labels = (shares.cumsum(-1) > rng.random((20_000, 1))).argmax(-1)
    logits = honest * temperature
    found = robustness.fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    assert expected_calibration_error(logits / found, labels) < 0.02


def test_a_temperature_has_its_bounds():
    # Always right: the surer the better.
    assert robustness.fit_temperature([[1.0, 0.0]], [0]) == pytest.approx(0.02, abs=0.01)


def test_a_temperature_of_what_is_no_number():
    with pytest.raises(ValueError, match="logits must be finite"):
        robustness.fit_temperature([[np.nan, 0.0]], [0])


def test_brier_score_by_hand():
    logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    # 0.3² + 0.2² + 0.1² and 0.1² + 0.8² + 0.9².
    assert brier_score(logits, [0, 2]) == pytest.approx((0.14 + 1.46) / 2)


def test_prune_by_hand():
    kernel = np.array([[3.0, -1.0], [0.5, -2.0]])
    np.testing.assert_array_equal(robustness.prune(kernel, 0.5), [[3, 0], [0, -2]])
    np.testing.assert_array_equal(robustness.prune(kernel.T, 0.5), [[3, 0], [0, -2]])
    np.testing.assert_array_equal(robustness.prune(kernel, 0.74), [[3, 0], [0, -2]])
    np.testing.assert_array_equal(robustness.prune(np.ones(4), 0.5), [1, 1, 0, 0])
    np.testing.assert_array_equal(robustness.prune(kernel, 0), kernel)
    assert not robustness.prune(kernel, 1).any()
    with pytest.raises(ValueError, match=r"share must be from 0 to 1. Received: 1.5"):
        robustness.prune(kernel, 1.5)


def test_only_kernels_are_pruned():
    student = small_ensemble().students[0]
    before, after = student.get_weights(), robustness.pruned_weights(student, 0.8)
    kernels = 0
    for variable, old, new in zip(student.weights, before, after, strict=True):
        if "kernel" in variable.name:
            kernels += 1
            assert (new == 0).sum() == int(0.8 * new.size)
            assert np.abs(new[new != 0]).min() >= np.abs(old[new == 0]).max()
        else:
            np.testing.assert_array_equal(old, new)
    assert kernels == 4


def test_noise_of_the_same_frequencies(rng):
    images = rng.integers(80, 176, (3, 16, 16, 3), dtype=np.uint8)
    noise = robustness.phase_noise(images)
    np.testing.assert_allclose(noise.mean((1, 2)), images.mean((1, 2)), atol=0.2)
    powers = [np.abs(np.fft.fft2(i.astype(float), axes=(1, 2))) for i in (images, noise)]
    np.testing.assert_allclose(*powers, atol=40)
    correlations = [
        np.corrcoef(*(array[n].ravel() for array in (images, noise)))[0, 1] for n in range(3)
    ]
    assert np.abs(correlations).max() < 0.2
