"""placeholder"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_jpeg_resnet8"
    config.epochs = 40
    config.batch_size = 128
    config.data.source = "cifar10_jpeg"
    config.data.train_split = "train[:10000]"
    config.data.test_split = "train[10000:]+test"
    config.data.image_size = (16, 16)
    config.data.augmentation = ("flip",)
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.optimizer.learning_rate = 3e-3
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 2.0
    return config
