import json

import pytest

from oekd_tf.models.distributed.cluster import Cluster, from_environment


def read(cluster, kind, index):
    task = {"type": kind, "index": index}
    return from_environment({"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})})


def test_workers():
    found = read({"worker": ["a:1", "b:1"]}, "worker", 1)
    assert found == Cluster(("a:1", "b:1"), 1)
    assert not found.is_chief
    assert read({"worker": ["a:1", "b:1"]}, "worker", 0).is_chief


def test_a_chief_comes_first():
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert read(jobs, "chief", 0) == Cluster(("c:1", "a:1", "b:1"), 0)
    assert read(jobs, "worker", 0) == Cluster(("c:1", "a:1", "b:1"), 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "x"}}',
        '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_refusals(text):
    with pytest.raises(ValueError, match=r"^TF_CONFIG must be JSON like .*Received: ") as error:
        from_environment({"TF_CONFIG": text})
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_is_set():
    with pytest.raises(ValueError, match=r"TF_CONFIG must be JSON .*Received: ''"):
        from_environment({})
