"""Train one network, ship five: online ensemble distillation for Keras 3 and TensorFlow.

Source: Walawalkar, Shen, Savvides, "Online Ensemble Model Compression using Knowledge
Distillation", ECCV 2020, https://arxiv.org/abs/2011.07449.
"""

import importlib
import sys

from oekd_tf.core import old_names, signals
from oekd_tf.core.lazy import attach

signals.start_of_command()

__version__ = "0.2.0"

_NAMES = {
    "OnlineEnsemble": ".models.online_ensemble",
    "feature_extractor": ".models.feature_extractor",
    "widths_for": ".export.width_search",
}
_MODULES = {
    "attribution": ".models.attribution",
    "backbones": ".backbones",
    "callbacks": ".training.callbacks",
    "cascade": ".device.cascade",
    "classes": ".core.classes",
    "comparison": ".studies",
    "compression": ".export.compression",
    "config": ".config",
    "data": ".data",
    "device": ".device",
    "distribution": ".models.distributed.strategy",
    "export": ".export",
    "losses": ".methods.parts.losses",
    "methods": ".methods",
    "metrics": ".methods.parts.metrics",
    "optimizers": ".models.optimizers",
    "recipes": ".config.recipes",
    "report": ".training.report",
    "robustness": ".studies.robustness",
    "schedules": ".models.optimizers.schedules",
    "studies": ".studies",
    "testing": ".testing",
    "trade_off": ".device.pareto",
    "training": ".training",
}
_PUBLIC = {**_NAMES, **_MODULES}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _NAMES, _MODULES)
old_names.install()

# `keras.models.load_model` finds only classes that have been imported. Where Keras is loaded
# already nothing is gained by waiting, and a process that only loads need not know to.
if "keras" in sys.modules:
    importlib.import_module(".models.online_ensemble", __name__)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
