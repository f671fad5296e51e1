"""Five ResNet-56 students on 10,000 CIFAR-10 images at 8×8, with the default loss.

Source: the method of https://arxiv.org/abs/2011.07449 with the loss that docs/recipe_search.md came
to, on training images of this data set. Images, splits and optimizer are those of
configs/cifar10_jpeg_resnet56.py, which has the paper's loss; 40 epochs for its 20, because in 20 a
network so deep does not yet learn its images by heart, and there is little to teach.
Command: python -m oekd_tf.train --config=configs/cifar10_8x8_resnet56.py
Every student together and alone: python -m oekd_tf.compare \
    --config=configs/cifar10_8x8_resnet56.py --seeds=5 --students=1,4,5
Cost: 2,800 steps; a quarter of an hour on one core.
Accuracy: docs/studies/cifar10_8x8_resnet56/report.md
"""

from oekd_tf import recipes


def get_config():
    config = recipes.cifar10_jpeg("cifar10_8x8_resnet56", depth=56, image_size=8, epochs=40)
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.3
    config.optimizer.momentum = 0.9
    config.optimizer.l2 = 1e-4
    return config
