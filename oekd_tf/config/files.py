"""Lookup and reading of config files."""

import importlib.util
import re
import traceback
from pathlib import Path

from ml_collections import ConfigDict

from oekd_tf.core.errors import ConfigError, format_value, one_line
from oekd_tf.core.regular import irregular_kind


def find_config(path: str) -> str:
    """Finds a config file at the given path, or beside or inside the installed package.

    Args:
        path: Path of the file, for instance "configs/demo.py".

    Returns:
        An existing path; the given one if there is none.
    """
    package = Path(__file__).parent.parent
    for folder in (Path(), package.parent, package):
        if (folder / path).is_file():
            return str(folder / path)
    return path


def read_config(path: str) -> ConfigDict:
    """The config of a config file, not checked yet.

    Args:
        path: Path of the file, as in `find_config`; what follows a colon is handed to its function
            `get_config`.

    Returns:
        What `get_config` returns.

    Raises:
        ConfigError: There is no such file, it does not run, or it gives no config; the message
            names the line.

    Example:
        >>> config = read_config("configs/demo.py")
    """
    name, colon, argument = path.partition(":")
    found = find_config(name)
    if not Path(found).is_file():
        kind = irregular_kind(found)
        what = f", which is {kind}" if kind else ""
        raise ConfigError(f"--config must be a file that is there. Received: {path!r}{what}")
    spec = importlib.util.spec_from_file_location("oekd_tf_config", found)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config must be a Python file, which ends in .py. Received: {path!r}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        make = getattr(module, "get_config", None)
        if not callable(make):
            raise ConfigError(
                f"--config must be a file with a function get_config(). Received: {path!r}, which "
                "has none"
            )
        config = make(argument) if colon else make()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"--config must be a file that runs. Received: {found}{_line(error, found)}: "
            f"{type(error).__name__}: {_message(error)}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            "get_config() of --config must return a config, from "
            f"oekd_tf.config.default_config(). Received: {format_value(config)} from {path!r}"
        )
    return config


def _message(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    # ml_collections quotes twice, and lists all fields.
    text = str(error).replace("\\", "").strip("'")
    return one_line(re.sub(r"(?s)Other fields present.*?(?=Did you mean|$)", "", text))


def _line(error: Exception, path: str) -> str:
    """The line of the file at which it failed, as text."""
    if isinstance(error, SyntaxError) and error.filename:
        own = Path(error.filename).resolve() == Path(path).resolve()
        where = "" if own else f" by {error.filename}"
        return f"{where}, line {error.lineno}"
    file = Path(path).resolve()
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == file
    ]
    return f", line {lines[-1]}" if lines else ""
