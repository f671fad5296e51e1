"""Five ResNet-110 students on CIFAR-100: the paper's headline.

Source: https://arxiv.org/abs/2011.07449, section 4: Adam 1e-3, L2 1e-5, batch 128, 350 epochs,
×0.1 at 200 and 300, pad-crop-flip.
Command: python -m oekd_tf.train --config=configs/cifar100_resnet110.py
Baseline of the smallest student: the same with --config.only_student=5
Run time: needs a GPU; not measured.
Accuracy: not measured here. The paper's figure: student 5, 97 % compressed, gains 10.64 % relative
to itself trained alone. Published for a full-width ResNet-110 alone: 74.3 %.
"""

from oekd_tf import recipes


def get_config():
    return recipes.cifar_resnet("cifar100_resnet110", "cifar100", depth=110)
