"""Devices and hosts of a run, with one interface for all backends."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import keras
from ml_collections import ConfigDict

from oekd_tf.core.errors import ConfigError, as_config_error


class Hosts(Protocol):
    """The devices and hosts that a run uses.

    Attributes:
        replicas: Number of replicas that train together.
        is_chief: Whether this process writes files and messages.
    """

    replicas: int
    is_chief: bool

    def scope(self) -> AbstractContextManager:
        """A context in which the model must be built."""

    def batches(self, make: Callable[[Any], Any]) -> Any:
        """Makes the data set for `fit` and `evaluate`, from a function of this host's share."""

    def evaluation_batch_size(self, examples: int, batch_size: int) -> int:
        """The batch size nearest to the given one that leaves no replica without an example."""

    def assert_same(self, **values: int) -> None:
        """Raises unless all hosts have the same values."""

    def make_any_host(self) -> Callable[[bool], bool]:
        """Makes a function of whether its argument is true on any host."""

    def watching(self) -> AbstractContextManager:
        """A context in which the loss of another host is an error of one line."""


class OneDevice:
    """The one device of a backend other than TensorFlow."""

    replicas = 1
    is_chief = True

    def scope(self) -> AbstractContextManager:
        return contextlib.nullcontext()

    def batches(self, make: Callable[[Any], Any]) -> Any:
        return make(None)

    def evaluation_batch_size(self, examples: int, batch_size: int) -> int:
        return min(batch_size, examples)

    def assert_same(self, **values: int) -> None:
        del values

    def make_any_host(self) -> Callable[[bool], bool]:
        return bool

    def watching(self) -> AbstractContextManager:
        return contextlib.nullcontext()


class TensorFlowHosts:
    """The devices of a `tf.distribute` strategy.

    Args:
        strategy: The strategy.
    """

    def __init__(self, strategy: Any):
        from oekd_tf.models.distributed import strategy as functions

        self.strategy = strategy
        self.replicas = strategy.num_replicas_in_sync
        self.is_chief = functions.is_chief(strategy)
        self._functions = functions

    def scope(self) -> AbstractContextManager:
        return self.strategy.scope()

    def batches(self, make: Callable[[Any], Any]) -> Any:
        return self._functions.distribute(self.strategy, make)

    def evaluation_batch_size(self, examples: int, batch_size: int) -> int:
        return self._functions.evaluation_batch_size(self.strategy, examples, batch_size)

    def assert_same(self, **values: int) -> None:
        self._functions.assert_same_on_all_hosts(self.strategy, **values)

    def make_any_host(self) -> Callable[[bool], bool]:
        return self._functions.make_any_host(self.strategy)

    def watching(self) -> AbstractContextManager:
        return self._functions.naming_lost_workers(self.strategy)


def make_hosts(config: ConfigDict) -> Hosts:
    """Makes the devices and hosts of a config.

    Args:
        config: The config.

    Returns:
        Those of its strategy under TensorFlow, one device under another backend.

    Raises:
        ConfigError: The machine does not have them.
    """
    if keras.backend.backend() != "tensorflow":
        if config.strategy not in ("auto", "none"):
            raise ConfigError(
                "config.strategy must be 'auto' or 'none' under Keras's backend "
                f"{keras.backend.backend()}. Received: {config.strategy!r}"
            )
        return OneDevice()
    from oekd_tf.models.distributed.strategy import make_strategy

    with as_config_error((), "config.strategy and config.logical_cpus must suit this machine"):
        return TensorFlowHosts(make_strategy(config.strategy, config.logical_cpus))


def this_device() -> Hosts:
    """The device of this process, for using a trained model."""
    if keras.backend.backend() != "tensorflow":
        return OneDevice()
    import tensorflow as tf

    return TensorFlowHosts(tf.distribute.get_strategy())


def set_runtime(config: ConfigDict) -> None:
    """Sets options of the backend for the whole process: graph rewriting and determinism."""
    if config.deterministic:
        keras.utils.set_random_seed(config.seed)
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    # Graph rewriting takes as long as tracing and its gain is not measurable on a CPU.
    if not tf.config.list_physical_devices("GPU"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
