"""What was kept in float32 in a file of mixed precision, in words."""

from oekd_tf.core.records import RescueFacts


def rescue_in_words(facts: RescueFacts) -> str:
    """Which layers are in float32, and what for.

    Args:
        facts: What the manifest says of the file.

    Returns:
        A line without a full stop.

    Example:
        >>> rescue_in_words({"expected_loss_int8": 0.004, "expected_loss": 0.004, "images": 500,
        ...                  "layers": []})
        'all layers in int8, which is expected to lose 0.4 points of accuracy (500 images)'
    """
    kept = [layer["name"] for layer in facts["layers"] if layer["kept"]]
    before = f"{100 * facts['expected_loss_int8']:.1f} points of accuracy"
    images = f"({facts['images']:,} images)"
    if not kept:
        return f"all layers in int8, which is expected to lose {before} {images}"
    operations = "operation" if len(kept) == 1 else "operations"
    return (
        f"{len(kept)} of {len(facts['layers'])} {operations} in float32, expected to lose "
        f"{100 * facts['expected_loss']:.1f} instead of {before} {images}: "
        + ", ".join(dict.fromkeys(kept))
    )
