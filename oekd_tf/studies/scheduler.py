"""Several runs of a study at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from oekd_tf.core.errors import ConfigError, WorkerError
from oekd_tf.core.machine import core_numbers
from oekd_tf.studies.plan import Run, needed


def shares_of_cores(processes: int) -> list[list[int]]:
    """The cores of each of several processes, none of two.

    Args:
        processes: How many; 1 has them all.

    Returns:
        Numbers of cores, a list a process.

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
        runs: That are not trained yet.
        train: Trains one, on these cores; called in a thread.
        trained: Called in this thread with each run that has been.
        failed: Called in this thread with each run that could not be, and why.
        shares: Cores of each process.
        stop: Ends those that run, when this function is left by an exception.

    Raises:
        Exception: What `train` or `trained` raised first, but for a `WorkerError`.
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
