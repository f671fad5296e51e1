"""The files of an export: who writes them, and whether they do what the student does."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oekd_tf.core.files import remove, write_errors
from oekd_tf.core.records import Contract, FileFacts, KindFacts
from oekd_tf.core.text import as_lines
from oekd_tf.device import manifest
from oekd_tf.device.rescue import rescue_in_words
from oekd_tf.export import check
from oekd_tf.export.formats import Format
from oekd_tf.export.formats.parts.signature import write_converter_input
from oekd_tf.export.pool import Workers
from oekd_tf.export.run_one import Job
from oekd_tf.export.worker import Answer


class Conversions:
    """An export's files: sent to workers, and compared with the students when they come back.

    Args:
        folder: Folder to write the students' folders to.
        scratch: Folder for what the workers read and answer.
        workers: Workers that convert.
        batch_size: Batch size of the files; None leaves it free.
        calibration_batch_size: Number of images at a time in calibration, where it is free.
        limits: "max_accuracy_drop" and "min_agreement", each by name of the format.
        progress: Called with a message for each file.
        max_class_drop: Largest difference by which a file's recall of a class may be below the
            student's, from 0 to 1.
        micro_images: Number of test images that TensorFlow Lite Micro runs with each file.
        golden_images: Number of golden images before the test images.

    Attributes:
        facts: Facts of each file that passed, by names of student and format.
        golden: Logits of each of them on the golden images, (images, classes).
        failures: One line for each file that did not.

    Example:
        >>> conversions = Conversions(folder, scratch, workers, 1, 1, limits, print)
        >>> conversions.save_contract(contract)
        >>> conversions.save_images("images", test_images)
        >>> conversions.add_student("student_1", class_names, logits, test_labels)
        >>> conversions.submit(network, "student_1", [formats.parse("float32")], (), {})
        >>> conversions.finish()
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
        max_class_drop: float = 1.0,
        micro_images: int = 0,
        golden_images: int = 0,
    ):
        self.facts: dict[tuple[str, str], FileFacts] = {}
        self.golden: dict[tuple[str, str], np.ndarray] = {}
        self.failures: list[str] = []
        self._folder, self._scratch, self._workers = folder, scratch, workers
        self._batch_size, self._calibration_batch_size = batch_size, calibration_batch_size
        self._limits, self._progress = limits, progress
        self._max_class_drop = max_class_drop
        self._micro_images, self._golden_images = micro_images, golden_images
        self._class_names: Sequence[str] = ()
        self._references: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._pending: dict[Future[Answer], _Pending] = {}

    def save_contract(self, contract: Contract) -> None:
        """Puts what the students were trained on where jobs find it.

        Args:
            contract: The contract, with the names of the classes.

        Raises:
            OSError: It cannot be written.
        """
        with write_errors(self._scratch):
            (self._scratch / "contract.json").write_text(json.dumps(contract))

    def save_images(self, name: str, *images: np.ndarray) -> None:
        """Puts images, or their labels, where jobs find them.

        Args:
            name: "images" for the golden ones and those to test on, "labels" for the labels of the
                latter, "calibration" or "validation".
            images: Raw pixels, (images, height, width, channels), or class indices, (images,);
                several are written one after the other.

        Raises:
            OSError: They cannot be written.
        """
        with write_errors(self._scratch):
            path, shape = self._scratch / f"{name}.npy", images[0].shape[1:]
            dtype, count = np.result_type(*images), sum(map(len, images))
            # Not joined first: test images of a large data set are gigabytes.
            target = np.lib.format.open_memmap(path, "w+", dtype, (count, *shape))
            start = 0
            for part in images:
                target[start : (start := start + len(part))] = part
            target.flush()

    def add_student(
        self, name: str, class_names: Sequence[str], reference: np.ndarray, labels: np.ndarray
    ) -> None:
        """Makes a student's folder, with its labels.

        Args:
            name: Name of the student.
            class_names: One name a class.
            reference: Logits of the Keras student on the test images, (images, classes).
            labels: Class indices of the test images, (images,).

        Raises:
            OSError: The folder cannot be written.
        """
        with write_errors(self._folder):
            (self._folder / name).mkdir()
            (self._folder / name / manifest.LABELS).write_text(
                as_lines(class_names), encoding="utf-8"
            )
        self._class_names = class_names
        self._references[name] = reference, labels

    def submit(
        self,
        network: Any,
        name: str,
        wanted: Sequence[Format],
        stages: tuple[str, ...],
        facts: KindFacts,
    ) -> None:
        """Sends the formats of one student that share what it went through to the workers.

        Args:
            network: Float32 student of `plain_student`, or a tf_keras model.
            name: Name of the student.
            wanted: Formats of the export; those of other stages are left out.
            stages: What the network went through.
            facts: Facts for the manifest that these files share.

        Raises:
            OSError: Something cannot be written.
        """
        wanted = [form for form in wanted if form.stages == stages]
        source = self._scratch / "_".join((name, *stages))
        with write_errors(self._folder):
            if any(form.kind.converted for form in wanted):
                write_converter_input(network, source, self._batch_size)
            for form in wanted:
                if not form.kind.converted:
                    form.kind.write(network, self._folder / name / form.file_name)
        validation = self._scratch / "validation.npy"
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
                validation=str(validation) if form.kind.validated and validation.exists() else "",
                labels=str(self._scratch / "labels.npy"),
                contract=str(self._scratch / "contract.json"),
                golden_images=self._golden_images,
                micro_images=self._micro_images,
            )
            self._pending[self._workers.submit(job)] = _Pending(job, form, facts)
            for future in [future for future in self._pending if future.done()]:
                self._settle(future)

    def refuse(
        self, names: Sequence[str], wanted: Sequence[Format], stages: tuple[str, ...], why: str
    ) -> None:
        """Notes that students could not be taken through stages.

        Args:
            names: Names of the students.
            wanted: Formats of the export; those of other stages are left out.
            stages: What the students were to go through.
            why: The reason, in one line.
        """
        for name in names:
            for form in wanted:
                if form.stages == stages:
                    self.failures.append(f"{name} {form.name}: {why}")
                    self._progress(f"{name} {form.name}: refused")

    def finish(self) -> None:
        """Waits for all that is under way.

        Raises:
            OSError: A file could not be written.
        """
        for future in as_completed(list(self._pending)):
            self._settle(future)

    def _settle(self, future: Future[Answer]) -> None:
        job, form, more = self._pending.pop(future)
        answer = future.result()
        if "failed" in answer:
            raise OSError(answer["failed"])
        if "facts" not in answer:
            self._drop(job, answer["refused"])
            return
        reference, labels = self._references[job.student]
        golden, logits = np.split(np.load(job.logits), [self._golden_images])
        found = check.compare(logits, reference, labels)
        accuracy = float((reference.argmax(-1) == labels).mean())
        failure = check.refusal(found, accuracy, form, self._limits)
        recall = check.class_recall(logits, labels)
        if not failure:
            failure = check.class_refusal(
                recall, check.class_recall(reference, labels),
                np.bincount(labels, minlength=len(recall)).tolist(), self._class_names, form,
                self._max_class_drop,
            )  # fmt: skip
        if failure:
            self._drop(job, failure)
            return
        size = manifest.file_facts(Path(job.path), self._folder)
        facts: FileFacts = {**size, **found, **answer["facts"], **more}
        facts["class_recall"] = [None if one is None else round(one, 6) for one in recall]
        self.facts[job.student, job.format_name] = facts
        self.golden[job.student, job.format_name] = golden
        self._progress(
            f"{job.name}: {facts['bytes']:,} bytes, accuracy {facts['accuracy']:.4f}, agreement "
            f"{facts['agreement']:.4f}"
        )
        if "rescue" in facts:
            self._progress(f"{job.name}: {rescue_in_words(facts['rescue'])}")

    def _drop(self, job: Job, why: str) -> None:
        self.failures.append(why if job.name in why else f"{job.name}: {why}")
        remove(job.path)
        self._progress(f"{job.name}: refused")


class _Pending(NamedTuple):
    job: Job
    form: Format
    facts: KindFacts
