"""Five EfficientNet-B2 students on CIFAR-100.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for ResNets on CIFAR: Adam 1e-3,
L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300; pad, crop and flip.
Command: python -m oekd_tf.train --config=configs/cifar100_efficientnet_b2.py
Baseline of the smallest student: the same with --config.only_student=5
Cost: 122,850 steps. Students have 7,841,894 to 387,304 parameters; all five take 72 MFLOPs an
image forward, 0.4 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes 1.35 s
on two CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; no published figure for this network trained alone from scratch on
this data is known to us.
"""

from oekd_tf import recipes


def get_config():
    return recipes.small_images(
        "cifar100_efficientnet_b2", "cifar100", "EfficientNet", variant="b2"
    )
