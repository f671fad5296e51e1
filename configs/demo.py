"""Five ResNet-8 students on 1,000 Fashion-MNIST images that come with the package.

Source: the method of https://arxiv.org/abs/2011.07449 with the loss that docs/recipe_search.md came
to, at a size for a first look: as few images as people have who begin, half their height and
width, flipped but not cropped. With few images a network alone learns them by heart, and there is
something to teach; with 5,400, cropped, no student gained. Widths are such that each student is
faster than the one before, in int8 and in float32 (docs/networks.md). The learning rate is the
best of 0.003, 0.01 and 0.03 for student 5 trained alone (seeds 100 and 101, images of the training
split that it was not trained on).
Command: python -m oekd_tf.train
Every student together and alone: python -m oekd_tf.compare --config=configs/demo.py --seeds=5
Run time: under four minutes on two cores.
Accuracy: docs/studies/demo/report.md
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "demo"
    config.note = (
        "One run is one seed. Of five, all students gained with each; student 5 by 2.4 % on "
        "average (95 % interval 1.3 to 3.5): docs/studies/demo/report.md"
    )
    config.epochs = 40
    config.batch_size = 32
    # Of the smallest student, so that the table shows what it gained.
    config.baselines = (-1,)
    config.data.source = "fashion_mnist_mini"
    config.data.max_examples = 1000
    config.data.image_size = (14, 14)
    config.data.augmentation = ("flip",)
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 8
    config.backbone.arguments.channel_multiple = 8
    config.ensemble.widths = (1.0, 0.8, 0.65, 0.5, 0.25)
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    config.export.formats = ("saved_model", "float32", "int8")
    return config
