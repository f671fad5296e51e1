"""The `tf.distribute` strategy that a config asks for."""

import tensorflow as tf


def make_strategy(name: str = "auto", logical_cpus: int = 0) -> tf.distribute.Strategy:
    """A strategy for the devices at hand.

    Args:
        name: "none", "mirrored" (all GPUs, or logical CPUs), or "auto": mirrored where there is
            more than one GPU.
        logical_cpus: With "mirrored", how many replicas to put on the CPU. TensorFlow must not
            have used its devices before.

    Returns:
        The strategy; TensorFlow's default one for a single device.

    Raises:
        ValueError: The name is unknown, or the CPU is already in use as fewer devices.

    Example:
        >>> with make_strategy("auto").scope():
        ...     ensemble = oekd_tf.OnlineEnsemble(...)
    """
    if name not in ("auto", "none", "mirrored"):
        raise ValueError(f"A strategy must be auto, none or mirrored. Received: {name!r}")
    if name == "mirrored" and logical_cpus:
        return tf.distribute.MirroredStrategy(_split_cpu(logical_cpus))
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _split_cpu(count: int) -> list[str]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise ValueError(
                f"The CPU must be split into {count} logical devices before TensorFlow is used. "
                f"Received: {len(tf.config.list_logical_devices('CPU'))} in use"
            ) from error
    return [f"CPU:{index}" for index in range(count)]
