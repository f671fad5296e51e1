"""Wrappers of private names of TensorFlow, all in one place; each has a test."""

from typing import Any

from tensorflow.python.eager import context


def start_coordination(register_seconds: int, heartbeat_seconds: int) -> None:
    """Starts the coordination service, by which hosts detect the loss of another.

    TensorFlow's defaults are an hour to register, and no timeout for a host that is lost.

    Args:
        register_seconds: Time within which all hosts must have started.
        heartbeat_seconds: Time without an answer after which a host counts as lost.
    """
    if not is_connected():
        context.context().configure_coordination_service(
            service_type="standalone",
            service_leader="/job:worker/replica:0/task:0",
            cluster_register_timeout_in_ms=1000 * register_seconds,
            heartbeat_timeout_in_ms=1000 * heartbeat_seconds,
        )


def is_connected() -> bool:
    """Whether this process has started the coordination service."""
    return context.context().coordination_service is not None


def has_merge_call(strategy: Any) -> bool:
    """Whether replicas can synchronise within a step; on a TPU, under XLA, they cannot."""
    return strategy.extended._use_merge_call()
