"""Five EfficientNet-B4 students on ImageNet.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for EfficientNet on ImageNet: Adam
1e-3, L2 1e-4, batch 128, 100 epochs, ×0.5 at 50, 70 and 90; random resized crop and flip.
Command: python -m oekd_tf.train --config=configs/imagenet_efficientnet_b4.py
Baseline of the smallest student: the same with --config.only_student=5
Cost: 990,900 steps. Students have 19,341,616 to 1,219,530 parameters; all five take 7.26 GFLOPs
an image forward, 40.2 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes
1.35 s on two CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; published for the full-width network alone: 82.9 %, at
380×380.
"""

from oekd_tf import recipes


def get_config():
    return recipes.imagenet("imagenet_efficientnet_b4", "EfficientNet", variant="b4")
