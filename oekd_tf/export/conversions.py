"""The files of an export: who writes them, and whether they do what the student does."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oekd_tf.export import check, manifest, saved_model
from oekd_tf.export.formats import Format
from oekd_tf.export.job import Job
from oekd_tf.export.workers import Workers
from oekd_tf.replacement import remove, write_errors


class Conversions:
    """An export's files: sent to workers, and compared with the students when they come back.

    Args:
        folder: To write to.
        scratch: For what the workers read.
        workers: Who convert.
        batch_size: Of the files; None is free.
        calibration_batch_size: Images at a time.
        limits: "max_accuracy_drop" and "min_agreement", each by format.
        progress: Receives a line a file.

    Attributes:
        facts: Of each file that passed, by (student, format).
        failures: A line each file that did not.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        workers: Workers,
        batch_size: int | None,
        calibration_batch_size: int,
        limits: Mapping[str, Mapping[str, float]],
        progress: Callable[[str], None],
    ):
        self.facts: dict[tuple[str, str], dict[str, Any]] = {}
        self.failures: list[str] = []
        self._folder, self._scratch, self._workers = folder, scratch, workers
        self._batch_size, self._calibration_batch_size = batch_size, calibration_batch_size
        self._limits, self._progress = limits, progress
        self._references: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._pending: dict[Future, _Pending] = {}

    def save_images(self, name: str, images: np.ndarray) -> None:
        """Where jobs find them: "images" to test on, "calibration"."""
        with write_errors(self._scratch):
            np.save(self._scratch / f"{name}.npy", images)

    def add_student(
        self, name: str, class_names: Sequence[str], reference: np.ndarray, labels: np.ndarray
    ) -> None:
        """A student's folder, with its labels."""
        with write_errors(self._folder):
            (self._folder / name).mkdir()
            (self._folder / name / "labels.txt").write_text("".join(f"{c}\n" for c in class_names))
        self._references[name] = reference, labels

    def submit(
        self,
        network: Any,
        name: str,
        wanted: Sequence[Format],
        stages: tuple[str, ...],
        facts: dict[str, Any],
    ) -> None:
        """Sends the formats of one student that share what it went through to the workers."""
        wanted = [form for form in wanted if form.stages == stages]
        source = self._scratch / "_".join((name, *stages))
        with write_errors(self._folder):
            if any(form.kind_name != "saved_model" for form in wanted):
                saved_model.write_converter_input(network, source, self._batch_size)
            for form in wanted:
                if form.kind_name == "saved_model":
                    path = self._folder / name / form.file_name
                    saved_model.write_saved_model(network, path)
        for form in wanted:
            job = Job(
                student=name,
                format_name=form.name,
                source=str(source),
                path=str(self._folder / name / form.file_name),
                images=str(self._scratch / "images.npy"),
                logits=str(self._scratch / f"{name}_{form.name}.npy"),
                calibration=str(self._scratch / "calibration.npy"),
                calibration_batch_size=self._batch_size or self._calibration_batch_size,
            )
            self._pending[self._workers.submit(job)] = _Pending(job, form, facts)
            for future in [future for future in self._pending if future.done()]:
                self._settle(future)

    def refuse(
        self, names: Sequence[str], wanted: Sequence[Format], stages: tuple[str, ...], why: str
    ) -> None:
        """Notes that students could not be taken through stages."""
        for name in names:
            for form in wanted:
                if form.stages == stages:
                    self.failures.append(f"{name} {form.name}: {why}")
                    self._progress(f"{name} {form.name}: refused")

    def finish(self) -> None:
        """Waits for all that is under way."""
        for future in as_completed(list(self._pending)):
            self._settle(future)

    def _settle(self, future: Future) -> None:
        job, form, facts = self._pending.pop(future)
        answer = future.result()
        if "failed" in answer:
            raise OSError(answer["failed"])
        failure = answer.get("refused")
        if not failure:
            reference, labels = self._references[job.student]
            logits = np.load(job.logits)
            facts = {
                **manifest.file_facts(Path(job.path), self._folder),
                **check.compare(logits, reference, labels),
                **answer["facts"],
                **facts,
            }
            failure = _too_far(facts, (reference.argmax(-1) == labels).mean(), form, self._limits)
        if failure:
            failure = failure if job.name in failure else f"{job.name}: {failure}"
            self.failures.append(failure)
            remove(job.path)
            self._progress(f"{job.name}: refused")
            return
        self.facts[job.student, job.format_name] = facts
        self._progress(
            f"{job.name}: {facts['bytes']:,} bytes, accuracy {facts['accuracy']:.4f}, agreement "
            f"{facts['agreement']:.4f}"
        )


class _Pending(NamedTuple):
    job: Job
    form: Format
    facts: dict[str, Any]


def _too_far(
    facts: Mapping[str, Any],
    reference: float,
    form: Format,
    limits: Mapping[str, Mapping[str, float]],
) -> str | None:
    """Why a file may not be delivered, if so."""
    drop = limits["max_accuracy_drop"].get(form.name, form.max_accuracy_drop)
    # A bound that the accuracies meet exactly must not fail by a rounding error.
    if not facts["accuracy"] >= reference - drop - 1e-9:
        return (
            f"its test accuracy must be at most {100 * drop:g} points below the Keras student's "
            f"{reference:.2%}; {form.advice}. Received: {facts['accuracy']:.2%}"
        )
    agreement = limits["min_agreement"].get(form.name, form.min_agreement)
    if not facts["agreement"] >= agreement:
        return (
            f"it must have the Keras student's top class on at least {agreement:.1%} of the test "
            f"images; {form.advice}. Received: {facts['agreement']:.1%}"
        )
    return None
