"""Five ResNet-101 students on ImageNet.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for EfficientNet on ImageNet: Adam
1e-3, L2 1e-4, batch 128, 100 epochs, ×0.5 at 50, 70 and 90; random resized crop and flip.
Command: python -m oekd_tf.train --config=configs/imagenet_resnet101.py
Baseline of the smallest student: the same with --config.only_student=5
Cost: 990,900 steps. Students have 44,549,160 to 2,124,634 parameters; all five take 34.96 GFLOPs
an image forward, 193.8 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes
1.35 s on two CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; published for the full-width network alone: 77.4 %.
"""

from oekd_tf import recipes


def get_config():
    return recipes.imagenet("imagenet_resnet101", "ResNet", depth=101)
