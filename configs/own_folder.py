"""Five students on a folder of your own images: a template to copy and change line by line.

    photos/train/cat/1.jpg   photos/train/dog/1.jpg   ...
    photos/test/cat/2.jpg    photos/test/dog/2.jpg    ...

One folder a class, with the same names in train and test; photos/val or photos/valid is validated
on if there is one. A folder without train and test, photos/cat/1.jpg, is split for you. Then:

    oekd check-data --data_dir=photos
    oekd train --config=configs/own_folder.py --config.data.data_dir=photos

Any value below can be given like this too, as in --config.epochs=10; oekd train --helpfields lists
all. Started again, the same command resumes.

Source: none; the method is that of https://arxiv.org/abs/2011.07449 with the default loss, network
and schedule a start for some thousand small images.
Command: python -m oekd_tf.train --config=configs/own_folder.py
Cost: all five students take 722 MFLOPs an image forward; with 5,000 images some 7,000 steps.
Accuracy: yours; compare with the same student alone by --config.only_student=5
"""

from oekd_tf.config import default_config


def get_config():
    config = default_config()

    # Names the run (runs/own_folder) and its exports (savedmodels/own_folder). A name for each try.
    config.name = "own_folder"

    # Your images. data_dir is the folder that holds train and test.
    config.data.source = "image_folder"
    config.data.data_dir = ""

    # All images are resized to this height and width. Larger sees more, and takes longer: twice the
    # size is four times the work. The exported files take images of this size.
    config.data.image_size = (64, 64)

    # This share of the training images is held out, to see how training goes, unless there is a
    # folder of its own for it. The test images are looked at once, at the end.
    config.data.validation_fraction = 0.1

    # Images that are nearly alike, such as frames of one video, belong together in one split.
    # "folder": those in one folder below their class, photos/train/cat/video_7/0001.jpg; or a
    # regular expression with the group in parentheses, r"(video_\d+)". "" is for single images.
    config.data.group_key = ""

    # "balanced" counts images of rare classes more, so that no class is given up for the others.
    config.data.class_weight = "none"

    # What is done to training images, so that they are never twice the same. Take "flip" out where
    # left and right matter, as for arrows and letters.
    config.data.augmentation = ("pad_crop", "flip")

    # How often each image is seen, and how many at a time. Some thousand steps (images / batch_size
    # x epochs) are few; at most as many images a step as there are training images.
    config.epochs = 50
    config.batch_size = 32

    # The network. depth may be 8, 14, 20, 32, 44, 56: deeper is better with many images.
    config.backbone.name = "CifarResNet"
    config.backbone.arguments.depth = 20

    # The students: the first has full width, the others this share of its channels. In place of
    # widths, sizes of the int8 files: config.ensemble.int8_bytes = (150_000, 80_000, 50_000)
    config.ensemble.widths = (1.0, 0.8, 0.6, 0.4, 0.2)

    # The learning rate rises for warmup_epochs, which must be below epochs, and then falls to 0.
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.l2 = 1e-5
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0

    # What to write for your device when training ends; oekd export writes more later.
    config.export.formats = ("float32", "int8")

    return config
