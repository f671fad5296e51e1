"""What can be configured: every field with its default, its rule and what it means."""

import ast
import contextlib
import difflib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from oekd_tf import config_rules as rules
from oekd_tf.config_errors import ConfigError, naming, one_line, shown
from oekd_tf.export.formats import RULE, is_format

AUGMENTATIONS = ("random_resized_crop", "pad_crop", "flip", "color_jitter", "rand_augment")

# What may differ when a run goes on: where it runs and what becomes of it, not what it computes.
_MAY_DIFFER = (
    "strategy",
    "logical_cpus",
    "jit_compile",
    "checkpoint_every",
    "checkpoints_kept",
    "data.data_dir",
    "data.download",
    "data.cache",
    # Where the teacher lies, not which one it is.
    "teacher_workdir",
    "export.",
    "fine_tuning.",
)


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
        default: Its value where a config says nothing; also fixes its type.
        valid: Whether a value, of the default's kind, keeps the rule.
        rule: The rule in words, to follow "must be".
        meaning: What the field does.
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
    "seed": Field(0, *rules.at_least(0), "Of initial weights, order and augmentation."),
    "epochs": Field(1, *rules.at_least(1), "Passes over the training data."),
    "batch_size": Field(128, *rules.at_least(1), "Of all replicas together."),
    "only_student": Field(
        0, *rules.at_least(0), "Train this student alone, as its baseline; 0 trains the ensemble."
    ),
    "teacher_workdir": Field(
        "",
        *rules.text(empty=True),
        "With only_student: offline distillation from the student 1 that was trained alone there.",
    ),
    "precision": Field(
        "float32",
        *rules.one_of("float32", "mixed_float16", "mixed_bfloat16"),
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
        *rules.one_of("auto", "none", "mirrored", "multi_worker", "tpu"),
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
    "checkpoints_kept": Field(2, *rules.at_least(1), "The newest ones; older ones are deleted."),
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
        0.1, *rules.fraction(), "Of the training data, held out to watch training."
    ),
    "data.split_seed": Field(0, *rules.at_least(0), "Of the validation split and of max_examples."),
    "data.max_examples": Field(0, *rules.at_least(0), "Use this many training examples; 0 is all."),
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
    "data.cache": Field(
        "auto",
        *rules.one_of("auto", "decoded", "encoded", "none"),
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
    "ensemble.widths": Field(
        (1.0, 0.8, 0.6, 0.4, 0.2),
        rules.are_widths,
        "1 first, then falling, above 0",
        "Fraction of the channels of each student.",
    ),
    "ensemble.teacher_weights": Field(
        (),
        rules.are_weights,
        "() or one weight a student, none below 0 and not all 0",
        "Students' weights in the ensemble teacher; () is uniform.",
    ),
    "ensemble.stem_gradient": Field(
        "all",
        *rules.one_of("all", "pseudo_teacher", "none"),
        "Whose gradient trains the stem.",
    ),
    "ensemble.shared_stem": Field(
        True, *rules.boolean(), "One stem for all students, or for each its own of full width."
    ),
    "ensemble.train_adaptation": Field(
        True, *rules.boolean(), "Train the channel adaptation layers, or keep their initial values."
    ),
    "ensemble.adaptation_initializer": Field(
        "glorot_uniform",
        *rules.one_of("glorot_uniform", "he_normal", "orthogonal", "zeros"),
        "Of the channel adaptation layers' kernels.",
    ),
    "ensemble.pseudo_teacher_epochs": Field(
        0, *rules.at_least(0), "Epochs at the start in which the pseudo teacher is trained alone."
    ),
    "loss.temperature": Field(
        2.0,
        lambda v: 0 < v <= 1e6,
        "above 0 and at most 1000000",
        "T of the distillation loss.",
    ),
    "loss.label_weight": Field(0.7, *rules.at_least(0), "α, of the labels' cross-entropy."),
    "loss.feature_weight": Field(0.15, *rules.at_least(0), "β, of the intermediate feature loss."),
    "loss.distillation_weight": Field(
        0.15, *rules.at_least(0), "γ, of the divergence from the ensemble teacher."
    ),
    "loss.distillation_target": Field(
        "ensemble",
        *rules.one_of("ensemble", "peers"),
        "Whose softened output students follow: the ensemble teacher's or each other's.",
    ),
    "loss.feature_scale": Field(
        "absolute",
        *rules.one_of("absolute", "relative"),
        "Whether the feature loss of a block is divided by the mean square of its target.",
    ),
    "loss.warmup_epochs": Field(
        0.0, *rules.at_least(0), "Epochs over which β and γ rise from 0; 0 has them from the start."
    ),
    "optimizer.name": Field("adam", *rules.one_of("adam", "adamw", "sgd"), "Which optimizer."),
    "optimizer.learning_rate": Field(1e-3, *rules.above(0), "At its highest."),
    "optimizer.l2": Field(0.0, *rules.at_least(0), "L2 coefficient on kernels, in the gradient."),
    "optimizer.weight_decay": Field(
        0.0, *rules.at_least(0), "Decoupled decay, times the learning rate; for adamw."
    ),
    "optimizer.momentum": Field(0.9, *rules.fraction(), "Of sgd."),
    "optimizer.nesterov": Field(False, *rules.boolean(), "Of sgd."),
    "optimizer.clip_norm": Field(
        0.0, *rules.at_least(0), "Largest norm of all gradients together; 0 does not clip."
    ),
    "schedule.name": Field(
        "constant", *rules.one_of("constant", "step", "cosine"), "How the learning rate changes."
    ),
    "schedule.step_epochs": Field(
        (), rules.are_rising_epochs, "rising whole epochs above 0", "When the step schedule falls."
    ),
    "schedule.step_factor": Field(0.1, *rules.share(), "What the step schedule multiplies by."),
    "schedule.warmup_epochs": Field(0.0, *rules.at_least(0), "Of the cosine schedule."),
    "schedule.final_fraction": Field(
        0.0, *rules.share(), "Of the learning rate, where the cosine schedule ends."
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
        "Of the TFLite and ONNX files; 0 leaves it to whoever runs them.",
    ),
    "export.calibration_images": Field(
        500, *rules.at_least(1), "Training images that int8 and int16 ranges are measured on."
    ),
    "export.calibration_batch_size": Field(
        1, *rules.between(1, 65536), "Images at a time; more than 1 with export.batch_size 0."
    ),
    "export.calibration_seed": Field(0, *rules.at_least(0), "Of the choice of calibration images."),
    "export.max_accuracy_drop_float": Field(
        0.005,
        *rules.share(),
        "Most that the test accuracy of a file in float may be below the Keras student's, of 1.",
    ),
    "export.max_accuracy_drop": Field(
        0.02, *rules.share(), "The same for a file that is quantized or was fine-tuned."
    ),
    "export.min_agreement_float": Field(
        0.99, *rules.share(), "Least top-1 agreement of a float file with the Keras student."
    ),
    "export.processes": Field(
        -1,
        *rules.between(-1, 1024),
        "Processes that convert; 0 is the one that exports, -1 what pays.",
    ),
    "fine_tuning.epochs": Field(
        5, *rules.at_least(1), "Of each of pruned_, clustered_ and qat_, before an export."
    ),
    "fine_tuning.learning_rate": Field(3e-4, *rules.above(0), "Of Adam, at the start; falls to 0."),
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
    return config.lock()


def check(config: ConfigDict) -> None:
    """Checks every field's rule, and the rules between fields.

    Args:
        config: What a config file's `get_config` returned, overrides applied.

    Raises:
        ConfigError: In one line: the field, its rule and what was received.
    """
    known = {*FIELDS}
    for path, value in _leaves(config):
        if path not in known:
            raise ConfigError(
                f"config.{path} is no field of a config{_nearest(path)}. Received: {shown(value)}"
            )
        known.discard(path)
    if known:
        raise ConfigError(f"config.{min(known)} must be set; start from default_config().")
    for path, field in FIELDS.items():
        _check_field(path, field, get(config, path))
    students = len(config.ensemble.widths)
    if config.only_student > students:
        raise ConfigError(
            f"config.only_student must be at most the number of students, {students}. "
            f"Received: {config.only_student}"
        )
    if config.teacher_workdir and not config.only_student:
        raise ConfigError(
            "config.teacher_workdir must be '' unless config.only_student names the student to "
            f"distil to. Received: {config.teacher_workdir!r}"
        )
    if config.loss.distillation_target == "peers" and students < 2:
        raise ConfigError(
            "config.loss.distillation_target must be 'ensemble' for one student. Received: 'peers'"
        )
    if config.ensemble.teacher_weights and len(config.ensemble.teacher_weights) != students:
        raise ConfigError(
            f"config.ensemble.teacher_weights must be () or {students} weights, one a student. "
            f"Received: {config.ensemble.teacher_weights}"
        )
    if config.schedule.name == "step" and not config.schedule.step_epochs:
        raise ConfigError(
            "config.schedule.step_epochs must be at least one epoch for the step schedule. "
            "Received: ()"
        )
    if config.schedule.name == "cosine" and config.schedule.warmup_epochs >= config.epochs:
        raise ConfigError(
            f"config.schedule.warmup_epochs must be below config.epochs, {config.epochs}; 0 is "
            f"none. Received: {config.schedule.warmup_epochs}"
        )
    if config.loss.warmup_epochs > config.epochs:
        raise ConfigError(
            f"config.loss.warmup_epochs must be at most config.epochs, {config.epochs}. "
            f"Received: {config.loss.warmup_epochs}"
        )
    if config.export.calibration_batch_size > 1 and config.export.batch_size:
        raise ConfigError(
            "config.export.calibration_batch_size must be 1 unless config.export.batch_size is 0. "
            f"Received: {config.export.calibration_batch_size}"
        )
    if config.logical_cpus and config.strategy != "mirrored":
        raise ConfigError(
            "config.logical_cpus must be 0 unless config.strategy is 'mirrored'. "
            f"Received: {config.logical_cpus} with strategy {config.strategy!r}"
        )
    if config.optimizer.weight_decay and config.optimizer.name != "adamw":
        raise ConfigError(
            "config.optimizer.weight_decay must be 0 unless config.optimizer.name is 'adamw'; "
            f"the others' is config.optimizer.l2. Received: {config.optimizer.weight_decay}"
        )
    make_backbone(config, synchronized_batch_norm=config.synchronized_batch_norm)


def make_backbone(config: ConfigDict, **arguments: Any) -> Any:
    """The backbone that a config names.

    Args:
        config: The config.
        **arguments: Arguments beside those of the config.

    Returns:
        An instance of `oekd_tf.backbones.Backbone`.

    Raises:
        ConfigError: There is no such class, or it refuses its arguments.
    """
    from oekd_tf import backbones

    name = config.backbone.name
    module, _, attribute = name.rpartition(":")
    reason = ""
    try:
        # A relative name would be relative to nothing.
        if module.startswith("."):
            raise ImportError("a module's name begins with no '.'")
        family = getattr(importlib.import_module(module) if module else backbones, attribute)
        # One's own may also be a function that makes a family; the package has only classes.
        is_family = hasattr(family, "branch") or (bool(module) and callable(family))
    except (ImportError, AttributeError) as error:
        is_family, reason = False, f": {one_line(error)}" if module else ""
    if not is_family:
        raise ConfigError(
            "config.backbone.name must be a class of oekd_tf.backbones, or the 'module:name' of "
            "one's own that gives an object with stem and branch. "
            f"Received: {shown(name)}{reason}"
        )
    with naming((), f"config.backbone.arguments must suit {name}"):
        backbone = family(**config.backbone.arguments.to_dict(), **arguments)
    if not (hasattr(backbone, "stem") and hasattr(backbone, "branch")):
        raise ConfigError(
            f"config.backbone.name must give an object with stem and branch. Received: {name!r}, "
            f"which gives {type(backbone).__name__}"
        )
    return backbone


def set_fields(config: ConfigDict, values: Mapping[str, Any], within: Sequence[str]) -> None:
    """Sets fields of a finished run's config, and checks it.

    Args:
        config: The config; changed in place.
        values: By dotted path; text is read as Python where the field is not text.
        within: The sections that may change.

    Raises:
        ConfigError: There is no such field in these sections, or a rule is broken.

    Example:
        >>> set_fields(config, {"export.batch_size": "0"}, within=("export",))
    """
    for path, value in values.items():
        if path not in FIELDS:
            raise ConfigError(
                f"A field to set must be one of a config{_nearest(path)}. Received: {path!r}"
            )
        if path.partition(".")[0] not in within:
            allowed = ", ".join(f"{section}.*" for section in within)
            raise ConfigError(
                f"A field to set must be one of those that may differ here: {allowed}. "
                f"Received: {path!r}"
            )
        *parents, name = path.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        if isinstance(value, str) and not isinstance(node[name], str):
            value = read_value(value)
        _put(node, name, path, value)
    check(config)


def _nearest(path: str) -> str:
    found = difflib.get_close_matches(path, FIELDS, n=1)
    return f", such as {found[0]}" if found else ""


def read_value(text: str) -> Any:
    """What a field's value on a command line says: Python if it reads as such, else text."""
    with contextlib.suppress(ValueError, SyntaxError):
        return ast.literal_eval(text)
    return text


def first_difference(one: ConfigDict, other: ConfigDict) -> str | None:
    """The first field on which what two configs compute depends and that they differ in.

    Args:
        one: A config.
        other: Another one.

    Returns:
        Its dotted path; None if runs of the two are the same.
    """
    for path in FIELDS:
        if get(one, path) != get(other, path) and not path.startswith(_MAY_DIFFER):
            return path
    return None


def get(config: ConfigDict, path: str) -> Any:
    """The value of the field with this dotted path."""
    for name in path.split("."):
        if name not in config:
            raise ConfigError(f"config.{path} must be set; start from default_config().")
        config = config[name]
    return config


def to_json(config: ConfigDict) -> str:
    """The config as indented JSON, fields in the order of their names."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
    """The config that `to_json` wrote, checked.

    Args:
        text: JSON. A field that the version which wrote it did not have yet takes its default.

    Returns:
        The config.

    Raises:
        ConfigError: The text is no JSON of a config, or a field breaks its rule.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"A config must be JSON: {one_line(error)}. Received: {shown(text)}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"A config must be a JSON object. Received: {shown(values)}")
    config = default_config()
    for path in FIELDS:
        node, given = config, values
        *parents, name = path.split(".")
        for parent in parents:
            node, given = node[parent], given.get(parent, {})
            if not isinstance(given, dict):
                raise ConfigError(
                    f"config.{parent} must be an object of fields. Received: {shown(given)}"
                )
        if name in given:
            _put(node, name, path, given[name])
    check(config)
    return config


def find_config(path: str) -> str:
    """Where a config file is: as given, or beside or inside the installed package.

    Args:
        path: For instance "configs/demo.py".

    Returns:
        A path that exists, or the one given.
    """
    package = Path(__file__).parent
    for folder in (Path(), package.parent, package):
        if (folder / path).is_file():
            return str(folder / path)
    return path


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, ConfigDict) and path not in FIELDS:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _put(node: ConfigDict, name: str, path: str, value: Any) -> None:
    """Sets a field to a value of any type, or raises a ConfigError."""
    field = FIELDS[path]
    if isinstance(field.default, tuple) and isinstance(value, list):
        value = tuple(value)
    elif isinstance(field.default, ConfigDict) and isinstance(value, dict):
        try:
            value = ConfigDict(value)
        # It refuses names with dots and names of its own methods, each with another error.
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ConfigError(
                f"config.{path} must be {field.rule}: {one_line(error)}. Received: {shown(value)}"
            ) from error
    _check_field(path, field, value)
    with node.unlocked():
        node[name] = value


def _check_field(path: str, field: Field, value: Any) -> None:
    for valid, rule in (rules.kind_rule(field.default), (field.valid, field.rule)):
        try:
            kept = valid(value)
        except TypeError:
            # A part of a tuple is of a type that the rule cannot compare.
            kept = False
        if not kept:
            raise ConfigError(f"config.{path} must be {rule}. Received: {shown(value)}")
