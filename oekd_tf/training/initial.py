"""What a run's students begin with, kept in its folder: it is needed again after a stop."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError, as_config_error
from oekd_tf.core.files import sha256, temporary_path
from oekd_tf.core.keras_files import find_model
from oekd_tf.core.records import Contract, InitialWeights
from oekd_tf.models.pretrained.source import (
    IMAGENET,
    RULE,
    Source,
    find_source,
    pixels_of,
    source_of,
)

FILE_NAME = "initial_weights.keras"
_FIELDS = ["initial_weights", "ensemble.slice"]
_TEXT = "config.initial_weights must suit the network"


def keep_initial_weights(config: ConfigDict, workdir: Path, image_shape: tuple[int, ...]) -> None:
    """Copies what students begin with to a run that starts now.

    A student alone begins with what its ensemble began with, whatever has become of that file.

    Args:
        config: The run's config, with `initial_weights`.
        workdir: Folder of the run.
        image_shape: Shape of the images.

    Raises:
        ConfigError: There are no such weights.
    """
    kept, ensembles = workdir / FILE_NAME, workdir.parent / FILE_NAME
    with as_config_error(_FIELDS, _TEXT), temporary_path(kept) as partial:
        if config.only_student and ensembles.exists():
            shutil.copyfile(ensembles, partial)
        elif config.initial_weights == IMAGENET:
            source = find_source(IMAGENET, config_module.make_backbone(config), image_shape)
            assert source.model is not None, "It was loaded as a model"
            source.model.save(partial)
        else:
            shutil.copyfile(find_model(config.initial_weights, RULE), partial)


def check_initial_weights(config: ConfigDict, workdir: Path) -> None:
    """Looks whether there is a file of weights, before data are read.

    Args:
        config: The run's config, with `initial_weights`.
        workdir: Folder of the run.

    Raises:
        ConfigError: There is none.
    """
    if config.only_student and (workdir.parent / FILE_NAME).exists():
        return
    if config.initial_weights != IMAGENET:
        with as_config_error(_FIELDS, _TEXT):
            find_model(config.initial_weights, RULE)


@contextlib.contextmanager
def dropped_unless_begun(workdir: Path, facts: InitialWeights | None) -> Iterator[None]:
    """Deletes the copy of the weights where the block fails: no run has begun with them.

    Args:
        workdir: Folder of the run.
        facts: What the run's contract will say of the copy; None if it was not made now.
    """
    try:
        yield
    except BaseException:
        if facts is not None:
            (workdir / FILE_NAME).unlink(missing_ok=True)
        raise


def read_initial_weights(
    config: ConfigDict, workdir: Path, image_shape: tuple[int, ...], contract: Contract | None
) -> Source:
    """What the students of a run begin with.

    Args:
        config: The run's config, with `initial_weights`.
        workdir: Folder of the run; on a host that does not share it, the config's are read.
        image_shape: Shape of the images.
        contract: The run's contract, if it has begun.

    Returns:
        The network that was trained before.

    Raises:
        ConfigError: The file is damaged, or there is none.
    """
    kept = workdir / FILE_NAME
    facts = contract.get("initial_weights") if contract is not None else None
    if facts and not (kept.exists() and sha256(kept) == facts["sha256"]):
        raise ConfigError(
            f"{kept} must be what the run began with, and is damaged or gone. Put it back, or "
            "train anew in another --workdir."
        )
    given = str(kept) if kept.exists() else config.initial_weights
    with as_config_error(_FIELDS, _TEXT):
        source = find_source(given, config_module.make_backbone(config), image_shape)
    return source._replace(name=config.initial_weights)


def take_pixels(config: ConfigDict, data: Any, initial: Source | None) -> None:
    """Gives the data mean and standard deviation of the network that students begin with.

    Args:
        config: The run's config.
        data: The data set, whose contract then says them.
        initial: What students begin with; None for what the config's backbone brings itself.
    """
    backbone = config_module.make_backbone(config)
    source = initial or source_of(backbone)
    if source is not None and (source.pixels or getattr(backbone, "pixels", None)):
        mean, std = pixels_of(None, None, source, backbone, data.image_shape[-1])
        data.take_statistics(mean, std)


def initial_facts(config: ConfigDict, workdir: Path) -> InitialWeights:
    """What a run's contract says of it."""
    return {
        "source": config.initial_weights,
        "sha256": sha256(workdir / FILE_NAME),
        "slice": config.ensemble.slice,
    }
