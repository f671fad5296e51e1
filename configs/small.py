"""Five ResNet-8 students: what a run without --config starts from, on data that it names.

    oekd train --config.data.source=cifar10

starts from this file; oekd train alone is configs/demo.py. configs/own_folder.py is a template for
images of your own, which says more and trains longer.

Source: the method of https://arxiv.org/abs/2011.07449; network and schedule are for a first look.
The learning rate is the better of 0.003 and 0.01 for student 5 trained alone (seed 100, validation
images of Fashion-MNIST: 70, 76 %).
Command: python -m oekd_tf.train --config=configs/small.py
Cost: on the 5,400 images of fashion_mnist_mini 588 steps; all five students take 44 MFLOPs an image
forward.
Accuracy: not measured; it is a start.
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "small"
    config.epochs = 7
    config.batch_size = 64
    config.data.source = "fashion_mnist_mini"
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    config.export.formats = ("saved_model", "float32", "int8")
    return config
