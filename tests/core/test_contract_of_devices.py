"""What a device is told of a run's contract."""

from oekd_tf.core.contract import without_data

CONTRACT = {
    "oekd_tf": "0.2.0", "data": "signs", "class_names": ["stop", "go"], "image_shape": [8, 8, 3],
    "mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0], "class_counts": [5, 6], "preparation": None,
    "splits": {"train": {"examples": 11, "fingerprint": "0" * 64}},
}  # fmt: skip


def test_counts_splits_and_paths_of_the_machine_stay_at_home():
    own = {
        **CONTRACT, "teacher_logits": "0" * 64,
        "initial_weights": {"source": "/home/me/first", "sha256": "0" * 64, "slice": "l1"},
    }  # fmt: skip
    told = without_data(own)
    assert told == {**CONTRACT, "class_counts": None, "splits": None}
    # The run's own stays as it is.
    assert own["initial_weights"]["source"] == "/home/me/first"
