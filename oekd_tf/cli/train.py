"""Trains, evaluates and exports what a config file describes.

    oekd train --config=configs/demo.py --workdir=runs/demo
    oekd train --config=configs/cifar10_resnet20.py --config.epochs=100
    oekd train --config.data.source=image_folder --config.data.data_dir=photos \\
        --config.data.image_size="(64, 64)" --config.method.name=dml

Run again with the same workdir it resumes from the last checkpoint. Without --config it trains the
demo, on images that are part of the package; with --config.data.source in its place it starts from
configs/small.py. --config.FIELD=VALUE sets one field; those that people change most:

    --config.data.source, --config.data.data_dir   the data set: a TFDS name, or image_folder
    --config.data.image_size                       (height, width) to resize images to
    --config.epochs, --config.batch_size           how long, and how many images a step
    --config.optimizer.learning_rate               peak learning rate
    --config.backbone.name, .arguments.NAME        the network, such as CifarResNet with depth
    --config.ensemble.widths                       the students, such as "(1.0, 0.5, 0.25)"
    --config.method.name, .arguments.NAME          how students teach each other: oekd, dml, ...
    --config.export.formats                        what to export, such as "('float32', 'int8')"
    --config.only_student                          train this student alone, as a baseline
    --config.seed                                  random seed

All fields, with default and meaning: oekd train --helpfields
"""

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.streams import say

_CONFIG = command_line.ConfigFlag()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/<config.name> if not given."
)


def main() -> None:
    command_line.run(_train, doc=__doc__, config=_CONFIG)


def _train() -> None:
    config = _CONFIG.value
    workdir = _WORKDIR.value or f"runs/{config.name}"
    say(f"training {config.name!r} in {workdir}")
    command_line.quiet_tensorflow(fine_tunes=True)
    from oekd_tf.training import train

    train(config, workdir, say)


if __name__ == "__main__":
    main()
