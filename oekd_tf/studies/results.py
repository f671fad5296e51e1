"""The results file of a study, from which its report is made."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.config.difference import refuse_other_config
from oekd_tf.config.migration import migrate_overrides
from oekd_tf.core.errors import ResultsError, format_value
from oekd_tf.core.files import write_text
from oekd_tf.core.json_files import read_json
from oekd_tf.core.records import Results, RunRecord, StudentRecord
from oekd_tf.studies.plan import METHODS, Run, flag_of, is_method

FILE_NAME = "results.json"
SCHEMA = 1

# Fields that differ between runs.
_OF_A_RUN = ("seed", "only_student")


def begin(
    path: str | Path,
    config: ConfigDict,
    ablations: Mapping[str, Mapping[str, Any]],
    command: str,
) -> Results:
    """The results so far of a study that is started or resumed.

    Args:
        path: Path of the results file, which need not exist.
        config: Config of the study.
        ablations: Ablations to add; those in the file stay.
        command: Command line of the study.

    Returns:
        The file's content, with the new ablations and, one per line, all commands so far.

    Raises:
        ResultsError: The file cannot be read, or is of another config or of other ablations of
            the same names.
    """
    wanted = {name: _plain(overrides) for name, overrides in ablations.items()}
    path = Path(path)
    if not path.exists():
        return {
            "schema": SCHEMA,
            "name": config.name,
            "command": command,
            "config": json.loads(config_module.to_json(config)),
            "methods": {**{method: {} for method in METHODS}, **wanted},
            "int8_bytes": {},
            "runs": [],
        }
    results = read(path)
    # What the file names as backbone is not imported: it is another's, and importing runs it.
    there = config_module.from_json(json.dumps(results["config"]), imports=False)
    asked = config_module.from_json(config_module.to_json(config))
    for one in (there, asked):
        one.seed, one.only_student = 0, 0
    refuse_other_config(there, asked, path, ResultsError)
    for name, overrides in wanted.items():
        known = results["methods"].setdefault(name, overrides)
        if migrate_overrides(known) != migrate_overrides(overrides):
            raise ResultsError(
                f"{flag_of(name, overrides)} must be what {path} has under {name!r}, {known}, "
                f"or have another name. Received: {overrides}"
            )
    commands = results["command"].splitlines()
    results["command"] = "\n".join([*commands, *([command] if command not in commands else [])])
    return results


def with_known_names(
    path: str | Path, ablations: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Ablations, with methods under the names by which a study has them already.

    A method's name comes from the text of its flag, which may be written in several ways.

    Args:
        path: Path of the results file, which need not exist.
        ablations: Fields that each changes, by its name.

    Raises:
        ResultsError: The file cannot be read.
    """
    path = Path(path)
    known = read(path)["methods"] if path.exists() else {}
    named = {}
    for name, overrides in ablations.items():
        same = (one for one in known if is_method(overrides) and known[one] == _plain(overrides))
        named[next(same, name)] = overrides
    return named


def read(path: str | Path) -> Results:
    """Reads a results file.

    Args:
        path: Path of the file.

    Returns:
        Content of the file.

    Raises:
        ResultsError: The file does not exist, or not of this schema.

    Example:
        >>> [run["seed"] for run in read("runs/compare_demo/results.json")["runs"]]
    """
    path = Path(path)
    what = f"a study's results, of schema {SCHEMA}"
    try:
        return read_json(path, Results, what, ResultsError, _check)
    except FileNotFoundError:
        raise ResultsError(
            f"There must be a results file of a study. Received: no {path}"
        ) from None


def _check(results: Results) -> None:
    """Raises a ValueError where fields do not fit together."""
    if results["schema"] != SCHEMA:
        raise ValueError(f"schema must be {SCHEMA}, and is {results['schema']}")
    keys, bins = set(), set()
    for number, run in enumerate(results["runs"]):
        place = f"runs[{number}]"
        if run["method"] not in results["methods"]:
            raise ValueError(
                f"{place}.method must be among methods, {', '.join(results['methods'])}, and is "
                f"{format_value(run['method'])}"
            )
        key = run["method"], run["seed"], run["student"]
        if key in keys:
            raise ValueError(f"{place} must be a run of its own, and is one that was before")
        keys.add(key)
        epochs = run["curves"].get("epoch")
        for name, values in run["curves"].items():
            if epochs is None or len(values) != len(epochs):
                raise ValueError(f"{place}.curves.{name} must have a value an epoch, and has not")
        if epochs is not None and any(a >= b for a, b in itertools.pairwise(epochs)):
            raise ValueError(f"{place}.curves.epoch must rise, and does not")
        names = [student["name"] for student in run["students"]]
        if len(set(names)) < len(names):
            raise ValueError(f"{place}.students must have names that differ, and have not")
        for scores in (*run["students"], *([run["teacher"]] if run["teacher"] else [])):
            bins.add(len(scores["reliability"]))
            for _, confidence, accuracy in scores["reliability"]:
                if max(confidence, accuracy) > 1:
                    raise ValueError(f"{place} must have reliability from 0 to 1, and has not")
    if len(bins) > 1:
        raise ValueError("runs must have reliability of one number of bins, and have several")


def write(path: str | Path, results: Results) -> None:
    """Writes a results file atomically.

    Each run is on a line of its own, so that a diff of two files shows which runs are new.

    Args:
        path: Path of the file.
        results: Content of the file.
    """
    head = [
        f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
        for name, value in results.items()
        if name != "runs"
    ]
    runs = ",\n".join(json.dumps(run, ensure_ascii=False) for run in results["runs"])
    runs = f"[\n{runs}\n]" if runs else "[]"
    write_text(path, "{\n" + ",\n".join([*head, f'"runs": {runs}']) + "\n}\n")


def add(results: Results, record: RunRecord) -> None:
    """Adds or replaces the record of a run; records are sorted by method, seed and student."""
    methods = list(results["methods"])

    def order(one: RunRecord) -> tuple[int, int, int]:
        return methods.index(one["method"]), one["seed"], one["student"]

    others = [run for run in results["runs"] if order(run) != order(record)]
    results["runs"] = sorted([*others, record], key=order)


def find(results: Results, run: Run) -> RunRecord | None:
    """The record of a run; None if there is none."""
    return find_run(results, run.key)


def find_run(results: Results, key: tuple[str, int, int]) -> RunRecord | None:
    """The record with this method, seed and student; None if there is none."""
    for one in results["runs"]:
        if (one["method"], one["seed"], one["student"]) == key:
            return one
    return None


def network_key(student: StudentRecord) -> str:
    """Identifies a student's network within the study, whatever method trained it."""
    return f"width {student['width']:g}, {student['parameters']}, {student['flops']}"


def _plain(value: Any) -> Any:
    """A value as it is after a round trip through JSON."""
    return json.loads(json.dumps(value))
