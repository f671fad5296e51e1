"""Students as SavedModel, TFLite and ONNX files, each opened again and compared."""

from oekd_tf.core.lazy import attach

_NAMES = {
    "ExportError": "..core.errors",
    "RefusedFilesError": "..core.errors",
    "export_embeddings": ".embeddings",
    "export_students": ".students",
    "read_manifest": "..device.manifest",
}
_MODULES = {"formats": ".formats"}
_PUBLIC = {**_NAMES, **_MODULES}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _NAMES, _MODULES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
