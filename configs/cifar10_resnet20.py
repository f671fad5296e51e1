"""Five ResNet-20 students on CIFAR-10.

Source: https://arxiv.org/abs/2011.07449, section 4, its recipe for CIFAR ResNets: Adam 1e-3,
L2 1e-5, batch 128, 350 epochs, ×0.1 at 200 and 300, pad-crop-flip.
Command: python -m oekd_tf.train --config=configs/cifar10_resnet20.py
Run time: about 1.5 s a step on two CPU cores (benchmarks/step_time.py), so 50 hours there; on a GPU
not measured.
Accuracy: not measured here. Published for a full-width ResNet-20 alone: 91.9 %.
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "cifar10_resnet20"
    config.epochs = 350
    config.batch_size = 128
    config.data.source = "cifar10"
    config.backbone.arguments.depth = 20
    config.optimizer.l2 = 1e-5
    config.schedule.name = "step"
    config.schedule.step_epochs = (200, 300)
    config.checkpoint_every = 5
    config.export.formats = ("saved_model", "float32", "int8")
    return config
