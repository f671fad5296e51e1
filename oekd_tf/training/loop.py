"""The resumable training loop of a run."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.models.after_epoch import AfterEpoch
from oekd_tf.models.online_ensemble import OnlineEnsemble
from oekd_tf.training import callbacks
from oekd_tf.training.callbacks.checkpoint_files import Best, Position, delete_abandoned
from oekd_tf.training.callbacks.preemption import set_metric_totals
from oekd_tf.training.hosts import Hosts
from oekd_tf.training.restore import training_batches

# Folder of the best epoch's weights, in a run's.
_BEST = "best"


class Trained(NamedTuple):
    """A training that has ended.

    Attributes:
        seconds: Seconds of training, those before a resume included.
        epochs: Number of epochs that were trained.
        best: The best epoch, where it is kept.
    """

    seconds: float
    epochs: int
    best: Best | None = None


def fit(
    config: ConfigDict,
    data: Any,
    model: keras.Model,
    hosts: Hosts,
    workdir: Path,
    log: Callable[[str], None],
) -> Trained:
    """Trains to the config's last epoch, or until it stops early.

    Resumes from the newest checkpoint in the workdir.

    A resumed run gives the same result as one that was never stopped: order and augmentation are
    functions of (seed, epoch, example), a checkpoint holds all variables that a step reads, and one
    from within an epoch holds the epoch's metrics too.

    Args:
        config: The run's config.
        data: The data set.
        model: The model, compiled in the hosts' scope.
        hosts: Devices and hosts of the run; of several hosts only the chief writes files.
        workdir: Folder of the run.
        log: Called with each progress message.

    Returns:
        What was trained; the model has the weights of the best epoch, where the config asks so.

    Raises:
        NonFiniteLossError: A loss became NaN; the last checkpoint stays.
        Preempted: SIGTERM or Ctrl-C was received; there is a checkpoint of the last step.
        CheckpointError: All checkpoints are damaged, or the best epoch's is.
    """
    best = _best_epoch(config, workdir, hosts)
    checkpoints = callbacks.Checkpoints(
        workdir / "checkpoints",
        config.checkpoint_every,
        config.checkpoints_kept,
        read_only=not hosts.is_chief,
        best=best,
    )
    if hosts.is_chief:
        delete_abandoned(checkpoints.folder)
        delete_abandoned(workdir / _BEST)
    steps = data.steps_per_epoch(config.batch_size)
    position = checkpoints.restore_position(model, log, config.epochs, steps)
    if best and best.state:
        best.checked_path()
    hosts.assert_same(
        config=zlib.crc32(config_module.to_json(config).encode()),
        epoch=position.epochs,
        step=position.steps,
    )
    if position.epochs or position.steps:
        within = f" and {position.steps} of {steps} steps" if position.steps else ""
        log(f"resuming after epoch {position.epochs} of {config.epochs}{within}")
    preemption = callbacks.Preemption(
        checkpoints, steps, position.steps, agree=hosts.make_any_host()
    )
    validation = None
    if data.num_validation:
        size = hosts.evaluation_batch_size(data.num_validation, config.batch_size)
        validation = hosts.batches(lambda share: data.validation(size, share))
    # NaNs are detected before anything is recorded. Checkpoints are last, so that a resumed run
    # repeats a row of metrics rather than lacks it.
    followers: list[keras.callbacks.Callback] = [callbacks.StopOnNan()]
    if isinstance(model, OnlineEnsemble):
        followers.append(AfterEpoch(validation))
    if hosts.is_chief:
        followers += [
            callbacks.Progress(),
            callbacks.MetricsCsv(workdir / "metrics.csv"),
        ]
        if keras.backend.backend() == "tensorflow":
            followers.append(
                callbacks.TensorBoard(workdir / "tensorboard", write_graph=False, profile_batch=0)
            )
    followers += [*([best] if best else []), checkpoints, preemption]
    if isinstance(model, OnlineEnsemble):
        followers.append(callbacks.PseudoTeacherFirst(config.ensemble.pseudo_teacher_epochs))
    if config.ensemble.frozen_stem_epochs:
        followers.append(callbacks.FrozenStem(config.ensemble.frozen_stem_epochs))

    views = len(config.ensemble.widths) if _has_views(model) else 1

    def train(epoch: int, step: int, *more: keras.callbacks.Callback) -> None:
        model.fit(
            hosts.batches(
                lambda share: training_batches(
                    config, data, first_epoch=epoch, first_step=step, views=views, share=share
                )
            ),
            validation_data=validation,
            steps_per_epoch=steps - step,
            initial_epoch=epoch,
            epochs=config.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[*followers, *more],
        )

    with preemption.listening():
        if 0 < position.steps < steps:
            train(position.epochs, position.steps, callbacks.RestOfEpoch(position.metrics))
        elif position.steps:
            _end_epoch(model, position, config.epochs, steps, validation, followers)
        first_epoch = position.epochs + (position.steps > 0)
        if first_epoch < config.epochs and not (best and best.stopped):
            train(first_epoch, 0)
    if best is None or best.state is None:
        return Trained(checkpoints.seconds, config.epochs)
    log(best.describe(config.epochs))
    if config.early_stopping.restore_best:
        log(f"weights of epoch {best.restore(model)} are evaluated, saved and exported")
    return Trained(checkpoints.seconds, best.state.epoch + best.state.waited, best.state)


def _best_epoch(config: ConfigDict, workdir: Path, hosts: Hosts) -> callbacks.BestEpoch | None:
    if not config.early_stopping.monitor:
        return None
    return callbacks.BestEpoch(
        workdir / _BEST,
        monitored(config),
        config.early_stopping.patience,
        config.early_stopping.min_delta,
        read_only=not hosts.is_chief,
    )


def monitored(config: ConfigDict) -> str:
    """The log that early stopping looks at; a student alone has only two of validation."""
    monitor = config.early_stopping.monitor
    if not config.only_student:
        return monitor
    return "val_accuracy" if monitor.endswith("accuracy") else "val_loss"


def _has_views(model: keras.Model) -> bool:
    return isinstance(model, OnlineEnsemble) and model.method.views == "students"


def _end_epoch(
    model: keras.Model,
    position: Position,
    epochs: int,
    steps: int,
    validation: Any,
    followers: list[keras.callbacks.Callback],
) -> None:
    """Finishes an epoch for a run that was stopped in its validation, as `fit` does."""
    chain = keras.callbacks.CallbackList(followers, model=model, epochs=epochs, steps=steps)
    chain.on_train_begin()
    chain.on_epoch_begin(position.epochs)
    tested = {}
    if validation is not None:
        # First, because a functional model makes its metrics with its first batch.
        tested = model.evaluate(validation, verbose=0, return_dict=True)
    set_metric_totals(model, position.metrics)
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    logs |= {f"val_{name}": value for name, value in tested.items()}
    chain.on_epoch_end(position.epochs, logs)
    chain.on_train_end()
