"""Five ResNet-8 students on a small Fashion-MNIST that comes with the package.

Source: the paper's method (https://arxiv.org/abs/2011.07449) at a size for a first look; its loss
weights are the paper's, its network, schedule and data are not. The learning rate is the better of
0.003 and 0.01 for student 5 trained alone (seed 100, validation accuracy 70, 76 %).
Command: python -m oekd_tf.train
Baseline of the smallest student: python -m oekd_tf.train --config.only_student=5
The study: python -m oekd_tf.compare --config=configs/demo.py --seeds=3
Run time: four minutes on two cores.
Accuracy: docs/studies/demo/report.md
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "demo"
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
