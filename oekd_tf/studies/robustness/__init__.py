"""What a student can be trusted with: corruptions, attacks, pruning, calibration, other images."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "Settings": ".material",
    "auroc": ".out_of_distribution",
    "corrupt": ".corruptions",
    "fgsm": ".attacks",
    "fit_temperature": ".temperature",
    "measure_robustness": ".measure",
    "measure_study": ".over_seeds",
    "negative_energy": ".out_of_distribution",
    "pgd": ".attacks",
    "phase_noise": ".out_of_distribution",
    "prune": ".pruning",
    "pruned_weights": ".pruning",
    "read_robustness": ".measure",
    "top_probability": ".out_of_distribution",
}
_MODULES = {"corruptions": ".corruptions", "properties": ".properties"}
__all__ = sorted({**_PUBLIC, **_MODULES})
__getattr__ = attach(__name__, _PUBLIC, _MODULES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, *_MODULES])
