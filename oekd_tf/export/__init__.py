"""Students as SavedModel, TFLite and ONNX files, each opened again and compared."""

from oekd_tf.lazy import attach

_PUBLIC = {
    "ExportError": ".errors",
    "RefusedFilesError": ".errors",
    "export_students": ".students",
    "read_manifest": ".manifest",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
