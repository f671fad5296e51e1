"""Runs: training, resuming, evaluation, export and report."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "build_model": ".restore",
    "export_run": ".export",
    "load_data": ".restore",
    "load_data_of_run": ".restore",
    "read_config": ".restore",
    "restore_model": ".restore",
    "restore_run": ".restore",
    "set_runtime": ".hosts",
    "train": ".run",
    "train_arrays": ".run_arrays",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
