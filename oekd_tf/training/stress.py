"""What a config does to training examples on purpose, in words for the log and the report."""

from ml_collections import ConfigDict


def stress_notes(config: ConfigDict) -> list[str]:
    """One line for each kind of stress.

    Args:
        config: The config.

    Example:
        >>> config.data.label_noise = 0.2
        >>> stress_notes(config)
        ['20 % of the training labels are replaced by another class']
    """
    data, notes = config.data, []
    if data.label_noise:
        other = "the next class" if data.label_noise_kind == "pair" else "another class"
        notes.append(f"{100 * data.label_noise:g} % of the training labels are replaced by {other}")
    if data.imbalance != 1:
        notes.append(
            f"a long tail: the first class keeps {data.imbalance:g} times as many training "
            "examples as the last"
        )
    if data.examples_per_class:
        notes.append(f"at most {data.examples_per_class:,} training examples of a class")
    return notes
