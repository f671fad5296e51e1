"""Five ResNet-8 students on 13,070 German traffic signs at 32×32, with the default loss.

Source: the method of https://arxiv.org/abs/2011.07449 with the loss that docs/recipe_search.md came
to; nothing was chosen on this data set. Frames of one track stay in one split. Signs are not
flipped.
Command: python -m oekd_tf.train --config=configs/gtsrb_resnet8.py
Every student together and alone: python -m oekd_tf.compare --config=configs/gtsrb_resnet8.py \
    --seeds=5 --students=1,4,5
Cost: some 740 steps; six minutes on one core.
Accuracy: docs/studies/gtsrb_resnet8/report.md
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "gtsrb_resnet8"
    config.epochs = 8
    config.batch_size = 128
    config.data.source = "gtsrb32"
    config.data.group_key = "track"
    config.data.augmentation = ("pad_crop",)
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    return config
