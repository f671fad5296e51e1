"""Five ResNeXt-50 32×4d students on CIFAR-10.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for ResNets on CIFAR: Adam 1e-3,
L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300; pad, crop and flip.
Command: python -m oekd_tf.train --config=configs/cifar10_resnext50.py
Baseline of the smallest student: the same with --config.only_student=5
Cost: 122,850 steps. Students have 22,992,714 to 1,098,534 parameters; all five take 6.00 GFLOPs
an image forward, 33.2 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes
1.35 s on two CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; no published figure for this network trained alone from scratch on
this data is known to us.
"""

from oekd_tf import recipes


def get_config():
    return recipes.small_images("cifar10_resnext50", "cifar10", "ResNeXt", depth=50, stem_kernel=3)
