"""Five ResNet-20 students on CIFAR-10.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for CIFAR ResNets: Adam 1e-3,
L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300, pad-crop-flip.
Command: python -m oekd_tf.train --config=configs/cifar10_resnet20.py
Run time: about 1.5 s a step on two CPU cores (benchmarks/step_time.py), so 50 hours there; on a GPU
not measured.
Accuracy: not measured here. Published for a full-width ResNet-20 alone: 91.9 %.
"""

from oekd_tf import recipes


def get_config():
    return recipes.cifar_resnet("cifar10_resnet20", "cifar10", depth=20)
