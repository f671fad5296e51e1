"""Training recipes of the paper, and of this package's studies, for config files.

Source: Walawalkar, Shen, Savvides, https://arxiv.org/abs/2011.07449, section 4.
"""

from typing import Any

from ml_collections import ConfigDict

from oekd_tf.config import default_config
from oekd_tf.core.paper import OEKD_ARGUMENTS


def small_images(name: str, source: str, backbone: str, **arguments: Any) -> ConfigDict:
    """Adam 1e-3, L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300; pad, crop and flip.

    The paper's recipe for ResNets on CIFAR. Digits (SVHN) are not flipped.

    Args:
        name: Name of the run.
        source: TFDS name of the data set.
        backbone: Name of the class in `oekd_tf.backbones`.
        **arguments: Arguments of the class.

    Returns:
        The config.

    Example:
        >>> config = small_images("cifar10_resnet20", "cifar10", "CifarResNet", depth=20)
    """
    config = _common(name, source, backbone, arguments)
    config.epochs = 350
    config.data.augmentation = ("pad_crop",) if source.startswith("svhn") else ("pad_crop", "flip")
    config.optimizer.l2 = 1e-5
    config.schedule.step_epochs = (200, 300)
    config.schedule.step_factor = 0.1
    return config


def small_images_densenet(name: str, source: str, depth: int, growth_rate: int) -> ConfigDict:
    """SGD 0.1 with momentum 0.9, L2 1e-4, batch 48, 350 epochs, ×0.1 at 170 and 250.

    The paper's recipe for DenseNet-BC on CIFAR.

    Args:
        name: Name of the run.
        source: TFDS name of the data set.
        depth: Depth of the DenseNet-BC.
        growth_rate: Growth rate of the DenseNet-BC.

    Returns:
        The config.
    """
    config = small_images(name, source, "DenseNet", depth=depth, growth_rate=growth_rate)
    config.batch_size = 48
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.l2 = 1e-4
    config.schedule.step_epochs = (170, 250)
    return config


def imagenet(name: str, backbone: str, **arguments: Any) -> ConfigDict:
    """Adam 1e-3, L2 1e-4, batch 128, 100 epochs, ×0.5 at 50, 70 and 90; random resized crop.

    The paper's recipe for EfficientNet on ImageNet.

    Args:
        name: Name of the run.
        backbone: Name of the class in `oekd_tf.backbones`.
        **arguments: Arguments of the class.

    Returns:
        The config.
    """
    config = _common(name, "imagenet2012", backbone, arguments)
    config.epochs = 100
    config.data.image_size = (224, 224)
    config.data.augmentation = ("random_resized_crop", "flip")
    # One percent of 1.28 million images is enough for validation.
    config.data.validation_fraction = 0.01
    config.optimizer.l2 = 1e-4
    config.schedule.step_epochs = (50, 70, 90)
    config.schedule.step_factor = 0.5
    return config


def papers_loss(config: ConfigDict) -> None:
    """Sets the loss of `OEKD.paper()` in place of the default one.

    Args:
        config: Config, which is changed in place.
    """
    with config.method.arguments.unlocked():
        config.method.arguments.update(OEKD_ARGUMENTS)


def _common(name: str, source: str, backbone: str, arguments: dict[str, Any]) -> ConfigDict:
    config = default_config()
    config.name = name
    config.batch_size = 128
    config.data.source = source
    config.backbone.name = backbone
    config.backbone.arguments = ConfigDict(arguments)
    papers_loss(config)
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.schedule.name = "step"
    config.checkpoint_every = 5
    config.export.formats = ("saved_model", "float32", "int8")
    return config


def cifar10_jpeg(name: str, *, depth: int, image_size: int, epochs: int) -> ConfigDict:
    """The recipe of the studies for two cores: CIFAR ResNets on 10,000 images.

    9,000 images are for training, 1,000 for validation and 12,000 for testing: on the 2,000 test
    images of the data set alone, a difference of a percent would not be significant. Crops are left
    out, because they shift such small images by too much.

    Args:
        name: Name of the config.
        depth: Depth of the network.
        image_size: Height and width that images are resized to.
        epochs: Number of epochs, of which two are warm-up of the cosine schedule.

    Returns:
        The config, with the optimizer at its defaults.

    Example:
        >>> config = cifar10_jpeg("mine", depth=8, image_size=16, epochs=30)
    """
    config = default_config()
    config.name = name
    config.epochs = epochs
    config.batch_size = 128
    config.data.source = "cifar10_jpeg"
    config.data.train_split = "train[:10000]"
    config.data.test_split = "train[10000:]+test"
    config.data.image_size = (image_size, image_size)
    config.data.augmentation = ("flip",)
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = depth
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 2.0
    return config
