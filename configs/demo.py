"""Five ResNet-8 students on a small Fashion-MNIST that comes with the package.

Source: the paper's method (https://arxiv.org/abs/2011.07449) at a size for a first look; its
schedule and loss weights are the paper's, its network and data are not.
Command: python -m oekd_tf.train
Baseline of the smallest student: python -m oekd_tf.train --config.only_student=5
Run time and accuracy: see README.md, section "Results".
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "demo"
    config.epochs = 7
    config.batch_size = 64
    config.data.source = "fashion_mnist_mini"
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.optimizer.learning_rate = 3e-3
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    config.export.formats = ("saved_model", "float32", "int8")
    return config
