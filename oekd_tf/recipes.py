"""The paper's training recipes, for config files to start from."""

from ml_collections import ConfigDict

from oekd_tf.config import default_config


def cifar_resnet(name: str, source: str, depth: int) -> ConfigDict:
    """The recipe for CIFAR ResNets: Adam 1e-3, L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300.

    Source: https://arxiv.org/abs/2011.07449, section 4.

    Args:
        name: Of the run.
        source: TFDS name of the data set.
        depth: Of the ResNet.

    Returns:
        The config.
    """
    config = default_config()
    config.name = name
    config.epochs = 350
    config.batch_size = 128
    config.data.source = source
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = depth
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.l2 = 1e-5
    config.schedule.name = "step"
    config.schedule.step_epochs = (200, 300)
    config.schedule.step_factor = 0.1
    config.checkpoint_every = 5
    config.export.formats = ("saved_model", "float32", "int8")
    return config
