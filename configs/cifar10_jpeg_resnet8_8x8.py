"""Five ResNet-8 students on 10,000 CIFAR-10 images at 8×8: for many ablations on two cores.

Source: the method and its loss weights of https://arxiv.org/abs/2011.07449; images, splits and
optimizer are those of configs/cifar10_jpeg_resnet8.py, at a quarter of the pixels and two thirds of
the epochs.
Command: python -m oekd_tf.train --config=configs/cifar10_jpeg_resnet8_8x8.py
The study: docs/results.md has its command, with all ablations.
Cost: 1,400 steps; all five students take 3.8 MFLOPs an image forward.
Accuracy: docs/studies/cifar10_jpeg_resnet8_8x8/report.md
"""

from oekd_tf import recipes


def get_config():
    config = recipes.cifar10_jpeg("cifar10_jpeg_resnet8_8x8", depth=8, image_size=8, epochs=20)
    recipes.papers_loss(config)
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    return config
