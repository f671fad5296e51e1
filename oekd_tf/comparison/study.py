"""Runs a study: every run that is not done yet, then the report."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.comparison import plan as planning
from oekd_tf.comparison import results as results_file
from oekd_tf.comparison.processes import Workers
from oekd_tf.comparison.records import is_finished, record
from oekd_tf.comparison.report import write_report
from oekd_tf.comparison.results import ResultsError
from oekd_tf.comparison.run_files import EVALUATION
from oekd_tf.comparison.side_by_side import shares_of_cores, train_all
from oekd_tf.workdir import held


def compare(
    config: ConfigDict,
    workdir: str | Path,
    seeds: int = 3,
    students: Sequence[int] = (),
    ablations: Mapping[str, Mapping[str, Any]] | None = None,
    offline: Sequence[int] = (),
    mutual: Sequence[int] = (),
    command: str = "",
    say: Callable[[str], None] = print,
    processes: int = 1,
) -> dict[str, Any]:
    """Trains the ensemble and every student alone, seed by seed, and reports.

    All runs share one config: the same data, augmentation, optimizer, schedule and number of
    steps; what is reported is the test split after the last epoch. Started again, it goes on with
    what is missing; more seeds, students and ablations may be asked for later.

    Args:
        config: As `oekd_tf.config.default_config` makes them; nothing is exported.
        workdir: The study's folder.
        seeds: How many, from `config.seed` on.
        students: Whose baselines are trained; all if empty.
        ablations: By name, fields that are other in further ensemble runs, by dotted path.
        offline: Students that are also distilled from student 1, trained alone before.
        mutual: Students that are also trained in a pair with student 1 that learn from each other.
        command: That makes the study, for the report.
        say: Receives each line for the user.
        processes: Runs at once, each on its share of the cores.

    Returns:
        The content of the results file, `results.json`.

    Raises:
        ConfigError: The config or an ablation breaks a rule.
        ResultsError: The folder holds another study.
        WorkerError: A run failed.
        Stopped: SIGTERM or Ctrl-C came.

    Example:
        >>> config = oekd_tf.config.default_config()
        >>> results = oekd_tf.comparison.compare(config, "runs/study", seeds=3)
    """
    config_module.check(config)
    workdir = Path(workdir)
    ablations = ablations or {}
    path = workdir / results_file.FILE_NAME
    runs = planning.plan(config, seeds, students, ablations, offline, mutual)
    shares = shares_of_cores(processes)
    workers = Workers(say)
    with held(workdir), workers.listening():
        results = results_file.begin(path, config, ablations, command)
        titles = {
            run.key: f"run {number} of {len(runs)}: {run.title}"
            for number, run in enumerate(runs, start=1)
        }
        there = [run for run in runs if results_file.find(results, run)]
        for run in there:
            say(f"{titles[run.key]}: done before")
        to_record: list[planning.Run] = []

        def train(run: planning.Run, cores: Sequence[int]) -> None:
            say(titles[run.key])
            own = planning.run_config(config, run, workdir)
            own_cores = cores if len(shares) > 1 else ()
            _finish(run, own, workdir, workers, titles[run.key], own_cores)

        def trained(run: planning.Run) -> None:
            to_record.append(run)
            for one in to_record.copy():
                # A student is compared with the ensemble teacher of its seed.
                if not one.student or is_finished(workdir / f"seed_{one.seed}"):
                    to_record.remove(one)
                    results_file.add(results, record(one, workdir, f"seed_{one.seed}"))
                    results_file.write(path, results)

        missing = [run for run in runs if run not in there]
        train_all(missing, train, trained, shares, workers.stop)
        for run in runs:
            own = planning.run_config(config, run, workdir)
            if _measure_sizes(results, run, own, workers, say):
                results_file.write(path, results)
        results_file.write(path, results)
        say(write_report(workdir))
    return results


def _finish(
    run: planning.Run,
    config: ConfigDict,
    study: Path,
    workers: Workers,
    what: str,
    cores: Sequence[int],
) -> None:
    """Trains and evaluates a run that has not been, or that was stopped; on all cores if ()."""
    folder = study / run.folder
    if is_finished(folder):
        there = json.loads((folder / EVALUATION).read_text())["config"]
        there = config_module.from_json(json.dumps(there))
        own = config_module.from_json(config_module.to_json(config))
        field = config_module.first_difference(there, own)
        if field:
            raise ResultsError(
                f"config.{field} must be what {folder} was trained with, "
                f"{config_module.get(there, field)!r}, or --workdir another folder. "
                f"Received: {config_module.get(own, field)!r}"
            )
        return
    with tempfile.TemporaryDirectory() as given:
        path = Path(given) / "config.json"
        path.write_text(config_module.to_json(config))
        workers.run(
            what,
            "oekd_tf.comparison.worker",
            f"--config_json={path}",
            f"--workdir={study / run.workdir}",
            f"--cores={','.join(map(str, cores))}",
            shared=bool(cores),
        )


def _measure_sizes(
    results: dict[str, Any],
    run: planning.Run,
    config: ConfigDict,
    workers: Workers,
    say: Callable[[str], None],
) -> bool:
    """Adds the int8 sizes of a run's students that no run had before; whether there were any."""
    sizes = results["int8_bytes"]
    found = results_file.find(results, run)
    missing = [s for s in found["students"] if results_file.network_key(s) not in sizes]
    if not missing:
        return False
    widths = {repr(student["width"]): student for student in missing}
    say(f"int8 size of {', '.join(student['name'] for student in missing)} of {run.method} ...")
    with tempfile.TemporaryDirectory() as given:
        path, output = Path(given) / "config.json", Path(given) / "sizes.json"
        path.write_text(config_module.to_json(config))
        workers.run(
            "the sizes of int8 files",
            "oekd_tf.comparison.int8_sizes",
            f"--config_json={path}",
            f"--widths={','.join(widths)}",
            f"--image_shape={','.join(map(str, found['image_shape']))}",
            f"--num_classes={found['num_classes']}",
            f"--output={output}",
        )
        measured = json.loads(output.read_text())
    for width, student in widths.items():
        sizes[results_file.network_key(student)] = measured[width]
    return True
