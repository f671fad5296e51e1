"""`tf.distribute` strategies, and data sets and logs under them."""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from oekd_tf.core.choices import STRATEGIES
from oekd_tf.core.errors import WorkerLostError
from oekd_tf.core.tensorflow_internals import is_connected, start_coordination
from oekd_tf.models.distributed import cluster
from oekd_tf.models.distributed.rendezvous import meet
from oekd_tf.models.distributed.share import Share

# Errors of TensorFlow on the other hosts when one is lost.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)

# Time within which all workers must start, and then be connected.
_START_SECONDS = 600
_REGISTRATION_SECONDS = 120

# Time without an answer after which a worker counts as lost.
_HEARTBEAT_SECONDS = 20


def make_strategy(name: str = "auto", logical_cpus: int = 0) -> tf.distribute.Strategy:
    """Makes a strategy for the available devices.

    Args:
        name: Name of the strategy: "none"; "mirrored" (all GPUs of this machine, or logical CPUs);
            "auto" (mirrored if there is more than one GPU); "multi_worker" (all GPUs of the hosts
            in `TF_CONFIG`); "tpu" (the TPU of this machine, or the one in the variable `TPU_NAME`;
            not tested).
        logical_cpus: Number of replicas on the CPU, with "mirrored". TensorFlow must not have used
            its devices before.

    Returns:
        The strategy; TensorFlow's default one for a single device. A strategy over several hosts is
        returned when all of them have started.

    Raises:
        ValueError: The name is unknown, `TF_CONFIG` breaks its rule or names a port that is in
            use, or the CPU is already in use as fewer devices.
        WorkerLostError: Not all hosts have started in ten minutes.
        Preempted: Another host was stopped meanwhile.

    Example:
        >>> with make_strategy("auto").scope():
        ...     ensemble = oekd_tf.OnlineEnsemble(...)
    """
    if name not in STRATEGIES:
        raise ValueError(f"A strategy must be one of {', '.join(STRATEGIES)}. Received: {name!r}")
    if name == "mirrored" and logical_cpus:
        return tf.distribute.MirroredStrategy(_split_cpu(logical_cpus))
    if name == "multi_worker":
        return _multi_worker()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        return tf.distribute.TPUStrategy(resolver)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def spans_hosts(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether a strategy, or else the current one, trains on more than one host."""
    strategy = strategy or tf.distribute.get_strategy()
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and len(cluster.from_environment().workers) > 1
    )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files."""
    return not spans_hosts(strategy) or cluster.from_environment().is_chief


def join_replicas(strategy: tf.distribute.Strategy) -> None:
    """Runs a collective operation that cannot fail, before the first that can.

    The replicas of a host form a group when all have reached their first collective operation. A
    step that fails on one of them while another waits there cancels the group for as long as the
    process lives: whatever is trained next, on any replica, is a `CancelledError`. A group that
    once was whole outlives failed steps.

    Args:
        strategy: The strategy; on one device or over several hosts nothing is run.
    """
    if strategy is None or strategy.num_replicas_in_sync == 1 or spans_hosts(strategy):
        return

    def total() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.ones(()))

    tf.function(lambda: strategy.run(total))()


def distribute(
    strategy: tf.distribute.Strategy, batches: Callable[[Share], tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Makes the data set for `fit` and `evaluate` under a strategy.

    On one host that is the data set itself, which Keras distributes to replicas. Each of several
    hosts makes a data set of its own share only; a data set that `fit` distributes would be read
    and decoded as a whole on every host.

    Args:
        strategy: The strategy.
        batches: Function from a share to its part of all batches.

    Returns:
        The data set, or a distributed one.

    Example:
        >>> train = distribute(strategy, lambda share: data.train(128, seed=0, share=share))
        >>> ensemble.fit(train, steps_per_epoch=data.steps_per_epoch(128))
    """
    if not spans_hosts(strategy):
        return batches(Share())

    def of_this_host(host: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = host.num_replicas_in_sync // host.num_input_pipelines
        first = replicas * host.input_pipeline_id
        return batches(Share(host.num_replicas_in_sync, first, replicas))

    return strategy.distribute_datasets_from_function(of_this_host)


def evaluation_batch_size(strategy: tf.distribute.Strategy, examples: int, batch_size: int) -> int:
    """The batch size nearest to the given one that leaves no replica without an example.

    TensorFlow's faster convolutions on a CPU (oneDNN) fail on an empty share. There always is such
    a size if there are at least as many examples as the square of the number of replicas.

    Args:
        strategy: The strategy.
        examples: Number of examples of the split.
        batch_size: Preferred batch size.

    Returns:
        The batch size.

    Raises:
        ValueError: The split has fewer examples than there are replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if examples < replicas:
        raise ValueError(
            f"Cannot evaluate {examples} examples on {replicas} replicas, which need one each."
        )

    def fits(size: int) -> bool:
        return all(_reaches_all(count, replicas) for count in (size, examples % size))

    smaller = range(min(batch_size, examples), 0, -1)
    larger = range(batch_size + 1, examples + 1)
    return next((size for size in (*smaller, *larger) if fits(size)), replicas)


def _reaches_all(count: int, replicas: int) -> bool:
    # TensorFlow gives every replica ⌈count / replicas⌉ until none are left.
    return count == 0 or -(-count // replicas) * (replicas - 1) < count


@contextlib.contextmanager
def naming_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the errors of TensorFlow when another host is lost into one of one line.

    Args:
        strategy: The strategy; on one host nothing is caught.

    Raises:
        WorkerLostError: Another host died.
    """
    try:
        yield
    except _LOST as error:
        if not spans_hosts(strategy):
            raise
        lines = str(error).strip().splitlines()
        reason = next((line for line in lines if "aborted" in line), lines[0]).strip()
        raise WorkerLostError(
            f"Another worker is gone ({reason}). Start the same command again on all of them; "
            "training resumes from the last checkpoint."
        ) from error


def reducible(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Logs of a step in a shape that Keras can reduce.

    Over several hosts Keras takes the mean over the first axis, which a scalar does not have.

    Args:
        logs: Scalars by name.

    Returns:
        The scalars; vectors of one element under a strategy over several hosts.
    """
    if not spans_hosts():
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}


def make_any_host(strategy: tf.distribute.Strategy) -> Callable[[bool], bool]:
    """Makes a function of whether its argument is true on any host; all must call it together.

    Args:
        strategy: The strategy.

    Returns:
        The function; on one host it returns its argument.
    """
    if not spans_hosts(strategy):
        return bool
    flag = tf.Variable(0, trainable=False)

    @tf.function
    def total() -> tf.Tensor:
        flags = strategy.run(lambda: tf.reshape(flag, (1,)))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=0)

    def agree(value: bool) -> bool:
        flag.assign(int(value))
        return int(total()) > 0

    return agree


def assert_same_on_all_hosts(strategy: tf.distribute.Strategy, **values: int) -> None:
    """Raises unless all hosts have the same values.

    Args:
        strategy: The strategy; on one host nothing is compared.
        **values: Whole numbers below 2**63, named for the error.

    Raises:
        ValueError: A value differs between hosts.
    """
    if not spans_hosts(strategy):
        return
    mine = [[int(value) for value in values.values()]]
    everyones = strategy.gather(strategy.run(lambda: tf.constant(mine, tf.int64)), axis=0).numpy()
    for name, column in zip(values, everyones.T.tolist(), strict=True):
        if len(set(column)) > 1:
            raise ValueError(
                f"The workers disagree on {name}, {column}. Start all of them with the same "
                "command, and with a --workdir on a disk that they share."
            )


def _multi_worker() -> tf.distribute.Strategy:
    hosts = cluster.from_environment()
    if len(hosts.workers) > 1 and not is_connected():
        meet(hosts, _START_SECONDS)
        start_coordination(_REGISTRATION_SECONDS, _HEARTBEAT_SECONDS)
    return tf.distribute.MultiWorkerMirroredStrategy()


def _split_cpu(count: int) -> list[str]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise ValueError(
                f"The CPU must be split into {count} logical devices before TensorFlow is used. "
                f"Received: {len(tf.config.list_logical_devices('CPU'))} in use"
            ) from error
    return [f"CPU:{index}" for index in range(count)]
