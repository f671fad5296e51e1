"""Five DenseNet-121 students on ImageNet.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for EfficientNet on ImageNet: Adam
1e-3, L2 1e-4, batch 128, 100 epochs, ×0.5 at 50, 70 and 90; random resized crop and flip.
Command: python -m oekd_tf.train --config=configs/imagenet_densenet121.py
Baseline of the smallest student: the same with --config.only_student=5
Cost: 990,900 steps. Students have 7,978,856 to 501,582 parameters; all five take 13.25 GFLOPs an
image forward, 73.4 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes 1.35 s
on two CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; published for the full-width network alone: 74.4 %.
"""

from oekd_tf import recipes


def get_config():
    return recipes.imagenet("imagenet_densenet121", "ImageNetDenseNet", depth=121)
