"""What is done to training examples on purpose is said."""

import pytest

from oekd_tf.config import default_config
from oekd_tf.training.stress import stress_notes


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({}, []),
        ({"label_noise": 0.25, "label_noise_kind": "pair"},
         ["25 % of the training labels are replaced by the next class"]),
        ({"label_noise": 0.4, "imbalance": 100.0},
         ["40 % of the training labels are replaced by another class",
          "a long tail: the first class keeps 100 times as many training examples as the last"]),
        ({"examples_per_class": 1000}, ["at most 1,000 training examples of a class"]),
    ],
)  # fmt: skip
def test_notes(fields, notes):
    config = default_config()
    for name, value in fields.items():
        config.data[name] = value
    assert stress_notes(config) == notes
