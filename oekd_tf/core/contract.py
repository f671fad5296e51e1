"""Rules between the fields of a contract."""

from oekd_tf.core.json_files import digest
from oekd_tf.core.records import Contract


def without_data(contract: Contract) -> Contract:
    """A contract for devices, which have no use for counts and splits.

    Args:
        contract: A contract.

    Returns:
        The same without what is of the training data only.
    """
    kept: Contract = {**contract, "class_counts": None, "splits": None}
    # Where the weights came from is a path of the machine that trained.
    kept.pop("initial_weights", None)
    kept.pop("teacher_logits", None)
    return kept


def check_contract(contract: Contract) -> None:
    """Raises a ValueError, which names the field, where fields do not fit together.

    Args:
        contract: A contract whose fields are of their types.
    """
    if contract.get("digest", own := digest(contract)) != own:
        raise ValueError("contract must have the fields of its digest, and has others")
    channels = contract["image_shape"][-1]
    for name, values in (("mean", contract["mean"]), ("std", contract["std"])):
        if values is not None and len(values) not in (1, channels):
            raise ValueError(
                f"contract.{name} must be a number a channel, {channels}, and is {len(values)}"
            )
    if contract["std"] is not None and min(contract["std"]) <= 0:
        raise ValueError(f"contract.std must be above 0, and is {contract['std']}")
    names, counts = contract["class_names"], contract["class_counts"]
    if names is not None and not names:
        raise ValueError("contract.class_names must be at least one name, and is none")
    if names is not None and counts is not None and len(names) != len(counts):
        raise ValueError(
            f"contract.class_counts must be of {len(names)} classes, and is of {len(counts)}"
        )
    splits = contract["splits"]
    if splits is not None and not {"train"} <= splits.keys() <= {"train", "validation", "test"}:
        raise ValueError(
            f"contract.splits must be of train, validation and test, and are of {', '.join(splits)}"
        )
