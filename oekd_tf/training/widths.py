"""Widths of students from budgets for their files' size and latency, found once a run."""

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
    *config_module.BUDGETS,
    "backbone.name",
    "backbone.arguments",
    "data.source",
    "data.image_size",
    "export.batch_size",
)


def has_open_budgets(config: ConfigDict) -> bool:
    """Whether a config has budgets whose widths are not found yet."""
    default = config_module.FIELDS["ensemble.widths"].default
    return bool(config_module.budgets(config)) and config.ensemble.widths == default


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
    fields = config_module.budget_fields(config)
    if not fields:
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
            f"config.ensemble.widths must be left out with config.{fields[0]}, which finds "
            f"them. Received: {config.ensemble.widths} and {config_module.get(config, fields[0])}"
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
    budgets = {field: config_module.get(config, field) for field in config_module.BUDGETS}
    limits = [
        f"{', '.join(f'{limit:,}' for limit in budgets[field])} {unit}"
        for field, unit in (("ensemble.int8_bytes", "bytes"), ("ensemble.latency_ms", "ms"))
        if budgets[field]
    ]
    log(f"widths for int8 files of at most {' and '.join(limits)} ...")
    fields = " and ".join(f"config.{field}" for field in config_module.budget_fields(config))
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
        raise ConfigError(f"{fields} must be budgets that students fit: {why}")
    widths = (1.0, *result["widths"])
    if not are_widths(widths):
        raise ConfigError(
            f"{fields} must be budgets below the full-width student's size or latency, of which "
            "each makes a narrower student. Received: "
            f"{' and '.join(str(limit) for limit in budgets.values() if limit)}, for which widths "
            f"are {widths}"
        )
    log(f"widths: {', '.join(f'{width:g}' for width in widths)}")
    return _with_widths(config, widths)


def _with_widths(config: ConfigDict, widths: Sequence[float]) -> ConfigDict:
    own = ConfigDict(config).copy_and_resolve_references()
    own.ensemble.widths = tuple(widths)
    config_module.check(own)
    return own
