"""Train one network, ship five: online ensemble distillation for Keras 3 and TensorFlow.

Source: Walawalkar, Shen, Savvides, "Online Ensemble Model Compression using Knowledge
Distillation", ECCV 2020, https://arxiv.org/abs/2011.07449.
"""

import importlib
import sys

from oekd_tf.lazy import attach

__version__ = "0.1.0"

_PUBLIC = {
    "OnlineEnsemble": ".ensemble",
    "backbones": ".backbones",
    "callbacks": ".callbacks",
    "cascade": ".cascade",
    "compression": ".compression",
    "config": ".config",
    "data": ".data",
    "distribution": ".distribution",
    "export": ".export",
    "losses": ".losses",
    "optimizers": ".optimizers",
    "recipes": ".recipes",
    "report": ".report",
    "schedules": ".schedules",
    "trade_off": ".trade_off",
    "training": ".training",
    "widths_for": ".width_search",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)

# `keras.models.load_model` finds only classes that have been imported. Where Keras is loaded
# already nothing is gained by waiting, and a process that only loads need not know to.
if "keras" in sys.modules:
    importlib.import_module(".ensemble", __name__)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
