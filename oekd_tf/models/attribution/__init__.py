"""Where networks look: integrated gradients, and whether two networks agree."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "IntegratedGradientsOverlay": ".overlay",
    "draw_maps": ".picture",
    "integrated_gradients": ".gradients",
    "rank_correlation": ".agreement",
    "saliency": ".gradients",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
