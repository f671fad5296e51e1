"""The runs of a study, and the config of each."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError

ENSEMBLE = "ensemble"
ALONE = "alone"
# Alternatives to an ensemble.
OFFLINE = "offline"
MUTUAL = "mutual"
METHODS = (ENSEMBLE, ALONE, OFFLINE, MUTUAL)

# Deep mutual learning (arXiv 1706.00384, equation 3): a pair of networks that share nothing, each
# under its labels and the other's output, unsoftened.
MUTUAL_FIELDS = {
    "ensemble.shared_stem": False,
    "ensemble.pseudo_teacher_epochs": 0,
    "method.name": "dml",
    "method.arguments": {"temperature": 1.0, "label_weight": 1.0, "distillation_weight": 1.0},
}

# Sections that an ablation may change. Data, batch size, epochs and seed are the same in all runs.
_SECTIONS = ("method", "ensemble", "backbone", "optimizer", "schedule", "label_loss")
# File extensions of the report.
_FILES = ("json", "md", "csv", "png", "lock")


class Run(NamedTuple):
    """One training run of a study.

    Attributes:
        method: One of `METHODS`, or the name of an ablation.
        seed: Random seed of initial weights, order and augmentation.
        student: Number of the one student that the run is about, from 1; 0 for all students.
        overrides: Values of the config's fields that differ from the study's, by dotted path.
        workdir: Workdir for `oekd_tf.training.train`, below the study's folder.
        folder: Folder of the run's files, below the study's folder.
    """

    method: str
    seed: int
    student: int
    overrides: Mapping[str, Any]
    workdir: str
    folder: str

    @property
    def key(self) -> tuple[str, int, int]:
        """Method, seed and student, which identify a run within the study."""
        return self.method, self.seed, self.student

    @property
    def title(self) -> str:
        """A description, for instance "seed 0, student 2 alone"."""
        who = f"student {self.student} {self.method}" if self.student else self.method
        return f"seed {self.seed}, {who}"


def plan(
    config: ConfigDict,
    seeds: int,
    students: Sequence[int] = (),
    ablations: Mapping[str, Mapping[str, Any]] | None = None,
    offline: Sequence[int] = (),
    mutual: Sequence[int] = (),
) -> list[Run]:
    """The runs of a study, in their order.

    They are ordered by seed, so that a study that is stopped early has complete seeds to compare.

    Args:
        config: Config that all runs share; its seed is the first.
        seeds: Number of seeds, at least 1.
        students: Students whose baselines are trained; all if empty.
        ablations: Fields that ablations change, from `parse_ablations`.
        offline: Students that are also distilled from student 1, which is trained alone first.
        mutual: Students that are also trained by mutual learning in a pair with student 1.

    Returns:
        For each seed the ensemble, each student alone, offline and in a pair, and each ablation.

    Raises:
        ConfigError: A rule above is broken, or an ablation's config breaks one.

    Example:
        >>> [run.title for run in plan(config, seeds=1, students=(2,))]
        ['seed 0, ensemble', 'seed 0, student 2 alone']
    """
    count = len(config.ensemble.widths)
    students = list(students) or list(range(1, count + 1))
    offline, mutual = list(offline), list(mutual)
    if seeds < 1:
        raise ConfigError(f"--seeds must be at least 1. Received: {seeds}")
    for flag, numbers, first in (
        ("students", students, 1),
        ("offline", offline, 2),
        ("mutual", mutual, 2),
    ):
        if numbers and count < first:
            raise ConfigError(
                f"--{flag} must be left out where there is one student. Received: {numbers}"
            )
        if len(set(numbers)) < len(numbers) or not all(first <= s <= count for s in numbers):
            raise ConfigError(
                f"--{flag} must be numbers from {first} to {count}, each once. Received: {numbers}"
            )
    if offline and 1 not in students:
        raise ConfigError(
            "--students must hold 1, the teacher of --offline. "
            f"Received: {students} and --offline={offline}"
        )
    if config.only_student:
        raise ConfigError(
            "config.only_student must be 0 in a comparison; --students chooses the baselines. "
            f"Received: {config.only_student}"
        )
    if config.strategy == "multi_worker":
        raise ConfigError(
            "config.strategy must be one of a single host in a comparison. "
            f"Received: {config.strategy!r}"
        )
    runs = []
    for seed in range(config.seed, config.seed + seeds):
        workdir = f"seed_{seed}"
        runs.append(Run(ENSEMBLE, seed, 0, {}, workdir, workdir))
        runs += [
            Run(ALONE, seed, student, {}, workdir, f"{workdir}/baseline_student_{student}")
            for student in sorted(students)
        ]
        runs += [
            Run(OFFLINE, seed, student, {}, workdir, f"{workdir}/offline_student_{student}")
            for student in sorted(offline)
        ]
        for student in sorted(mutual):
            folder = f"{MUTUAL}_{student}/{workdir}"
            widths = (1.0, config.ensemble.widths[student - 1])
            fields = {**MUTUAL_FIELDS, "ensemble.widths": widths}
            runs.append(Run(MUTUAL, seed, student, fields, folder, folder))
        for name, overrides in (ablations or {}).items():
            folder = f"{name}/{workdir}"
            runs.append(Run(name, seed, 0, dict(overrides), folder, folder))
    for name in ablations or {}:
        _check_name(name)
    for run in runs:
        with _naming_ablation(run):
            run_config(config, run)
    return runs


@contextlib.contextmanager
def _naming_ablation(run: Run) -> Iterator[None]:
    """Names the ablation or method in errors about its config."""
    try:
        yield
    except ConfigError as error:
        if run.method in METHODS:
            raise
        raise ConfigError(f"{kind_of(run.overrides)} {run.method!r}: {error}") from error


def kind_of(overrides: Mapping[str, Any]) -> str:
    """What the command line calls a further ensemble: --method or --ablation."""
    by_method = "method.name" in overrides and all(f.startswith("method.") for f in overrides)
    return "Method" if by_method else "Ablation"


def _check_name(name: str) -> None:
    # The name becomes a folder, beside those of the seeds and the report's files.
    if name.startswith((*METHODS, "seed_")) or ("." in name and name.rpartition(".")[2] in _FILES):
        raise ConfigError(
            f"An ablation's name must not begin with {', '.join(METHODS)} or seed_, nor end as a "
            f"report's file. Received: {name!r}"
        )


def needed(run: Run) -> tuple[str, int, int] | None:
    """Key of the run that must be trained before this one; None if there is none.

    Example:
        >>> offline = plan(config, seeds=1, offline=[5])[-1]
        >>> needed(offline)
        ('alone', 0, 1)
    """
    return (ALONE, run.seed, 1) if run.method == OFFLINE else None


def run_config(config: ConfigDict, run: Run, study: str | Path = ".") -> ConfigDict:
    """The config of one run.

    Args:
        config: Config of the study.
        run: A run from `plan`.
        study: Folder of the study.

    Returns:
        A copy with the run's seed, student and overrides, without exports.

    Raises:
        ConfigError: It breaks a rule.
    """
    own = ConfigDict(config).copy_and_resolve_references()
    own.seed = run.seed
    if run.method in (ALONE, OFFLINE):
        own.only_student = run.student
    if run.method == OFFLINE:
        own.teacher_workdir = str(Path(study) / run.workdir)
    own.export.formats = ()
    # The study has found their widths.
    own.ensemble.int8_bytes = ()
    config_module.set_fields(own, run.overrides, within=_SECTIONS)
    return own


def parse_ablations(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parses --ablation flags.

    Args:
        texts: Values of the flag, "NAME:field=value,field=value". A value may hold commas.

    Returns:
        Values of the fields for each ablation; Python literals are evaluated.

    Raises:
        ConfigError: A text is none of these, or two have the same name.

    Example:
        >>> parse_ablations(["T4:method.arguments.temperature=4.0"])
        {'T4': {'method.arguments.temperature': 4.0}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, _, rest = text.partition(":")
        parts = re.split(r",(?=\s*[a-z_][a-z0-9_.]*=)", rest)
        pairs = [[half.strip() for half in part.partition("=")[::2]] for part in parts]
        if not (re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) and all(map(all, pairs))):
            raise ConfigError(
                "--ablation must be NAME:field=value,field=value with a name of letters, digits, "
                f"'.', '_' and '-'. Received: {text!r}"
            )
        if name in found:
            raise ConfigError(f"An ablation's name must not be taken. Received: {name!r} twice")
        _check_name(name)
        found[name] = {field: config_module.read_value(value) for field, value in pairs}
    return found


def parse_methods(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parses --method flags: further ensembles that are trained by another method.

    Args:
        texts: Values of the flag, "METHOD" or "METHOD:argument=value,argument=value", with a
            method of `oekd_tf.methods.names()`, or "module:Class" for a user's own.

    Returns:
        Values of the fields for each method, in the form of `parse_ablations`.

    Raises:
        ConfigError: A text is none of these, or two are the same.

    Example:
        >>> parse_methods(["dml:temperature=3.0"])
        {'dml_temperature_3.0': {'method.name': 'dml', 'method.arguments.temperature': 3.0}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        # A user's own class has a colon too: "module:Class:argument=value".
        match = re.fullmatch(r"([\w.]+(?::[A-Z]\w*)?)(?::([A-Za-z_]\w*=.+))?", text.strip())
        if not match:
            raise ConfigError(
                "--method must be METHOD or METHOD:argument=value,argument=value. "
                f"Received: {text!r}"
            )
        parts = re.split(r",(?=\s*[A-Za-z_]\w*=)", match[2]) if match[2] else []
        pairs = [[half.strip() for half in part.partition("=")[::2]] for part in parts]
        overrides = {"method.name": match[1]}
        for argument, value in pairs:
            overrides[f"method.arguments.{argument}"] = config_module.read_value(value)
        name = "_".join([match[1].rpartition(":")[2], *(half for pair in pairs for half in pair)])
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.")
        if name in found:
            raise ConfigError(f"--method must be given once for each. Received: {text!r} twice")
        # The name becomes a folder of the study, whose own names are taken.
        found[f"by_{name}" if name.startswith((*METHODS, "seed_")) else name] = overrides
    return found
