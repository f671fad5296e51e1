"""Five ResNet-56 students on CIFAR-10.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for ResNets on CIFAR: Adam 1e-3,
L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300; pad, crop and flip.
Command: python -m oekd_tf.train --config=configs/cifar10_resnet56.py
Baseline of the smallest student: the same with --config.only_student=5
Cost: 122,850 steps. Students have 855,770 to 31,689 parameters; all five take 541 MFLOPs an image
forward, 3.0 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes 1.35 s on two
CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; published for the full-width network alone: 93.6 %.
"""

from oekd_tf import recipes


def get_config():
    return recipes.small_images("cifar10_resnet56", "cifar10", "CifarResNet", depth=56)
