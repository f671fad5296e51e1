"""Fields of a config with default, rule and meaning."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from oekd_tf.config import rules
from oekd_tf.core.choices import (
    AUGMENTATIONS,
    CACHES,
    CLASS_WEIGHTS,
    LABEL_NOISES,
    OPTIMIZERS,
    OVERLAY_SOURCES,
    PRECISIONS,
    SAMPLINGS,
    SCHEDULES,
    SLICES,
    STRATEGIES,
)
from oekd_tf.core.errors import ConfigError
from oekd_tf.export.formats import RULE, is_format


def _is_json(arguments: ConfigDict) -> bool:
    """Whether the arguments can be written to a run's config.json."""
    try:
        json.dumps(arguments.to_dict(), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


class Field(NamedTuple):
    """One configurable value.

    Attributes:
        default: Default value, which also defines the type.
        valid: Function from a value of that type to whether it is valid.
        rule: Description of valid values, which follows "must be".
        meaning: Description of the field.
    """

    default: Any
    valid: Callable[[Any], bool]
    rule: str
    meaning: str


FIELDS: dict[str, Field] = {
    "name": Field(
        "run",
        rules.is_name,
        "letters, digits, '.', '_' and '-', none in front a '.', at most 200 bytes",
        "Names the run and its exports.",
    ),
    "note": Field(
        "",
        *rules.text(empty=True),
        "A sentence for the end of the report, such as how a study of several seeds came out.",
    ),
    "seed": Field(
        0, *rules.at_least(0), "Random seed of initial weights, data order and augmentation."
    ),
    "epochs": Field(1, *rules.at_least(1), "Passes over the training data."),
    "batch_size": Field(128, *rules.at_least(1), "Global batch size, all replicas together."),
    "only_student": Field(
        0, *rules.at_least(0), "Train this student alone, as its baseline; 0 trains the ensemble."
    ),
    "baselines": Field(
        (),
        rules.are_students,
        "numbers of students, from 1 on, or -1 for the smallest, each once",
        "Students that are trained alone, too, after the ensemble, so that its report has their "
        "gains.",
    ),
    "teacher_workdir": Field(
        "",
        *rules.text(empty=True),
        "With only_student: offline distillation from the student 1 that was trained alone there.",
    ),
    "initial_weights": Field(
        "",
        *rules.text(empty=True),
        "What students begin with: a .keras file, the folder of a finished run, or 'imagenet' "
        "where keras.applications has the network; '' is random. Mean and standard deviation of "
        "images are then those of that network.",
    ),
    "precision": Field(
        "float32",
        *rules.one_of(*PRECISIONS),
        "Keras dtype policy; logits and losses are float32 under all of them.",
    ),
    "jit_compile": Field(
        False, *rules.boolean(), "Compile steps with XLA; slower to start on a CPU."
    ),
    "deterministic": Field(
        False, *rules.boolean(), "The same bits on every run, at some cost in speed."
    ),
    "strategy": Field(
        "auto",
        *rules.one_of(*STRATEGIES),
        "tf.distribute strategy; auto is mirrored where there is more than one GPU. multi_worker "
        "reads TF_CONFIG.",
    ),
    "logical_cpus": Field(
        0, *rules.between(0, 256), "With the mirrored strategy, replicas on this many logical CPUs."
    ),
    "synchronized_batch_norm": Field(
        True,
        *rules.boolean(),
        "Batch statistics over all replicas rather than over each one's share.",
    ),
    "checkpoint_every": Field(1, *rules.at_least(1), "Epochs from one checkpoint to the next."),
    "checkpoints_kept": Field(
        2, *rules.at_least(1), "Number of newest checkpoints to keep; older ones are deleted."
    ),
    "data.source": Field(
        "fashion_mnist_mini",
        *rules.text(),
        "A TFDS name, 'image_folder', or the embedded 'fashion_mnist_mini'.",
    ),
    "data.data_dir": Field(
        "",
        *rules.text(empty=True),
        "TFDS data directory, or the image folder's root; '' is TFDS's own.",
    ),
    "data.train_split": Field("train", *rules.text(), "Split to train on."),
    "data.validation_split": Field(
        "auto",
        *rules.text(),
        "Split to validate on; auto is the data set's own where there is one besides the test "
        "split, or else hold_out, a part of the training data.",
    ),
    "data.test_split": Field(
        "auto", *rules.text(), "Split for the final figures; auto is 'test', or else 'validation'."
    ),
    "data.image_key": Field("auto", *rules.text(), "Feature that holds the image."),
    "data.label_key": Field("auto", *rules.text(), "Feature that holds the label."),
    "data.image_size": Field(
        (),
        rules.is_image_size,
        "() or (height, width), each from 1 to 10000",
        "Resize images to this; () keeps their size.",
    ),
    "data.validation_fraction": Field(
        0.1, *rules.fraction(), "Share of the training data that is held out for validation."
    ),
    "data.test_fraction": Field(
        0.1, *rules.fraction(), "Share of an image folder without splits that is tested on."
    ),
    "data.split_seed": Field(
        0, *rules.at_least(0), "Random seed of splits that are held out, and of max_examples."
    ),
    "data.group_key": Field(
        "",
        *rules.text(empty=True),
        "What stays in one split, such as frames of a track: a TFDS feature; of an image folder "
        "'folder' or a regular expression on '<class>/<file>' with the group in parentheses.",
    ),
    "data.max_examples": Field(0, *rules.at_least(0), "Use this many training examples; 0 is all."),
    "data.examples_per_class": Field(
        0, *rules.at_least(0), "Most training examples of a class, by data.split_seed; 0 is all."
    ),
    "data.imbalance": Field(
        1.0,
        lambda v: 1 <= v <= 1e9,
        "at least 1",
        "Long tail: how many times as many training examples the first class keeps as the last.",
    ),
    "data.augmentation": Field(
        ("pad_crop", "flip"),
        lambda v: all(name in AUGMENTATIONS for name in v) and AUGMENTATIONS[0] not in v[1:],
        f"among {', '.join(AUGMENTATIONS)}, {AUGMENTATIONS[0]} first",
        "Applied to training images, in this order.",
    ),
    "data.mixup": Field(0.0, *rules.at_least(0), "α of mixup's Beta distribution; 0 is off."),
    "data.cutmix": Field(
        0.0,
        *rules.at_least(0),
        "α of cutmix's Beta distribution; 0 is off. With both, one a batch.",
    ),
    "data.label_smoothing": Field(
        0.0, *rules.fraction(), "Share of a label that is spread over all classes."
    ),
    "data.label_noise": Field(
        0.0,
        *rules.fraction(),
        "Share of training labels that are replaced by another class, chosen by data.split_seed.",
    ),
    "data.label_noise_kind": Field(
        "symmetric",
        *rules.one_of(*LABEL_NOISES),
        "What they are replaced by: any other class, or always the next one.",
    ),
    "data.teacher_logits": Field(
        "",
        *rules.text(empty=True),
        "Logits that oekd predict --save_logits has written, or 'feature:NAME' of a TFDS data set, "
        "for a method with teacher='stored'; without augmentation, because they are of images as "
        "they are.",
    ),
    "data.class_weight": Field(
        "none",
        *rules.one_of(*CLASS_WEIGHTS),
        "Weight of an example's label loss in training; balanced lets all classes count the same.",
    ),
    "data.sampling": Field(
        "natural",
        *rules.one_of(*SAMPLINGS),
        "Training examples of an epoch: each once, or as many with all classes equally often.",
    ),
    "data.cache": Field(
        "auto",
        *rules.one_of(*CACHES),
        "Where images are between epochs: decoded or encoded in memory, or only in their files.",
    ),
    "data.central_crop": Field(
        0.875,
        lambda v: 0 < v <= 1,
        "above 0 and at most 1",
        "Part of the middle of images of varying size that evaluation sees.",
    ),
    "data.download": Field(True, *rules.boolean(), "Let TFDS fetch a data set that is not there."),
    "backbone.name": Field(
        "CifarResNet",
        *rules.text(),
        "Class in oekd_tf.backbones, or 'module:name' for a class or function of one's own.",
    ),
    "backbone.arguments": Field(
        ConfigDict({"depth": 8}),
        _is_json,
        "a ConfigDict of what JSON can hold",
        "The class's arguments.",
    ),
    "ensemble.int8_bytes": Field(
        (),
        rules.are_falling_sizes,
        "falling whole numbers above 0",
        "In place of widths: the most bytes of the int8 file of student 2, 3 and so on. The widest "
        "students that fit are found when the run starts.",
    ),
    "ensemble.latency_ms": Field(
        (),
        rules.are_falling_limits,
        "falling numbers above 0",
        "In place of widths, or with int8_bytes: the most milliseconds that the int8 file of "
        "student 2, 3 and so on takes with one thread on this machine, measured when the run "
        "starts.",
    ),
    "ensemble.widths": Field(
        (1.0, 0.8, 0.6, 0.4, 0.2),
        rules.are_widths,
        "1 first, then falling, above 0",
        "Fraction of the channels of each student.",
    ),
    "ensemble.shared_stem": Field(
        True, *rules.boolean(), "One stem for all students, or for each its own of full width."
    ),
    "ensemble.slice": Field(
        "l1",
        *rules.one_of(*SLICES),
        "With initial_weights, which channels narrower students begin with: those with the largest "
        "kernels, those that batch normalisation scales most, the first, or random ones.",
    ),
    "ensemble.frozen_stem_epochs": Field(
        0, *rules.at_least(0), "Epochs at the start in which the stem stays as it is."
    ),
    "ensemble.pseudo_teacher_epochs": Field(
        0, *rules.at_least(0), "Epochs at the start in which the pseudo teacher is trained alone."
    ),
    "method.name": Field(
        "oekd",
        *rules.text(),
        "How students teach each other: one of oekd_tf.methods.names(), or 'module:Class' for a "
        "method of one's own.",
    ),
    "method.arguments": Field(
        ConfigDict(),
        _is_json,
        "a ConfigDict of what JSON can hold",
        "Arguments of the method's class; what is left out has the class's default.",
    ),
    "overlay.share": Field(
        0.0,
        *rules.share(),
        "Share of each batch over which integrated gradients are laid, where a copy of the network "
        "looks; 0 is off. The ensemble's alone: a student alone is trained without.",
    ),
    "overlay.source": Field(
        "pseudo_teacher",
        *rules.one_of(*OVERLAY_SOURCES),
        "Whose integrated gradients: student 1's, or those of all students' mean.",
    ),
    "overlay.refresh_epochs": Field(
        5,
        *rules.at_least(1),
        "Epochs from one copy to the next; there is no overlay before the first.",
    ),
    "overlay.steps": Field(8, *rules.at_least(1), "Gradients of an image."),
    "overlay.paired": Field(
        True, *rules.boolean(), "Each image has its own map; with False, a control, another's."
    ),
    "label_loss.logit_adjustment": Field(
        0.0,
        *rules.at_least(0),
        "τ of the label loss in training, of logits + τ log(share of the class); 0 is off.",
    ),
    "optimizer.name": Field("adam", *rules.one_of(*OPTIMIZERS), "Name of the optimizer."),
    "optimizer.learning_rate": Field(1e-3, *rules.above(0), "Peak learning rate."),
    "optimizer.pretrained_factor": Field(
        1.0,
        *rules.above(0),
        "With initial_weights, factor of the learning rate for what is from there.",
    ),
    "optimizer.l2": Field(0.0, *rules.at_least(0), "L2 coefficient on kernels, in the gradient."),
    "optimizer.weight_decay": Field(
        0.0, *rules.at_least(0), "Decoupled decay, times the learning rate; for adamw."
    ),
    "optimizer.momentum": Field(0.9, *rules.fraction(), "Momentum; used by sgd only."),
    "optimizer.nesterov": Field(False, *rules.boolean(), "Nesterov momentum; used by sgd only."),
    "optimizer.clip_norm": Field(
        0.0, *rules.at_least(0), "Largest norm of all gradients together; 0 does not clip."
    ),
    "schedule.name": Field("constant", *rules.one_of(*SCHEDULES), "Schedule of the learning rate."),
    "schedule.step_epochs": Field(
        (),
        rules.are_rising_epochs,
        "rising whole epochs above 0",
        "Epochs at which the step schedule falls.",
    ),
    "schedule.step_factor": Field(
        0.1, *rules.share(), "Factor by which the step schedule multiplies."
    ),
    "schedule.warmup_epochs": Field(
        0.0, *rules.at_least(0), "Epochs of linear warm-up; used by the cosine schedule only."
    ),
    "schedule.final_fraction": Field(
        0.0, *rules.share(), "Share of the learning rate at which the cosine schedule ends."
    ),
    "early_stopping.monitor": Field(
        "",
        lambda v: not v or v.startswith("val_"),
        "'' or a log of the validation split, such as 'val_teacher_accuracy'",
        "Log by which the best epoch is chosen; '' trains to the last epoch and keeps that. A "
        "student alone has val_accuracy or val_loss in its place.",
    ),
    "early_stopping.patience": Field(
        10, *rules.at_least(1), "Epochs without a better value after which training ends."
    ),
    "early_stopping.min_delta": Field(
        0.0, *rules.at_least(0), "By how much a value must be better."
    ),
    "early_stopping.restore_best": Field(
        True,
        *rules.boolean(),
        "With a monitor: evaluate, save and export the weights of the best epoch, not of the last.",
    ),
    "export.formats": Field(
        (),
        lambda v: all(is_format(f) for f in v) and len(set(v)) == len(v),
        "formats, each " + RULE,
        "What to export when training ends; () exports nothing.",
    ),
    "export.output": Field(
        "", *rules.text(empty=True), "Folder to export to; '' is savedmodels/<name>."
    ),
    "export.overwrite": Field(False, *rules.boolean(), "Replace an export that is there."),
    "export.batch_size": Field(
        1,
        *rules.between(0, 65536),
        "Batch size of the TFLite and ONNX files; 0 leaves it free.",
    ),
    "export.calibration_images": Field(
        500, *rules.at_least(1), "Training images that int8 and int16 ranges are measured on."
    ),
    "export.calibration_batch_size": Field(
        1, *rules.between(1, 65536), "Images at a time; more than 1 with export.batch_size 0."
    ),
    "export.calibration_seed": Field(
        0, *rules.at_least(0), "Random seed of the choice of calibration images."
    ),
    "export.max_accuracy_drop_float": Field(
        0.005,
        *rules.share(),
        "Most that the test accuracy of a file in float may be below the Keras student's, of 1.",
    ),
    "export.max_accuracy_drop": Field(
        0.02, *rules.share(), "The same for a file that is quantized or was fine-tuned."
    ),
    "export.max_class_drop": Field(
        1.0,
        *rules.share(),
        "Most that a file's recall of a class with at least 10 test images may be below the Keras "
        "student's, of 1; 1.0 allows any.",
    ),
    "export.min_agreement_float": Field(
        0.99, *rules.share(), "Least top-1 agreement of a float file with the Keras student."
    ),
    "export.micro_images": Field(
        0,
        *rules.at_least(0),
        "Test images that TensorFlow Lite Micro runs with each TFLite file, too; 0 runs none.",
    ),
    "export.processes": Field(
        -1,
        *rules.between(-1, 1024),
        "Worker processes for conversion: 0 converts in this process, -1 chooses automatically.",
    ),
    "fine_tuning.epochs": Field(
        5, *rules.at_least(1), "Epochs of each of pruned_, clustered_ and qat_, before an export."
    ),
    "fine_tuning.learning_rate": Field(
        3e-4, *rules.above(0), "Initial learning rate of Adam; falls to 0."
    ),
    "fine_tuning.sparsity": Field(
        0.7, *rules.fraction(), "Share of each kernel's weights that pruned_ makes zero."
    ),
    "fine_tuning.clusters": Field(
        16, *rules.between(2, 65536), "Values that clustered_ leaves each kernel's weights."
    ),
}


def default_config() -> ConfigDict:
    """A config with every field at its default, to be changed by a config file.

    Returns:
        A `ConfigDict` that refuses fields that do not exist and values of another type.

    Example:
        >>> config = default_config()
        >>> config.optimizer.learning_rate = 0.01
    """
    config = ConfigDict()
    for path, field in FIELDS.items():
        *parents, name = path.split(".")
        node = config
        for parent in parents:
            if parent not in node:
                node[parent] = ConfigDict()
            node = node[parent]
        default = field.default
        node[name] = ConfigDict(default.to_dict()) if isinstance(default, ConfigDict) else default
    config.lock()
    # Arguments of a class are validated by it, when the config is checked.
    config.backbone.arguments.unlock()
    config.method.arguments.unlock()
    return config


def get(config: ConfigDict, path: str) -> Any:
    """The value of the field with this dotted path."""
    for name in path.split("."):
        if name not in config:
            raise ConfigError(f"config.{path} must be set; start from default_config().")
        config = config[name]
    return config
