"""Names of TensorFlow that are not public, all in one place; each has a test."""

from typing import Any

from tensorflow.python.eager import context


def start_coordination(register_seconds: int, heartbeat_seconds: int) -> None:
    """Lets several hosts watch each other, unless they do so already.

    TensorFlow's own limits are an hour to come and no end to wait for one that is gone.

    Args:
        register_seconds: How long the first host waits for the last.
        heartbeat_seconds: After how long a host that does not answer counts as dead.
    """
    if context.context().coordination_service is None:
        context.context().configure_coordination_service(
            service_type="standalone",
            service_leader="/job:worker/replica:0/task:0",
            cluster_register_timeout_in_ms=1000 * register_seconds,
            heartbeat_timeout_in_ms=1000 * heartbeat_seconds,
        )


def has_merge_call(strategy: Any) -> bool:
    """Whether replicas can meet within a step; those that XLA compiles, as on a TPU, cannot."""
    return strategy.extended._use_merge_call()
