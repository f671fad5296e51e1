"""The callback that shows a progress bar with every student's accuracy."""

import sys
import time

import keras
from tqdm import tqdm

from oekd_tf.core.streams import say


class Progress(keras.callbacks.Callback):
    """Shows epoch, steps, time left, loss and accuracies, and a line for validation.

    On a terminal the bar is updated in place; in a log file there is a line every few seconds.

    Example:
        >>> ensemble.fit(train, epochs=30, verbose=0, callbacks=[Progress()])
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        say("tracing the first step ...")
        self._interactive = sys.stdout is not None and sys.stdout.isatty()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = f"epoch {epoch + 1}/{self.params['epochs']}"
        self._start = time.monotonic()
        self._bar = tqdm(
            total=self.params["steps"],
            desc=self._epoch,
            unit="step",
            file=sys.stdout,
            disable=not self._interactive,
            leave=False,
            dynamic_ncols=True,
        )
        self._said = 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._bar.update(batch + 1 - self._bar.n)
        self._bar.set_postfix_str(summary(logs or {}), refresh=False)
        now = time.monotonic()
        if not self._interactive and (now - self._said > 10):
            steps = f"step {batch + 1}/{self.params['steps']}"
            say(f"{self._epoch} {steps} {summary(logs or {})}")
            self._said = now

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._bar.close()
        logs = logs or {}
        seconds = time.monotonic() - self._start
        line = f"{self._epoch} {seconds:.1f} s  train {summary(logs)}"
        validation = {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}
        if validation:
            line += f"  validation {summary(validation)}"
        say(line)


def summary(logs: dict) -> str:
    """A short summary of loss and accuracies.

    Args:
        logs: Logs of Keras.

    Returns:
        The summary, for instance "loss 3.211 acc 1 .81 2 .80 teacher .83".

    Example:
        >>> summary({"loss": 3.2114, "student_1_accuracy": 0.81, "teacher_accuracy": 0.83})
        'loss 3.211 acc 1 .81 teacher .83'
    """
    parts = [f"loss {logs['loss']:.3f}"] if "loss" in logs else []
    accuracies = {n: v for n, v in logs.items() if n.endswith("accuracy") and n[:4] != "val_"}
    if accuracies:
        parts.append("acc")
    for name, value in accuracies.items():
        label = name.removesuffix("accuracy").removeprefix("student_").strip("_")
        parts.append(f"{label} {value:.2f}".replace(" 0.", " .").strip())
    return " ".join(parts)
