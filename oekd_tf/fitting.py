"""Trains a model from where its run stopped to the last epoch."""

import zlib
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from oekd_tf import callbacks, distribution
from oekd_tf import config as config_module
from oekd_tf.callbacks.preemption import set_metric_totals
from oekd_tf.checkpoint_files import Position, remove_abandoned
from oekd_tf.data import Data, Share
from oekd_tf.ensemble import OnlineEnsemble


def fit(
    config: ConfigDict,
    data: Data,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    workdir: Path,
    say: Callable[[str], None],
) -> float:
    """Trains to the config's last epoch, from the newest checkpoint in the workdir on.

    The run ends as if it had never been stopped: order and augmentation are functions of (seed,
    epoch, example), a checkpoint holds all that a step reads, and one that was taken within an
    epoch holds the epoch's running totals too.

    Args:
        config: The run's.
        data: What to train on.
        model: Compiled under the strategy.
        strategy: Of several hosts, only the chief writes files.
        workdir: Of the run.
        say: Receives each line for the user.

    Returns:
        Seconds of training, those before the run was gone on with included.

    Raises:
        NonFiniteLossError: A loss became NaN; the last checkpoint stays.
        Preempted: SIGTERM came; there is a checkpoint of the step before it.
        CheckpointError: No checkpoint is whole.
    """
    chief = distribution.is_chief(strategy)
    checkpoints = callbacks.Checkpoints(
        workdir / "checkpoints",
        config.checkpoint_every,
        config.checkpoints_kept,
        read_only=not chief,
    )
    if chief:
        remove_abandoned(checkpoints.folder)
    position = checkpoints.restore_position(model, say)
    distribution.check_alike(
        strategy,
        config=zlib.crc32(config_module.to_json(config).encode()),
        epoch=position.epochs,
        step=position.steps,
    )
    steps = data.steps_per_epoch(config.batch_size)
    if position.epochs or position.steps:
        within = f" and {position.steps} of {steps} steps" if position.steps else ""
        say(f"going on after epoch {position.epochs} of {config.epochs}{within}")
    preemption = callbacks.Preemption(
        checkpoints, steps, position.steps, agree=distribution.any_host(strategy)
    )
    # The first stops what the others must not record; a checkpoint is the last to be written, so
    # that what is gone on from it repeats a line of metrics rather than lacks it.
    followers = [callbacks.StopOnNan()]
    if chief:
        followers += [
            callbacks.Progress(),
            callbacks.MetricsCsv(workdir / "metrics.csv"),
            keras.callbacks.TensorBoard(
                workdir / "tensorboard", write_graph=False, profile_batch=0
            ),
        ]
    followers += [checkpoints, preemption]
    if isinstance(model, OnlineEnsemble):
        followers.append(callbacks.PseudoTeacherFirst(config.ensemble.pseudo_teacher_epochs))

    def batches(epoch: int, step: int) -> Callable[[Share], tf.data.Dataset]:
        return lambda share: data.train(
            config.batch_size,
            seed=config.seed,
            first_epoch=epoch,
            first_step=step,
            augmentation=tuple(config.data.augmentation),
            mixup=config.data.mixup,
            cutmix=config.data.cutmix,
            label_smoothing=config.data.label_smoothing,
            share=share,
        )

    validation = None
    if data.num_validation:
        size = distribution.evaluation_batch_size(strategy, data.num_validation, config.batch_size)
        validation = distribution.distribute(strategy, lambda share: data.validation(size, share))

    def train(epoch: int, step: int, *more: keras.callbacks.Callback) -> None:
        model.fit(
            distribution.distribute(strategy, batches(epoch, step)),
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
        if first_epoch < config.epochs:
            train(first_epoch, 0)
    return checkpoints.seconds


def _end_epoch(
    model: keras.Model,
    position: Position,
    epochs: int,
    steps: int,
    validation: tf.data.Dataset | None,
    followers: list[keras.callbacks.Callback],
) -> None:
    """What `fit` does after an epoch's last step, for a run that was stopped in its validation."""
    chain = keras.callbacks.CallbackList(followers, model=model, epochs=epochs, steps=steps)
    chain.on_train_begin()
    chain.on_epoch_begin(position.epochs)
    tested = {}
    if validation is not None:
        # First: a functional model makes its metrics with its first batch.
        tested = model.evaluate(validation, verbose=0, return_dict=True)
    set_metric_totals(model, position.metrics)
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    logs |= {f"val_{name}": value for name, value in tested.items()}
    chain.on_epoch_end(position.epochs, logs)
    chain.on_train_end()
