"""What a file of mixed precision has not in int8, in words."""

from oekd_tf.core.records import RescueFacts

# The manifest has them all.
_NAMED = 6
_WORDS = {"float32": "in float32", "int16": "with int16 activations"}


def rescue_in_words(facts: RescueFacts) -> str:
    """Which layers are in a higher precision, and what for.

    Args:
        facts: What the manifest says of the file.

    Returns:
        A line without a full stop, which names the layers that would cost most in int8.

    Example:
        >>> rescue_in_words({"expected_loss_int8": 0.004, "expected_loss": 0.004, "images": 500,
        ...                  "layers": []})
        'all layers in int8, which is expected to lose 0.4 points of accuracy (500 images)'
    """
    kept = [layer for layer in facts["layers"] if layer["precision"] != "int8"]
    before = f"{100 * facts['expected_loss_int8']:.1f} points of accuracy"
    images = f"({facts['images']:,} images)"
    if not kept:
        return f"all layers in int8, which is expected to lose {before} {images}"
    counts = [
        f"{sum(layer['precision'] == precision for layer in kept)} {words}"
        for precision, words in _WORDS.items()
        if any(layer["precision"] == precision for layer in kept)
    ]
    worst = sorted(kept, key=lambda layer: -layer["error"])
    names = list(dict.fromkeys(layer["name"] for layer in worst))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"of {len(facts['layers'])} operations {' and '.join(counts)}, expected to lose "
        f"{100 * facts['expected_loss']:.1f} instead of {before} {images}: "
        + ", ".join(names[:_NAMED])
        + more
    )
