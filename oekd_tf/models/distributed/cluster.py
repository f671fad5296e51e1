"""The cluster of hosts in `TF_CONFIG`."""

import dataclasses
import json
import os
from collections.abc import Mapping

_RULE = (
    "TF_CONFIG must be JSON like "
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
        workers: Addresses "host:port" of the workers, a "chief" first.
        index: Index of this process; 0 is the chief, the only one that writes files.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        return self.index == 0


def from_environment(environment: Mapping[str, str] | None = None) -> Cluster:
    """Reads and checks `TF_CONFIG`.

    Args:
        environment: Environment variables; the process's own if None.

    Returns:
        The cluster.

    Raises:
        ValueError: The variable is not set, is no JSON, or names no worker, an address twice, or a
            task that is not among the workers.

    Example:
        >>> from_environment({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, '
        ...                                '"task": {"type": "worker", "index": 1}}'}).index
        1
    """
    text = (os.environ if environment is None else environment).get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        jobs = {job: list(addresses) for job, addresses in config["cluster"].items()}
        task, index = config["task"]["type"], config["task"]["index"]
        chiefs, workers = jobs.pop("chief", []), jobs.pop("worker", [])
        index = int(index)
        own = {"chief": chiefs, "worker": workers}[task][index]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{_RULE}, the index below the number of its workers. Received: {text!r}"
        ) from error
    everyone = (*chiefs, *workers)
    addresses = all(isinstance(a, str) and a.rpartition(":")[2].isdigit() for a in everyone)
    if jobs or len(chiefs) > 1 or index < 0 or not addresses or len(set(everyone)) < len(everyone):
        raise ValueError(
            f"{_RULE}, each worker once, with its port, and at most one chief. Received: {text!r}"
        )
    return Cluster(everyone, everyone.index(own))
