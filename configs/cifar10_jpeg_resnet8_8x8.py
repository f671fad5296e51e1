"""Five ResNet-8 students on 10,000 CIFAR-10 images at 8×8: for many ablations on two cores.

Source: the method and its loss weights of https://arxiv.org/abs/2011.07449; images, splits and
optimizer are those of configs/cifar10_jpeg_resnet8.py, at a quarter of the pixels and two thirds of
the epochs.
Command: python -m oekd_tf.train --config=configs/cifar10_jpeg_resnet8_8x8.py
The study: docs/results.md has its command, with all ablations.
Cost: 1,400 steps; all five students take 3.8 MFLOPs an image forward.
Accuracy: docs/studies/cifar10_jpeg_resnet8_8x8/report.md
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_jpeg_resnet8_8x8"
    config.epochs = 20
    config.batch_size = 128
    config.data.source = "cifar10_jpeg"
    config.data.train_split = "train[:10000]"
    config.data.test_split = "train[10000:]+test"
    config.data.image_size = (8, 8)
    config.data.augmentation = ("flip",)
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 2.0
    return config
