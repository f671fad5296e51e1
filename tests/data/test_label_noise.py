"""Training labels that are wrong on purpose."""

import numpy as np
import pytest

import oekd_tf
from oekd_tf.data.label_noise import label_offsets


def test_share_and_kinds_of_wrong_labels():
    offsets = label_offsets(20_000, 4, share=0.3, seed=0)
    assert (offsets != 0).mean() == pytest.approx(0.3, abs=0.01)
    # Each of the other three classes a third of the time.
    np.testing.assert_allclose(np.bincount(offsets)[1:] / (offsets != 0).sum(), 1 / 3, atol=0.02)
    np.testing.assert_array_equal(offsets, label_offsets(20_000, 4, share=0.3, seed=0))
    assert (offsets != label_offsets(20_000, 4, share=0.3, seed=1)).any()
    assert not label_offsets(100, 4, share=0.0, seed=0).any()


@pytest.mark.parametrize(
    ("classes", "share", "rule"),
    [(4, 1.0, "at least 0 and below 1"), (4, -0.1, "at least 0"), (1, 0.2, "must be 0 with one")],
)
def test_refusals(classes, share, rule):
    with pytest.raises(ValueError, match=f"label_noise must be .*{rule[-5:]}.*Received: {share}"):
        label_offsets(10, classes, share, seed=0)


def test_the_same_examples_are_wrong_in_every_epoch_and_order(rng):
    # The image tells which example it is.
    images = np.tile(np.arange(40, dtype=np.uint8)[:, None, None, None], (1, 8, 8, 1))
    labels = np.arange(40) % 4
    data = oekd_tf.data.load((images, labels), validation_fraction=0.25)

    def epoch(**arguments):
        batches = data.train(data.num_train, augmentation=(), label_noise=0.5, **arguments)
        pairs = {}
        for pixels, given in batches.take(1).as_numpy_iterator():
            pairs |= dict(zip(pixels[:, 0, 0, 0].tolist(), given.tolist(), strict=True))
        return pairs

    seen = epoch(seed=0)
    assert seen == epoch(seed=1) == epoch(seed=0, first_epoch=5)
    assert seen != epoch(seed=0, noise_seed=1)
    offsets = label_offsets(40, 4, share=0.5, seed=0)
    assert seen == {n: (labels[n] + offsets[n]) % 4 for n in seen}
    assert 0 < sum(seen[n] != labels[n] for n in seen) < len(seen)
    # Others are told what is right.
    for pixels, given in data.validation(10).as_numpy_iterator():
        np.testing.assert_array_equal(labels[pixels[:, 0, 0, 0]], given)


def test_pairs_are_mistaken_for_the_next_class():
    offsets = label_offsets(20_000, 4, share=0.3, seed=0, kind="pair")
    assert set(offsets) == {0, 1}
    # Which labels are wrong does not depend on the kind.
    np.testing.assert_array_equal(offsets != 0, label_offsets(20_000, 4, share=0.3, seed=0) != 0)
    with pytest.raises(ValueError, match="label_noise_kind must be one of symmetric, pair"):
        label_offsets(10, 4, share=0.3, seed=0, kind="pairs")
