"""Scheduling of runs in parallel processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from oekd_tf.core.errors import ConfigError, WorkerError
from oekd_tf.core.machine import core_numbers
from oekd_tf.studies.plan import Run, needed


def shares_of_cores(processes: int) -> list[list[int]]:
    """Disjoint sets of cores for several processes.

    Args:
        processes: Number of processes; a single one gets all cores.

    Returns:
        Numbers of the cores of each process.

    Raises:
        ConfigError: There are fewer cores than processes.

    Example:
        >>> shares_of_cores(2)  # on four cores
        [[0, 2], [1, 3]]
    """
    cores = core_numbers()
    if not 1 <= processes <= len(cores):
        raise ConfigError(
            f"--processes must be from 1 to the number of cores, {len(cores)}. "
            f"Received: {processes}"
        )
    return [cores[slot::processes] for slot in range(processes)]


def train_all(
    runs: Sequence[Run],
    train: Callable[[Run, Sequence[int]], None],
    trained: Callable[[Run], None],
    failed: Callable[[Run, WorkerError], None],
    shares: Sequence[Sequence[int]],
    stop: Callable[[], None],
) -> None:
    """Trains runs in their order, as many at once as there are shares of the machine.

    A run that fails, a loss that became NaN for instance, does not end the others.

    Args:
        runs: Runs that are not trained yet.
        train: Trains a run on the given cores; called in a thread.
        trained: Called in this thread with each run that finished.
        failed: Called in this thread with each run that failed, and its error.
        shares: Cores of each process.
        stop: Ends running processes; called when this function raises.

    Raises:
        Exception: The first error of `train` or `trained` other than a `WorkerError`.
    """
    waiting, free = list(runs), list(shares)
    running: dict[Future, tuple[Run, Sequence[int]]] = {}
    with ThreadPoolExecutor(len(shares)) as pool:
        try:
            while waiting or running:
                unfinished = {run.key for run in (*waiting, *(r for r, _ in running.values()))}
                for run in [run for run in waiting if needed(run) not in unfinished][: len(free)]:
                    waiting.remove(run)
                    cores = free.pop(0)
                    running[pool.submit(train, run, cores)] = run, cores
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    run, cores = running.pop(future)
                    free.append(cores)
                    try:
                        future.result()
                    except WorkerError as error:
                        failed(run, error)
                        for other in [other for other in waiting if needed(other) == run.key]:
                            waiting.remove(other)
                            failed(other, WorkerError(f"It needs {run.title}, which failed"))
                    else:
                        trained(run)
        except BaseException:
            stop()
            raise
