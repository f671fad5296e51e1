"""The runs of a study, and the config of each."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.config.building import method_arguments
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

# What offline distillation takes from the ensemble's method, or has of its own.
OFFLINE_ARGUMENTS = ("temperature", "label_weight", "distillation_weight")

# Sections that an ablation may change. Data, batch size, epochs and seed are the same in all runs.
_SECTIONS = (
    "method", "ensemble", "overlay", "backbone", "optimizer", "schedule", "label_loss",
)  # fmt: skip
# How the report's files end.
_ENDINGS = (".json", ".md", ".csv", ".png", ".lock")
_LONGEST_NAME = 80


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
    offline_arguments: Mapping[str, float] | None = None,
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
        offline_arguments: Those of `OFFLINE_ARGUMENTS` that differ from the ensemble's.

    Returns:
        For each seed the ensemble, each student alone, offline and in a pair, and each ablation.

    Raises:
        ConfigError: A rule above is broken, or `check_further` refuses an ablation.

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
    if offline_arguments and not offline:
        raise ConfigError(
            "--offline_arguments must be left out without --offline, whose students they are for. "
            f"Received: {dict(offline_arguments)}"
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
    check_further(config, ablations or {})
    runs = []
    for seed in range(config.seed, config.seed + seeds):
        workdir = f"seed_{seed}"
        runs.append(Run(ENSEMBLE, seed, 0, {}, workdir, workdir))
        runs += [
            Run(ALONE, seed, student, {}, workdir, f"{workdir}/baseline_student_{student}")
            for student in sorted(students)
        ]
        runs += [
            Run(
                OFFLINE,
                seed,
                student,
                offline_fields(offline_arguments or {}),
                workdir,
                f"{workdir}/offline_student_{student}",
            )
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
    for run in runs:
        with _naming(run.method, run.overrides):
            run_config(config, run)
    return runs


def check_further(config: ConfigDict, ablations: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks ablations and methods against the study's config, before any work.

    Args:
        config: Config of the study; widths for its budgets need not be found.
        ablations: Fields that they change, from `parse_ablations` and `parse_methods`.

    Raises:
        ConfigError: A name is not allowed, a config breaks a rule, or two methods mean the same.
            The message names the flag.
    """
    own = ConfigDict(config).copy_and_resolve_references()
    if budgets := config_module.budgets(own):
        # As many as there will be.
        own.ensemble.widths = tuple(1 - n / (len(budgets) + 1) for n in range(len(budgets) + 1))
        config_module.drop_budgets(own)
    meanings = [(_meaning(own), "the study's own method")]
    for name, overrides in ablations.items():
        _check_name(name)
        further = ConfigDict(own).copy_and_resolve_references()
        with _naming(name, overrides):
            config_module.set_fields(further, overrides, within=_SECTIONS)
        if not is_method(overrides):
            continue
        meaning, flag = _meaning(further), flag_of(name, overrides)
        for known, what in meanings:
            if known == meaning:
                raise ConfigError(
                    "--method must be given once for each, and not for the study's own. "
                    f"Received: {flag}, which means the same as {what}"
                )
        meanings.append((meaning, flag))


def _meaning(config: ConfigDict) -> tuple[type, dict[str, Any]]:
    """A method, whatever name it goes by, and all of its arguments."""
    from oekd_tf.methods import method_class

    return method_class(config.method.name), method_arguments(config)


@contextlib.contextmanager
def _naming(name: str, overrides: Mapping[str, Any]) -> Iterator[None]:
    """Names the flag in errors about the config of an ablation or method."""
    try:
        yield
    except ConfigError as error:
        if name in METHODS and not (name == OFFLINE and overrides):
            raise
        raise ConfigError(f"{flag_of(name, overrides)}: {error}") from error


def is_method(overrides: Mapping[str, Any]) -> bool:
    """Whether these fields are a --method: a method and its arguments, and nothing else."""
    return "method.name" in overrides and all(path.startswith("method.") for path in overrides)


def flag_of(name: str, overrides: Mapping[str, Any]) -> str:
    """What the command line calls a further ensemble.

    Args:
        name: Its name in the study.
        overrides: Fields that it changes.

    Example:
        >>> flag_of("dml_temperature_3.0", parse_methods(["dml:temperature=3.0"]).popitem()[1])
        '--method=dml:temperature=3.0'
    """
    if name == OFFLINE:
        return "--offline_arguments"
    if not is_method(overrides):
        return f"--ablation={name}"
    values = [
        f"{path.removeprefix('method.arguments.')}={value}"
        for path, value in overrides.items()
        if path != "method.name"
    ]
    return f"--method={overrides['method.name']}{':' if values else ''}{','.join(values)}"


def _check_name(name: str) -> None:
    # The name becomes a folder, beside those of the seeds and the report's files.
    if name.startswith((*METHODS, "seed_")) or name.endswith(_ENDINGS):
        raise ConfigError(
            f"An ablation's name must not begin with {', '.join(METHODS)} or seed_, nor end as a "
            f"report's file. Received: {name!r}"
        )


def offline_fields(arguments: Mapping[str, float]) -> dict[str, float]:
    """Fields of the config that offline distillation has of its own.

    Args:
        arguments: Values of some of `OFFLINE_ARGUMENTS` by name.

    Raises:
        ConfigError: An argument has another name.
    """
    for name in arguments:
        if name not in OFFLINE_ARGUMENTS:
            raise ConfigError(
                f"--offline_arguments must be of {', '.join(OFFLINE_ARGUMENTS)}. Received: {name!r}"
            )
    return {f"method.arguments.{name}": value for name, value in arguments.items()}


def parse_offline(text: str) -> dict[str, Any]:
    """Parses the flag --offline_arguments.

    Args:
        text: "name=value,name=value"; "" is none.

    Returns:
        Values by name.

    Raises:
        ConfigError: The text is none of these.

    Example:
        >>> parse_offline("temperature=4,label_weight=0.1")
        {'temperature': 4, 'label_weight': 0.1}
    """
    pairs = [part.partition("=")[::2] for part in text.split(",")] if text else []
    values = {name.strip(): config_module.read_value(value.strip()) for name, value in pairs}
    if len(values) < len(pairs) or not all(isinstance(v, int | float) for v in values.values()):
        raise ConfigError(
            "--offline_arguments must be NAME=NUMBER,NAME=NUMBER, each name once. "
            f"Received: {text!r}"
        )
    offline_fields(values)
    return values


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
    # The study has its own.
    own.baselines, own.note = (), ""
    # The study has found their widths.
    config_module.drop_budgets(own)
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
        parts = re.split(r",(?=\s*[A-Za-z_]\w*=)", match[2]) if match and match[2] else []
        pairs = [[half.strip() for half in part.partition("=")[::2]] for part in parts]
        if not (match and all(map(all, pairs))):
            raise ConfigError(
                "--method must be METHOD or METHOD:argument=value,argument=value. "
                f"Received: {text!r}"
            )
        if len({argument for argument, _ in pairs}) < len(pairs):
            raise ConfigError(f"--method must have each argument once. Received: {text!r}")
        overrides = {"method.name": match[1]}
        for argument, value in pairs:
            overrides[f"method.arguments.{argument}"] = config_module.read_value(value)
        name = _folder_name(match[1], pairs)
        if name in found and found[name] != overrides:
            name = _folder_name(match[1], pairs, digest=True)
        if name in found:
            raise ConfigError(f"--method must be given once for each. Received: {text!r} twice")
        found[name] = overrides
    return found


def parse_further(methods: Sequence[str], ablations: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parses --method and --ablation flags together.

    Args:
        methods: Values of --method, as in `parse_methods`.
        ablations: Values of --ablation, as in `parse_ablations`.

    Returns:
        Values of the fields for each, the methods first.

    Raises:
        ConfigError: A text breaks a rule, or an ablation has the name of a method.
    """
    found, others = parse_methods(methods), parse_ablations(ablations)
    for name in found.keys() & others.keys():
        raise ConfigError(
            f"--ablation must have a name that no --method has. Received: {name!r} beside "
            f"{flag_of(name, found[name])}"
        )
    return {**found, **others}


def _folder_name(method: str, pairs: Sequence[Sequence[str]], digest: bool = False) -> str:
    """A name of a folder for a method with these arguments."""
    words = "_".join([method.rpartition(":")[2], *(half for pair in pairs for half in pair)])
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", words).strip("_.")
    # What the name leaves out is in the digest.
    odd = name != words or ":" in method or len(name) > _LONGEST_NAME or name.endswith(_ENDINGS)
    if odd or digest:
        text = json.dumps([method, *pairs])
        name = f"{name[:_LONGEST_NAME]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    # The study's own names are taken.
    return f"by_{name}" if name.startswith((*METHODS, "seed_")) else name
