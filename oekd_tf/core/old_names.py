"""Compatibility with module names of version 0.1."""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

# Modules and packages by their old names.
MODULES = {
    "array_data": "data.npz",
    "array_training": "training.run_arrays",
    "atomic": "core.files",
    "bench": "cli.bench",
    "branches": "models.branches",
    "callbacks": "training.callbacks",
    "cascade": "device.cascade",
    "checkpoint_files": "training.callbacks.checkpoint_files",
    "classify": "cli.classify",
    "cluster": "models.distributed.cluster",
    "command_line": "cli.parts.flags",
    "compare": "cli.compare",
    "comparison": "studies",
    "comparison.differences": "studies.ablations",
    "comparison.evaluation": "studies.metrics",
    "comparison.pictures": "studies.figures",
    "comparison.records": "studies.collect",
    "comparison.run_files": "studies.evaluate_run",
    "compression": "export.compression",
    "config_errors": "core.errors",
    "config_rules": "config.rules",
    "data.share": "models.distributed.share",
    "distribution": "models.distributed.strategy",
    "ensemble": "models.online_ensemble",
    "export.errors": "core.errors",
    "export.manifest": "device.manifest",
    "fitting": "training.loop",
    "lazy": "core.lazy",
    "lone_student": "models.standalone_student",
    "losses": "methods.parts.losses",
    "model_building": "training.build",
    "model_size": "models.size",
    "optimizers": "models.optimizers",
    "pick": "cli.pick",
    "quiet": "core.native_output",
    "recipes": "config.recipes",
    "replacement": "core.files",
    "report": "training.report",
    "schedules": "models.optimizers.schedules",
    "trade_off": "device.pareto",
    "train": "cli.train",
    "train_arrays": "cli.train_arrays",
    "width_search": "export.width_search",
    "workdir": "training.workdir",
}
# Modules that `python -m oekd_tf.NAME` runs.
BINARIES = {
    name: f"cli.{name}"
    for name in ("bench", "cascade", "classify", "compare", "pick", "train", "train_arrays")
} | {"export.__main__": "cli.export"}
_PACKAGE = "oekd_tf."


class _OldNames(MetaPathFinder, Loader):
    """Finds the current module for an old name: the same object, not a copy."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if _today(fullname) is None and _binary(fullname) is None:
            return None
        return ModuleSpec(fullname, self, origin=fullname)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = _today(spec.name) or _binary(spec.name)
        assert name is not None, f"find_spec made no spec for {spec.name}"
        module = importlib.import_module(name)
        # The import system is about to write the old name's over it.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None, "The import system has put its own there"
        module.__spec__ = spec.loader_state

    def get_code(self, fullname: str) -> CodeType:
        """Code that `python -m` runs."""
        binary = _binary(fullname) or _today(fullname)
        return compile(f"from {binary} import main\nmain()", f"<{fullname}>", "exec")


def install() -> None:
    """Makes the old names importable."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        # First, or a module of a package that moved would be found in its folder and loaded twice.
        sys.meta_path.insert(0, _OldNames())


def _today(fullname: str) -> str | None:
    name = fullname.removeprefix(_PACKAGE)
    if name == fullname:
        return None
    if name in MODULES:
        return _PACKAGE + MODULES[name]
    package, _, rest = name.partition(".")
    if package in MODULES and rest:
        return f"{_PACKAGE}{MODULES[package]}.{rest}"
    return None


def _binary(fullname: str) -> str | None:
    name = fullname.removeprefix(_PACKAGE)
    return _PACKAGE + BINARIES[name] if name != fullname and name in BINARIES else None
