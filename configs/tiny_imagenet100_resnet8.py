"""Five ResNet-8 students on 50,000 Tiny ImageNet images of 100 classes at 16×16, default loss.

Source: the method of https://arxiv.org/abs/2011.07449 with the loss that docs/recipe_search.md came
to; nothing was chosen on this data set. Optimizer, schedule and augmentation are those of
configs/cifar10_8x8_resnet8.py.
Command: python -m oekd_tf.train --config=configs/tiny_imagenet100_resnet8.py
Every student together and alone: python -m oekd_tf.compare \
    --config=configs/tiny_imagenet100_resnet8.py --seeds=5 --students=1,4,5
Cost: some 1,760 steps; a quarter of an hour on one core.
Accuracy: docs/studies/tiny_imagenet100_resnet8/report.md
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "tiny_imagenet100_resnet8"
    config.epochs = 5
    config.batch_size = 128
    config.data.source = "tiny_imagenet100"
    config.data.image_size = (16, 16)
    config.data.augmentation = ("flip",)
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    return config
