"""Widths of students from budgets for their files, found once a run."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core.choices import are_widths
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.processes import ProcessPool

# What the widths of budgets depend on.
_DECIDE = (
    "ensemble.int8_bytes",
    "backbone.name",
    "backbone.arguments",
    "data.source",
    "data.image_size",
    "export.batch_size",
)


def has_open_budgets(config: ConfigDict) -> bool:
    """Whether a config has budgets whose widths are not found yet."""
    default = config_module.FIELDS["ensemble.widths"].default
    return bool(config.ensemble.int8_bytes) and config.ensemble.widths == default


def with_known_widths(config: ConfigDict, files: Sequence[str | Path]) -> ConfigDict:
    """A config with the widths that its budgets were given before.

    Args:
        config: The config that a user gave.
        files: A config.json each, of this run or of one with the same students; they need not
            exist.

    Returns:
        A copy with those widths, or the config itself: it has no budgets, or is a run's first.

    Raises:
        ConfigError: There are budgets and other widths.

    Example:
        >>> config.ensemble.int8_bytes = (24_576, 16_384)
        >>> config = with_known_widths(config, ["runs/first/config.json"])
    """
    if not config.ensemble.int8_bytes:
        return config
    for path in map(Path, files):
        if not path.exists():
            continue
        there = config_module.from_file(path, imports=False)
        asked = config_module.from_json(config_module.to_json(config))
        same = all(config_module.get(there, f) == config_module.get(asked, f) for f in _DECIDE)
        if same and not has_open_budgets(there):
            known = there.ensemble.widths
            if has_open_budgets(config) or config.ensemble.widths == known:
                return _with_widths(config, known)
    if not has_open_budgets(config):
        raise ConfigError(
            "config.ensemble.widths must be left out with config.ensemble.int8_bytes, which finds "
            f"them. Received: {config.ensemble.widths} and {config.ensemble.int8_bytes}"
        )
    return config


def find_widths(config: ConfigDict, data: Any, log: Callable[[str], None] = print) -> ConfigDict:
    """A config with the widths that fit its budgets.

    Args:
        config: The config, which is not changed.
        data: The data set.
        log: Called with each progress message.

    Returns:
        A copy with these widths; the config itself if it has no open budgets.

    Raises:
        ConfigError: A budget is too small for any student, or widths would not fall.
    """
    if not has_open_budgets(config):
        return config
    budgets = config.ensemble.int8_bytes
    log(f"widths for int8 files of at most {', '.join(f'{b:,}' for b in budgets)} bytes ...")
    pool = ProcessPool()
    with tempfile.TemporaryDirectory() as given:
        path, output = Path(given) / "config.json", Path(given) / "widths.json"
        path.write_text(config_module.to_json(config))
        process = pool.start(
            "oekd_tf.cli.workers.width_search",
            f"--config_json={path}",
            f"--image_shape={','.join(map(str, data.image_shape))}",
            f"--num_classes={data.num_classes}",
            f"--output={output}",
            text=True,
            stdout=subprocess.PIPE,
        )
        try:
            for line in process.stdout or ():
                log(f"  {line.rstrip()}")
            code = pool.wait(process)
        finally:
            pool.kill(process)
        result = json.loads(output.read_text()) if output.exists() else {}
    if "widths" not in result:
        why = result.get("error", f"the search ended with exit code {code}; its error is above")
        raise ConfigError(f"config.ensemble.int8_bytes must be budgets that students fit: {why}")
    widths = (1.0, *result["widths"])
    if not are_widths(widths):
        raise ConfigError(
            "config.ensemble.int8_bytes must be budgets below the full-width student's size, of "
            f"which each makes a narrower student. Received: {budgets}, for which widths are "
            f"{widths}"
        )
    log(f"widths: {', '.join(f'{width:g}' for width in widths)}")
    return _with_widths(config, widths)


def _with_widths(config: ConfigDict, widths: Sequence[float]) -> ConfigDict:
    own = ConfigDict(config).copy_and_resolve_references()
    own.ensemble.widths = tuple(widths)
    config_module.check(own)
    return own
