"""Five ResNet-8 students on 10,000 CIFAR-10 images at 16×16: a study for two cores.

Source: the method and its loss weights of https://arxiv.org/abs/2011.07449; network, data and
schedule are of a size for two cores. Images are JPEG re-encodings of CIFAR-10 in TFDS form; with
--config.data.source=cifar10 TFDS fetches the original, of which the splits take other images.
Trained on 9,000 images, validated on 1,000, tested on the 12,000 others: noise of 2,000 test images
is a percent alone. No crops: at 16×16 they would move an image by a quarter of its size. The
learning rate is the best of 0.001, 0.003 and 0.01 for students 1 and 5 trained alone (seed 100,
validation accuracy of student 5: 42.1, 49.2, 49.5 %; of student 1: not run, 58.1, 63.7 %).
Command: python -m oekd_tf.train --config=configs/cifar10_jpeg_resnet8.py
The study: python -m oekd_tf.compare --config=configs/cifar10_jpeg_resnet8.py --seeds=5 \
    --offline=4,5 --mutual=4,5
Cost: 2,100 steps; all five students take 15 MFLOPs an image forward.
Accuracy: docs/studies/cifar10_jpeg_resnet8/report.md
"""

from oekd_tf import recipes


def get_config():
    config = recipes.cifar10_jpeg("cifar10_jpeg_resnet8", depth=8, image_size=16, epochs=30)
    recipes.papers_loss(config)
    config.optimizer.learning_rate = 1e-2
    config.optimizer.l2 = 1e-5
    return config
