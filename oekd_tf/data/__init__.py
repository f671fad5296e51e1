"""Input pipelines for data sets by name, image folders and arrays."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "ArrayData": ".npz",
    "Data": ".dataset",
    "DataCheck": ".check",
    "Share": "oekd_tf.models.distributed.share",
    "check_data": ".check",
    "load": ".loading",
    "mirrored_classes": ".mirroring",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
