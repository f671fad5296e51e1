"""Five ResNet-56 students on 10,000 CIFAR-10 images at 8×8: deep and narrow, on two cores.

Source: the method and its loss weights of https://arxiv.org/abs/2011.07449, whose large gains are
those of deep and narrow students; data, resolution and schedule are of a size for two cores. Images
and splits are those of configs/cifar10_jpeg_resnet8.py. The optimizer is one whose best learning
rate depends little on the width. It was chosen by the validation accuracy of student 5 trained
alone, seed 100: SGD 0.1 and 0.3: 45.6, 47.7 %; Adam 0.003, 0.01, 0.03: 34.5, 41.2, 48.2 %. With
Adam 0.03 the ensemble's wide students were unstable; the paper's Adam 0.001 would leave the narrow
ones untrained in so few steps, and any help would look large.
Command: python -m oekd_tf.train --config=configs/cifar10_jpeg_resnet56.py
The study: python -m oekd_tf.compare --config=configs/cifar10_jpeg_resnet56.py --seeds=3 \
    --students=1,4,5 --ablation=no_features:method.arguments.feature_weight=0
Cost: 1,400 steps; the ensemble's takes 0.73 s on one core.
Accuracy: docs/studies/cifar10_jpeg_resnet56/report.md. Narrow students lose: docs/results.md
says why, and configs/cifar10_8x8_resnet56.py is the remedy.
"""

from oekd_tf import recipes


def get_config():
    config = recipes.cifar10_jpeg("cifar10_jpeg_resnet56", depth=56, image_size=8, epochs=20)
    recipes.papers_loss(config)
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.3
    config.optimizer.momentum = 0.9
    config.optimizer.l2 = 1e-4
    return config
