"""Epochs in which every class is drawn equally often."""

import numpy as np


class BalancedOrder:
    """Orders of an epoch that hold every class equally often; as long as the data set.

    A class that has fewer examples than its part of the epoch is gone through several times, in
    another order each time; of one that has more, each epoch takes others.

    Args:
        labels: Class index of each example, (examples,).

    Example:
        >>> order = BalancedOrder(np.array([0, 0, 0, 1])).draw(np.random.default_rng(0))
    """

    def __init__(self, labels: np.ndarray):
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self.size, self.num_classes = len(labels), len(counts)
        most = -(-self.size // self.num_classes)
        rounds = -(-most // counts)
        members = np.argsort(classes, kind="stable")
        firsts = np.cumsum(counts) - counts
        # Candidates class by class and round by round; drawn are the first few of each class.
        parts = [
            np.tile(members[first : first + count], times)
            for first, count, times in zip(firsts, counts, rounds, strict=True)
        ]
        lengths = counts * rounds
        self.candidates = np.concatenate(parts)
        self.classes = np.repeat(np.arange(self.num_classes), lengths)
        self.places = np.concatenate([np.arange(length) for length in lengths])
        self.rounds = self.classes * (rounds.max() + 1.0) + self.places // counts[self.classes]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Positions of an epoch's examples, (examples,); other numbers than `draw_tensor`'s."""
        order = np.argsort(self.rounds + rng.random(len(self.rounds)))
        lucky = rng.permutation(self.num_classes) < self.size % self.num_classes
        parts = self.size // self.num_classes + lucky
        chosen = self.candidates[order][self.places < parts[self.classes]]
        return rng.permutation(chosen)

    def draw_tensor(self, seed: int, epoch):
        """Positions of an epoch's examples as a tensor, a function of (seed, epoch).

        Args:
            seed: Random seed.
            epoch: Number of the epoch, an int64 scalar tensor.

        Returns:
            An int64 tensor (examples,).
        """
        import tensorflow as tf

        shuffle = tf.random.experimental.stateless_shuffle
        epoch_seed = tf.stack([tf.cast(seed, tf.int64), epoch])
        ties, lot, last = tf.unstack(tf.random.split(tf.random.fold_in(epoch_seed, 3), 3))
        noise = tf.random.stateless_uniform((len(self.rounds),), ties, dtype=tf.float64)
        order = tf.argsort(tf.constant(self.rounds, tf.float64) + noise)
        lucky = shuffle(tf.range(self.num_classes), lot) < self.size % self.num_classes
        parts = self.size // self.num_classes + tf.cast(lucky, tf.int32)
        kept = tf.constant(self.places, tf.int32) < tf.gather(parts, self.classes)
        chosen = tf.boolean_mask(tf.gather(tf.constant(self.candidates, tf.int64), order), kept)
        return tf.ensure_shape(shuffle(chosen, last), (self.size,))
