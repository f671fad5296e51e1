"""Runs a study: trains every run that is not finished, then writes the report."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.config.difference import refuse_other_config
from oekd_tf.core.errors import RecordError, ResultsError, WorkerError
from oekd_tf.core.files import write_text
from oekd_tf.core.records import Results, RunRecord, StudentRecord
from oekd_tf.studies import plan as planning
from oekd_tf.studies import results as results_file
from oekd_tf.studies.collect import is_finished, record
from oekd_tf.studies.evaluate_run import read_evaluation
from oekd_tf.studies.processes import Workers
from oekd_tf.studies.report import write_report
from oekd_tf.studies.scheduler import shares_of_cores, train_all
from oekd_tf.training.restore import load_data
from oekd_tf.training.widths import find_widths, has_open_budgets, with_known_widths
from oekd_tf.training.workdir import locked, refuse_files_of_others

# What a study writes into its folder.
_STUDY_FILES = (
    "accuracy.png", "curves.png", "gains.png", "methods.csv", "reliability.png", "report.md",
    "runs.csv", "summary.csv",
)  # fmt: skip


def compare(
    config: ConfigDict,
    workdir: str | Path,
    seeds: int = 3,
    students: Sequence[int] = (),
    ablations: Mapping[str, Mapping[str, Any]] | None = None,
    offline: Sequence[int] = (),
    mutual: Sequence[int] = (),
    command: str = "",
    log: Callable[[str], None] = print,
    processes: int = 1,
    offline_arguments: Mapping[str, float] | None = None,
) -> Results:
    """Trains the ensemble and every student alone, seed by seed, and reports.

    All runs share one config: the same data, augmentation, optimizer, schedule and number of
    steps; metrics are those on the test split after the last epoch. Started again, the study
    resumes; more seeds, students and ablations may be added later.

    Args:
        config: Config, from `oekd_tf.config.default_config`; nothing is exported.
        workdir: Folder of the study.
        seeds: Number of seeds, from `config.seed` on.
        students: Students whose baselines are trained; all if empty.
        ablations: For each ablation or method the values of the fields that it changes, by dotted
            path; `oekd_tf.studies.plan.parse_methods` has them of methods.
        offline: Students that are also distilled from student 1, which is trained alone first.
        mutual: Students that are also trained by mutual learning in a pair with student 1.
        command: Command line of the study, for the report.
        log: Called with each progress message.
        processes: Number of runs at a time, each on its share of the cores.
        offline_arguments: Temperature, label weight and distillation weight of offline distillation
            by name, where they differ from the ensemble's.

    Returns:
        The content of the results file, `results.json`.

    Raises:
        ConfigError: The config or an ablation breaks a rule.
        ResultsError: The folder holds another study.
        WorkerError: The ensemble's run failed, which ends the study; or other runs failed, and the
            report is without them.
        Stopped: The study received SIGTERM or Ctrl-C.

    Example:
        >>> config = oekd_tf.config.default_config()
        >>> results = oekd_tf.studies.compare(config, "runs/study", seeds=3)
    """
    config_module.check(config)
    planning.check_further(config, ablations or {})
    workdir = Path(workdir)
    path = workdir / results_file.FILE_NAME
    ablations = results_file.with_known_names(path, ablations or {})
    if not path.exists():
        refuse_files_of_others(workdir, _STUDY_FILES)
    config = _with_widths(config, path, log)
    own = offline_arguments or {}
    runs = planning.plan(config, seeds, students, ablations, offline, mutual, own)
    shares = shares_of_cores(processes)
    workers = Workers(log)
    with locked(workdir), workers.listening():
        further = dict(ablations)
        if offline:
            further[planning.OFFLINE] = planning.offline_fields(own)
        results = results_file.begin(path, config, further, command)
        study = _Study(config, workdir, runs, results, workers, len(shares) > 1, log)
        train_all(study.missing(), study.train, study.trained, study.failed, shares, workers.stop)
        results["failed"] = study.failures
        study.measure_sizes()
        results_file.write(path, results)
        if results["runs"]:
            log(write_report(workdir))
    if study.failures:
        raise WorkerError(
            f"{len(study.failures)} of {len(runs)} runs failed ({'; '.join(study.failures)}); "
            "their errors are above. The others are in the report; run the same command to retry."
        )
    return results


class _Study:
    """Training, evaluation and recording of a study's runs.

    Args:
        config: Config of the study.
        workdir: Folder of the study.
        runs: All runs of the study.
        results: Content of the results file, which is changed in place and written to the folder.
        workers: Worker processes that run them.
        shared: Whether several runs share the machine.
        log: Called with each progress message.

    Attributes:
        failures: Errors of runs that failed, by title.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        runs: Sequence[planning.Run],
        results: Results,
        workers: Workers,
        shared: bool,
        log: Callable[[str], None],
    ):
        self.failures: dict[str, str] = {}
        self._config = config
        self._workdir = workdir
        self._runs = runs
        self._results = results
        self._workers = workers
        self._shared = shared
        self._log = log
        self._titles = {
            run.key: f"run {number} of {len(runs)}: {run.title}"
            for number, run in enumerate(runs, start=1)
        }
        self._to_come = {run.folder for run in self.missing()}
        self._to_record: list[planning.Run] = []
        for run in runs:
            if run.folder not in self._to_come:
                log(f"{self._titles[run.key]}: done before")

    def missing(self) -> list[planning.Run]:
        """Runs that are not in the results."""
        return [run for run in self._runs if not results_file.find(self._results, run)]

    def train(self, run: planning.Run, cores: Sequence[int]) -> None:
        """Trains and evaluates a run, or resumes it."""
        title = self._titles[run.key]
        self._log(title)
        config = planning.run_config(self._config, run, self._workdir)
        folder = self._workdir / run.folder
        if is_finished(folder):
            _refuse_other_config(config, folder)
            return
        with tempfile.TemporaryDirectory() as given:
            path = Path(given) / "config.json"
            write_text(path, config_module.to_json(config))
            self._workers.run(
                title,
                "oekd_tf.cli.workers.study_run",
                f"--config_json={path}",
                f"--workdir={self._workdir / run.workdir}",
                *([f"--cores={','.join(map(str, cores))}"] if self._shared else []),
                shared=self._shared,
            )

    def trained(self, run: planning.Run) -> None:
        """Adds a run to the results, as soon as its teacher is there."""
        self._to_record.append(run)
        self._record()

    def failed(self, run: planning.Run, error: WorkerError) -> None:
        """Leaves a failed run out; a failed ensemble ends the study."""
        if run.method == planning.ENSEMBLE:
            raise error
        self._note_failure(run, error)
        self._record()

    def measure_sizes(self) -> None:
        """Adds the int8 sizes that the results do not have."""
        for run in self._runs:
            found = results_file.find(self._results, run)
            if not found:
                continue
            for student in found["students"]:
                key = results_file.network_key(student)
                if key not in self._results["int8_bytes"]:
                    self._log(f"int8 size of {student['name']} of {run.method} ...")
                    self._results["int8_bytes"][key] = self._int8_bytes(run, found, student)
                    results_file.write(self._workdir / results_file.FILE_NAME, self._results)

    def _note_failure(self, run: planning.Run, error: ValueError) -> None:
        self._log(f"FAILED, and left out: {error}")
        self.failures[run.title] = str(error)
        self._to_come.discard(run.folder)

    def _record(self) -> None:
        for run in self._to_record.copy():
            # A student's agreement is with the ensemble teacher of its seed, if there is one.
            teacher = f"seed_{run.seed}"
            finished = is_finished(self._workdir / teacher)
            if not run.student or finished or teacher not in self._to_come:
                self._to_record.remove(run)
                try:
                    found = record(run, self._workdir, teacher)
                except RecordError as error:
                    self._note_failure(run, error)
                    continue
                results_file.add(self._results, found)
                results_file.write(self._workdir / results_file.FILE_NAME, self._results)

    def _int8_bytes(
        self, run: planning.Run, found: RunRecord, student: StudentRecord
    ) -> int | None:
        config = planning.run_config(self._config, run, self._workdir)
        with tempfile.TemporaryDirectory() as given:
            path, output = Path(given) / "config.json", Path(given) / "size.json"
            write_text(path, config_module.to_json(config))
            try:
                self._workers.run(
                    "the size of an int8 file",
                    "oekd_tf.cli.workers.int8_size",
                    f"--config_json={path}",
                    f"--width={student['width']!r}",
                    f"--image_shape={','.join(map(str, found['image_shape']))}",
                    f"--num_classes={found['num_classes']}",
                    f"--output={output}",
                )
            except WorkerError as error:
                # The converter is native code, and may end its process.
                self._log(f"no int8 size of {student['name']} of {run.method}: {error}")
                return None
            return json.loads(output.read_text())


def _with_widths(config: ConfigDict, path: Path, log: Callable[[str], None]) -> ConfigDict:
    """The study's config with the widths that its budgets are given, or were given before."""
    if not config_module.budgets(config):
        return config
    with tempfile.TemporaryDirectory() as given:
        known = Path(given) / "config.json"
        if path.exists():
            known.write_text(json.dumps(results_file.read(path)["config"]))
        config = with_known_widths(config, [known])
    return find_widths(config, load_data(config), log) if has_open_budgets(config) else config


def _refuse_other_config(config: ConfigDict, folder: Path) -> None:
    text = json.dumps(read_evaluation(folder)["config"])
    there = config_module.from_json(text, imports=False)
    refuse_other_config(there, config, folder, ResultsError)
