"""The contract of a run: what makes its inputs and outputs, written when training starts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oekd_tf.core.contract import check_contract
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.files import write_bytes, write_text
from oekd_tf.core.json_files import digest, read_json
from oekd_tf.core.records import Contract, InitialWeights
from oekd_tf.data.folder import changes
from oekd_tf.data.recorded import Recorded, RecordedData, read_files, write_files

FILE_NAME = "contract.json"
_KEPT = "method_"
_FILES_NAME = "data_files.json.gz"


def write_contract(
    workdir: str | Path,
    data: Any,
    initial_weights: InitialWeights | None = None,
    teacher_logits: str | None = None,
) -> None:
    """Writes the contract of a run that starts now, and the names of its files.

    Args:
        workdir: Folder of the run.
        data: The data set.
        initial_weights: What students begin with, where that is not at random.
        teacher_logits: SHA-256 of the stored logits that they follow, where they do.
    """
    workdir = Path(workdir)
    if data.files is not None:
        write_files(workdir / _FILES_NAME, data.files)
    # A network is built from it: what was changed by accident must not be taken for what was.
    contract = dict(data.contract)
    if initial_weights:
        contract["initial_weights"] = initial_weights
    if teacher_logits:
        contract["teacher_logits"] = teacher_logits
    signed = {**contract, "digest": digest(contract)}
    write_text(workdir / FILE_NAME, json.dumps(signed, indent=2) + "\n")


def keep_files(workdir: str | Path, method: Any) -> None:
    """Keeps the files that arguments of a run's method name, such as its teacher.

    Args:
        workdir: Folder of the run.
        method: The method.
    """
    for argument, path in method.files.items():
        write_bytes(_kept(workdir, argument, path.suffix), path.read_bytes())


def kept_files(workdir: str | Path) -> dict[str, str]:
    """Paths of the files that `keep_files` has kept, by argument of the method."""
    found = Path(workdir).glob(_kept(workdir, "*", ".*").name)
    return {path.stem.removeprefix(_KEPT): str(path) for path in found}


def _kept(workdir: str | Path, argument: str, suffix: str) -> Path:
    return Path(workdir) / f"{_KEPT}{argument}{suffix}"


def read_contract(workdir: str | Path) -> Contract | None:
    """Reads the contract of a run.

    Args:
        workdir: Folder of the run.

    Returns:
        The contract; None of runs of version 0.1, which have none.

    Raises:
        ConfigError: The file is damaged.
    """
    path = Path(workdir) / FILE_NAME
    try:
        contract = read_json(path, Contract, "a run's contract", ConfigError, _check)
    except FileNotFoundError:
        return None
    contract.pop("digest", None)
    return contract


def _check(contract: Contract) -> None:
    check_contract(contract)
    RecordedData(contract)


def recorded(workdir: str | Path) -> Recorded | None:
    """What the data set of a run is opened by, so that it is what it was; None without contract."""
    contract = read_contract(workdir)
    if contract is None:
        return None
    try:
        files = read_files(Path(workdir) / _FILES_NAME)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return Recorded(contract["class_names"] or (), files)


def adopt(data: Any, contract: Contract, workdir: str | Path) -> None:
    """Makes a data set the one of a contract: its mean and standard deviation are the recorded.

    Args:
        data: The data set as it is today.
        contract: The run's contract.
        workdir: Folder of the run, for errors.

    Raises:
        ConfigError: What a label means, or what is trained or tested on, has changed.
    """
    data.take_statistics(contract["mean"], contract["std"])
    refuse_changes(contract, data.contract, workdir, data.files)
    data.contract = contract


def refuse_other_data(data: Any, workdir: str | Path, parent_workdir: str | Path) -> None:
    """Raises if an ensemble and its baselines would be trained on different data.

    Args:
        data: The data set of a run that starts now.
        workdir: Folder of the run.
        parent_workdir: Folder of the ensemble's run, below which its baselines are.

    Raises:
        ConfigError: A run beside it began with other data.
    """
    parent = Path(parent_workdir)
    for folder in (
        parent,
        *sorted(path.parent for path in parent.glob(f"*_student_*/{FILE_NAME}")),
    ):
        trained = any(folder.glob("checkpoints/epoch_*"))
        if folder != Path(workdir) and trained and (contract := read_contract(folder)):
            refuse_changes(contract, data.contract, folder, data.files)


def refuse_changes(
    then: Contract,
    now: Contract,
    workdir: str | Path,
    files: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Raises if data are not those that a run began with.

    Args:
        then: The run's contract.
        now: The contract of the data as they are.
        workdir: Folder of the run, for the error.
        files: Names of the files of an image folder as they are, by split.

    Raises:
        ConfigError: They differ; the message says in what.
    """
    found = _difference(then, now, _example(workdir, files))
    if found:
        raise ConfigError(
            f"The data have changed since the run in {workdir} began: {found}. Put them back "
            "(--config.data.data_dir or --data_dir is where they are), or train anew in another "
            "--workdir."
        )


def _example(workdir: str | Path, files: Mapping[str, Sequence[str]] | None) -> str:
    """A file that was added or taken away since a run began."""
    before = read_files(Path(workdir) / _FILES_NAME)
    if before is None or files is None:
        return ""
    old, new = (
        {f"{split}: {name}" for split, names in each.items() for name in names}
        for each in (before, files)
    )
    for what, names in (("is new", new - old), ("is gone", old - new)):
        if names:
            return f", such as {min(names)}, which {what}"
    return ""


def _difference(then: Contract, now: Contract, example: str = "") -> str:
    if then["class_names"] != now["class_names"]:
        return "classes, " + changes(then["class_names"] or (), now["class_names"] or ())
    for field in ("image_shape", "preparation"):
        if then[field] != now[field]:
            return f"{field} was {then[field]}, is {now[field]}"
    before, today = then["splits"] or {}, now["splits"] or {}
    for name in ("train", "validation", "test"):
        old, new = before.get(name), today.get(name)
        if old == new:
            continue
        if old is None or new is None:
            return f"there {'was no' if old is None else 'is no'} {name} split"
        if old["examples"] != new["examples"]:
            return f"{name} had {old['examples']:,} pictures, has {new['examples']:,}{example}"
        return f"{name} has as many pictures, but their names, contents or labels differ{example}"
    return ""
