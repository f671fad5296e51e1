"""Five DenseNet-BC (L = 100, k = 12) students on CIFAR-100.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for DenseNet-BC on CIFAR: SGD 0.1
with momentum 0.9, L2 1e-4, batch 48, 350 epochs, ×0.1 at 170 and 250; pad, crop and flip.
Command: python -m oekd_tf.train --config=configs/cifar100_densenet100_k12.py
Every student together and alone, three seeds, with intervals:
    python -m oekd_tf.compare --config=configs/cifar100_densenet100_k12.py --seeds=3
Where there is only JAX, from the arrays of keras.datasets.cifar100, with the same --config:
    KERAS_BACKEND=jax python -m oekd_tf.train_arrays --arrays=cifar100.npz --config=...
Baseline of the smallest student: the same with --config.only_student=5
All 50,000 training images are trained on, none are held out: the last epoch counts, and the test
images are looked at once.
Cost: 364,350 steps. Students have 800,032 to 38,672 parameters; all five take 1.22 GFLOPs an
image forward, 2.5 times the FLOPs a step of configs/cifar10_resnet20.py, whose step takes 1.35 s
on two CPU cores. Run time not measured; needs a GPU.
Accuracy: not measured here; the paper's: student 5, 95 % compressed, gains 8.17 % relative to
itself trained alone; published for the full-width network alone: 77.7 %.
"""

from oekd_tf import recipes


def get_config():
    config = recipes.small_images_densenet(
        "cifar100_densenet100_k12", "cifar100", depth=100, growth_rate=12
    )
    config.data.validation_fraction = 0.0
    return config
