"""Five ResNet-110 students on CIFAR-100.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for ResNets on CIFAR: Adam 1e-3,
L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300; pad, crop and flip.
Command: python -m oekd_tf.train --config=configs/cifar100_resnet110.py
Every student together and alone, three seeds, with intervals:
    python -m oekd_tf.compare --config=configs/cifar100_resnet110.py --seeds=3
Where there is only JAX, from the arrays of keras.datasets.cifar100, with the same --config:
    KERAS_BACKEND=jax python -m oekd_tf.train_arrays --arrays=cifar100.npz --config=...
Baseline of the smallest student: the same with --config.only_student=5
All 50,000 training images are trained on, none are held out: the last epoch counts, and the test
images are looked at once.
Cost: 136,500 steps. Students have 1,736,564 to 64,233 parameters; all five take 1.08 GFLOPs an
image forward, 6.0 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes 1.35 s
on two CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; the paper's: student 5, 97 % compressed (96.3 % of the parameters of
these networks), gains 10.64 % relative to itself trained alone; published for the full-width
network alone: 74.3 %.
"""

from oekd_tf import recipes


def get_config():
    config = recipes.small_images("cifar100_resnet110", "cifar100", "CifarResNet", depth=110)
    config.data.validation_fraction = 0.0
    return config
