"""Five ResNet-32 students on CIFAR-100.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for ResNets on CIFAR: Adam 1e-3,
L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300; pad, crop and flip.
Command: python -m oekd_tf.train --config=configs/cifar100_resnet32.py
Baseline of the smallest student: the same with --config.only_student=5
Cost: 122,850 steps. Students have 472,756 to 18,915 parameters; all five take 301 MFLOPs an image
forward, 1.7 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes 1.35 s on two
CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; published for the full-width network alone: 71.1 %.
"""

from oekd_tf import recipes


def get_config():
    return recipes.small_images("cifar100_resnet32", "cifar100", "CifarResNet", depth=32)
