"""Classes that become one another when an image is mirrored, by their names."""

from collections.abc import Sequence

# In names, whatever their case and what joins their words.
_WORDS = (
    ("left", "right"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("links", "rechts"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("sinistra", "destra"),
)
# Whole names, in this case: B and D, or P and Q, are no mirror images.
_LETTERS = (("b", "d"), ("p", "q"))


def mirrored_classes(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes whose names say that mirroring makes one of the other.

    Args:
        class_names: Names of all classes.

    Returns:
        The pairs, in the order of the classes: names that are the same but for left and right (also
        in German, French, Spanish and Italian) or for the sense of a rotation, and the letters b
        and d, p and q.

    Example:
        >>> mirrored_classes(["keep left", "keep right", "bright", "copyright"])
        [('keep left', 'keep right')]
    """
    plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in class_names}
    pairs = []
    for name, given in plain.items():
        for word, opposite in _WORDS:
            partner = name.replace(word, opposite)
            # A name of both, "counterclockwise", is not to be changed within.
            if partner != name and opposite not in name and partner in plain:
                pairs.append((given, plain[partner]))
    there = set(class_names)
    pairs += [pair for pair in _LETTERS if there.issuperset(pair)]
    place = {name: index for index, name in enumerate(class_names)}
    ordered = {tuple(sorted(pair, key=place.__getitem__)) for pair in pairs}
    return sorted(((a, b) for a, b in ordered), key=lambda pair: place[pair[0]])


def mirror_warning(class_names: Sequence[str], augmentation: Sequence[str]) -> str | None:
    """A line about an augmentation that mirrors classes into one another.

    Args:
        class_names: Names of all classes.
        augmentation: Names of the augmentations of training images.

    Returns:
        The line; None if nothing speaks for it.

    Example:
        >>> print(mirror_warning(["left", "right"], ("pad_crop", "flip")))
        warning: classes 'left' and 'right' look like mirror images of each other, and ...
    """
    pairs = mirrored_classes(class_names) if "flip" in augmentation else []
    if not pairs:
        return None
    (one, other), *more = pairs
    others = f" (and {len(more)} more pair{'s'[: len(more) > 1]})" if more else ""
    rest = tuple(name for name in augmentation if name != "flip")
    return (
        f"warning: classes {one!r} and {other!r}{others} look like mirror images of each other, "
        "and the augmentation 'flip' mirrors half of the training images; set "
        f'--config.data.augmentation="{rest!r}" if they are'
    )
