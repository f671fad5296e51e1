"""The command `oekd` and its subcommands, one module each.

A subcommand is a module of this folder with a docstring, which is its help, and a function `main`;
it has the module's name, with - or _ between words. Nothing else lists them.
"""

import ast
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from oekd_tf.core.signals import importing, one_line_on_signals
from oekd_tf.core.streams import guarded


def names() -> list[str]:
    """Names of all commands."""
    found = pkgutil.iter_modules(__path__)
    return sorted(module.name.replace("_", "-") for module in found if not module.ispkg)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs `oekd COMMAND ...`.

    Args:
        argv: Command line without the program; the process's own if None.
    """
    with guarded(), one_line_on_signals():
        _run(list(sys.argv[1:] if argv is None else argv))


def _run(argv: list[str]) -> None:
    command, *rest = argv or ["--help"]
    if command in ("-h", "--help", "help"):
        print(_overview())
        return
    if command == "--version":
        import oekd_tf

        print(f"oekd_tf {oekd_tf.__version__}")
        return
    command = command.replace("_", "-")
    if command not in names():
        near = difflib.get_close_matches(command, names(), n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise SystemExit(
            f"error: The command must be one of {', '.join(names())}.{meant} Received: {command!r}"
        )
    # Flags are read from here, and errors name the program by it.
    sys.argv = [f"oekd {command}", *rest]
    with importing():
        module = importlib.import_module(f"{__name__}.{command.replace('-', '_')}")
    module.main()


def _overview() -> str:
    lines = [
        "Train one network, ship five: online ensemble distillation for Keras 3 and TFLite.",
        "",
        "usage: oekd COMMAND [--flag=value ...]",
        "",
    ]
    width = max(map(len, names()))
    for name in names():
        # Read, not imported: help must not wait for what a command needs.
        source = (Path(__file__).parent / f"{name.replace('-', '_')}.py").read_text()
        first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        lines.append(f"  {name.ljust(width)}  {first}")
    lines += ["", "oekd COMMAND --help says more of each; python -m oekd_tf does the same as oekd."]
    return "\n".join(lines)
