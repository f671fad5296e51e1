"""Pages of the reference, which MkDocs makes from the package itself, so that nothing is missing.

A page for each public module with all its names, one of all fields of a config, and one of all
commands with their flags. MkDocs calls `on_config` and `on_files`, because mkdocs.yml names this
file as a hook.
"""

import functools
import importlib
import inspect
import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import oekd_tf
from oekd_tf import cli
from oekd_tf.config.fields import FIELDS

# Other names of modules, for code of version 0.1.
_OLD = {"comparison": "studies"}

# Modules behind the public ones that people meet: parts of methods, files and errors.
_FURTHER = {
    "Parts of methods": (
        "oekd_tf.methods.parts.divergences",
        "oekd_tf.methods.parts.feature_losses",
        "oekd_tf.methods.parts.teacher_weights",
        "oekd_tf.methods.parts.averages",
    ),
    "Studies in detail": (
        "oekd_tf.studies.statistics",
        "oekd_tf.studies.metrics",
        "oekd_tf.studies.by_rate",
    ),
    "Files": (
        "oekd_tf.core.records",
        "oekd_tf.device.manifest",
        "oekd_tf.device.contract",
        "oekd_tf.device.card",
        "oekd_tf.training.summary",
    ),
    "On the device": (
        "oekd_tf.device.selftest",
        "oekd_tf.device.diagnosis",
        "oekd_tf.device.golden",
        "oekd_tf.device.mistakes",
        "oekd_tf.device.embedded",
    ),
    "Errors": ("oekd_tf.core.errors",),
}


def on_config(config: Any) -> Any:
    """Puts the pages into the navigation, in place of the entry "Reference"."""
    names = [path for path in pages() if path.startswith("api/")]
    entries = [{"Commands": "commands.md"}, {"Fields of a config": "config.md"}, "api.md", *names]
    config["nav"] = [
        {"Reference": entries} if isinstance(one, dict) and "Reference" in one else one
        for one in config["nav"]
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages to the files of the site."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


@functools.cache
def pages() -> dict[str, str]:
    """Markdown of all pages by path."""
    found = {
        f"api/{name}.md": _page(f"oekd_tf.{name}", entries)
        for name, entries in public_names().items()
        if name
    }
    rows = [
        f"| [oekd_tf.{name}](api/{name}.md) | {_first_line(getattr(oekd_tf, name))} |"
        for name in public_names()
        if name
    ]
    own = _page("oekd_tf", public_names()[""])
    table = "\n".join(["| module | what it has |", "| --- | --- |", *rows])
    further = "\n".join(
        f"| [{title}](api/{_slug(title)}.md) | {', '.join(f'`{name}`' for name in modules)} |"
        for title, modules in _FURTHER.items()
    )
    behind = f"\n\n## Behind them\n\n| | modules |\n| --- | --- |\n{further}\n"
    found["api.md"] = f"{own}\n## Modules\n\n{table}{behind}".replace("# oekd_tf\n", "# API\n", 1)
    for title, modules in _FURTHER.items():
        found[f"api/{_slug(title)}.md"] = _page(title, {name: name for name in modules})
    found["config.md"] = config_page()
    found["commands.md"] = commands_page()
    return found


@functools.cache
def public_names() -> dict[str, dict[str, str]]:
    """Where public names are defined, by public module; "" is the package."""
    found: dict[str, dict[str, str]] = {"": {}}
    for name in oekd_tf.__all__:
        thing = getattr(oekd_tf, name)
        if name in _OLD:
            continue
        if isinstance(thing, types.ModuleType):
            found[name] = _names_of(f"oekd_tf.{name}", thing)
        else:
            found[""][f"oekd_tf.{name}"] = _defined(thing)
    return found


def config_page() -> str:
    """All fields, a table for each section."""
    lines = [
        "# Fields of a config",
        "",
        "`--config.FIELD=VALUE` sets one on the command line, `config.FIELD = VALUE` in a config "
        "file, which begins with `oekd_tf.config.default_config()`.",
    ]
    section = None
    for path, field in FIELDS.items():
        parent = path.rpartition(".")[0]
        if parent != section:
            section = parent
            title = f"`{parent}`" if parent else "Of the run"
            lines += [
                "",
                f"## {title}",
                "",
                "| field | default | must be | |",
                "| --- | --- | --- | --- |",
            ]
        default = field.default.to_dict() if hasattr(field.default, "to_dict") else field.default
        cells = (f"`{path}`", f"`{default!r}`", field.rule, field.meaning)
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def commands_page() -> str:
    """What `oekd COMMAND --help` prints, of all commands."""
    with ThreadPoolExecutor() as threads:
        texts = list(threads.map(_help, cli.names()))
    sections = [
        f"## oekd {name}\n\n```text\n{text.strip()}\n```\n"
        for name, text in zip(cli.names(), texts, strict=True)
    ]
    return "\n".join(["# Commands\n", *sections])


def _help(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "oekd_tf", command, "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def _names_of(name: str, module: types.ModuleType) -> dict[str, str]:
    """Public names of a module: those it lists, or those it defines."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        return {name: module.__name__}
    things = {f"{name}.{one}": getattr(module, one) for one in listed}
    if name == "oekd_tf.methods":
        # Found by their files, so that no list has them.
        found = (module.method_class(one) for one in module.names())
        things |= {f"{name}.{one.__name__}": one for one in found}
    places = {}
    for public, thing in things.items():
        if isinstance(thing, types.ModuleType):
            places[public] = thing.__name__
        elif hasattr(thing, "__qualname__"):
            places[public] = _defined(thing)
        else:
            # A constant is defined where a module of this package has it first.
            places[public] = _constant(module, public.rpartition(".")[2])
    return places


def _defined(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _constant(module: types.ModuleType, name: str) -> str:
    value = getattr(module, name)
    for other in sorted(sys.modules):
        if other.startswith(f"{module.__name__}.") and other != module.__name__:
            there = importlib.import_module(other)
            if f"\n{name}" in inspect.getsource(there) and getattr(there, name, None) is value:
                return f"{other}.{name}"
    return f"{module.__name__}.{name}"


def _page(title: str, entries: dict[str, str]) -> str:
    lines = [f"# {title}", ""]
    for public, place in entries.items():
        lines += [
            f"::: {place}",
            "    options:",
            f'      heading: "{public}"',
            f'      toc_label: "{public.rpartition(".")[2]}"',
            "",
        ]
    return "\n".join(lines)


def _first_line(module: types.ModuleType) -> str:
    return _cell((module.__doc__ or "").strip().partition("\n")[0])


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _slug(title: str) -> str:
    return title.lower().replace(" ", "_")
