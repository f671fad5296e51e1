"""Five ResNet-8 students on 10,000 CIFAR-10 images at 8×8, with the default loss.

Source: the method of https://arxiv.org/abs/2011.07449 with the loss that docs/recipe_search.md came
to, on training images of this data set. Images, splits, schedule and learning rate are those of
configs/cifar10_jpeg_resnet8_8x8.py, which has the paper's loss.
Command: python -m oekd_tf.train --config=configs/cifar10_8x8_resnet8.py
Every student together and alone: python -m oekd_tf.compare \
    --config=configs/cifar10_8x8_resnet8.py --seeds=5
Cost: 1,400 steps; some five minutes on one core.
Accuracy: docs/studies/cifar10_8x8_resnet8/report.md
"""

from oekd_tf import recipes


def get_config():
    config = recipes.cifar10_jpeg("cifar10_8x8_resnet8", depth=8, image_size=8, epochs=20)
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    return config
