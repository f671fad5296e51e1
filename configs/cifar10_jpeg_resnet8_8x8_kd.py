"""Five ResNet-8 students with four times the distillation weight: a second recipe.

Source: https://arxiv.org/abs/2011.07449 with γ = 0.6 for 0.15; all else is
configs/cifar10_jpeg_resnet8_8x8.py.
Evidence: the ablation kd_x4 of that study, three seeds. @@EVIDENCE@@
Command: python -m oekd_tf.train --config=configs/cifar10_jpeg_resnet8_8x8_kd.py
Cost: 1,400 steps; all five students take 3.8 MFLOPs an image forward.
Accuracy: docs/studies/cifar10_jpeg_resnet8_8x8/report.md, kd_x4
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_jpeg_resnet8_8x8_kd"
    config.epochs = 20
    config.batch_size = 128
    config.data.source = "cifar10_jpeg"
    config.data.train_split = "train[:10000]"
    config.data.test_split = "train[10000:]+test"
    config.data.image_size = (8, 8)
    config.data.augmentation = ("flip",)
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.loss.distillation_weight = 0.6
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 2.0
    return config
