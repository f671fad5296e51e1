"""Values for the fields of a config, fit and unfit, for property tests."""

import hypothesis.strategies as st

from oekd_tf import config as config_module
from oekd_tf.core.choices import AUGMENTATIONS

WHOLE = st.one_of(
    st.integers(-2, 12),
    st.sampled_from([128, 10_000, 2**31, 2**32 - 1, 2**32, 2**63, 2**70, 10**400, -(2**70)]),
)
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(0, 1),
    st.sampled_from([0.0, -0.0, 1e-320, 1e-30, 1e30, 1e39, -1e-9, 1.0, 0.999999]),
)
TEXT = st.one_of(
    st.sampled_from(
        ["", " ", ".", "..", "../x", "a/b", "a\nb", "a\0b", "\ud800", "é", "x" * 300, "auto",
         "train[:0]", "image_folder", "CifarResNet", "Backbone", ":", "os:", ":x", ".:x", "..a:b",
         "no.such:thing", "json:dumps", "builtins:dict", "networks:PlainCnn", "adamw", "cosine",
         "step", "mirrored", "float32", "test"]
    ),
    st.text(max_size=8),
)  # fmt: skip
PARTS = st.one_of(
    NUMBERS, WHOLE, TEXT, st.booleans(), st.none(), st.just(()), st.just([1]), st.just({"a": 1})
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(
        ["depth", "groups", "growth_rate", "width_multiplier", "batch_norm_momentum", "channels",
         "batch_norm_epsilon", "synchronized_batch_norm", "self", "", "a b", "build"]
    ),
    PARTS,
    max_size=3,
)  # fmt: skip
# What is in a JSON file may be of any type, whatever the field.
ANYTHING = st.one_of(PARTS, st.lists(PARTS, max_size=3), ARGUMENTS)


def _choices(path):
    """The names that a field takes, read out of its rule."""
    parts = config_module.FIELDS[path].rule.split("'")
    return st.sampled_from(parts[1::2] or ["auto"])


def of_its_type(path):
    """Values of the type of the field's default."""
    default = config_module.FIELDS[path].default
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return st.one_of(WHOLE, st.booleans())
    if isinstance(default, float):
        return NUMBERS
    if isinstance(default, str):
        return st.one_of(TEXT, _choices(path))
    if isinstance(default, tuple):
        falling = st.lists(st.floats(0, 1), max_size=4).map(lambda v: (1.0, *sorted(v)[::-1]))
        names = st.lists(st.sampled_from(AUGMENTATIONS), max_size=3).map(tuple)
        sizes = st.tuples(WHOLE, WHOLE)
        return st.one_of(st.lists(PARTS, max_size=3).map(tuple), falling, names, sizes)
    return ARGUMENTS


def of_any_type(path):
    return st.one_of(of_its_type(path), ANYTHING)


def changes(values, most=3):
    """One to three fields, by path, and their new values.

    Args:
        values: From a field's path to a strategy.
        most: How many fields change at most.
    """
    paths = st.lists(
        st.sampled_from(sorted(config_module.FIELDS)), min_size=1, max_size=most, unique=True
    )
    return paths.flatmap(lambda chosen: st.fixed_dictionaries({p: values(p) for p in chosen}))


# Values that are fit for a step on small pictures, and some that are just not.
TRAINABLE = {
    "ensemble.widths": st.sampled_from(
        [(1.0, 0.5), (1.0, 0.25), (1.0,), (1.0, 0.999), (1.0, 0.06), (1.0, 0.01), (1.0, 1e-6)]
    ),
    "ensemble.pseudo_teacher_epochs": st.sampled_from([0, 1, 2**32 - 1]),
    "only_student": st.sampled_from([0, 0, 1, 2]),
    "method.name": st.sampled_from(["oekd", "oekd", "dml", "labels", "cl_ilr", "kdcl", "pcl"]),
    "method.arguments": st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.sampled_from([2.0, 1e-30, 1e-3, 1.0, 20.0, 1e6]),
            "label_weight": st.sampled_from([0.7, 0.0, 1e-30, 1e3]),
            "feature_weight": st.sampled_from([0.15, 0.0, 10.0]),
            "distillation_weight": st.sampled_from([0.15, 0.0, 10.0]),
            "warmup_epochs": st.sampled_from([0.0, 0.5, 1.0, 1e-30, 9_999.9]),
            "teacher_weights": st.sampled_from(
                [(1.0, 0.0), (0.3, 1e20), (1, 2), (1e-30, 0), "cross_entropy", "simplex", "better"]
            ),
            "divergence": st.sampled_from(["kl", "standardized_kl", "dkd", "nkd"]),
            "features": st.sampled_from([None, "relative_mse", "attention", "projected"]),
            "feature_blocks": st.sampled_from([None, (1,), (1, 2), (7,)]),
            "distillation_schedule": st.sampled_from(["constant", "sigmoid", "fade"]),
            "ema_decay": st.sampled_from([None, 0.9, 1e-30]),
            "stem_gradient": st.sampled_from(["all", "mean", "pseudo_teacher", "none"]),
            "train_adaptation": st.booleans(),
            "adaptation_initializer": st.sampled_from(["glorot_uniform", "orthogonal", "zeros"]),
        },
    ),
    "optimizer.name": st.sampled_from(["adam", "adamw", "sgd"]),
    "optimizer.learning_rate": st.sampled_from([1e-3, 1e-30, 0.1]),
    "optimizer.l2": st.sampled_from([0.0, 1e-4, 1.0]),
    "optimizer.weight_decay": st.sampled_from([0.0, 0.0, 1e-2]),
    "optimizer.momentum": st.sampled_from([0.9, 0.0, 0.999]),
    "optimizer.nesterov": st.booleans(),
    "optimizer.clip_norm": st.sampled_from([0.0, 1e-30, 1.0]),
    "epochs": st.sampled_from([1, 2, 10_000, 2**32 - 1]),
    "schedule.name": st.sampled_from(["constant", "step", "cosine"]),
    "schedule.step_epochs": st.sampled_from([(), (1,), (1, 2), (200, 300), (2**31,), (2**32 - 1,)]),
    "schedule.step_factor": st.sampled_from([0.1, 0.0, 1.0]),
    "schedule.warmup_epochs": st.sampled_from([0.0, 0.5, 0.999, 1e-30]),
    "schedule.final_fraction": st.sampled_from([0.0, 0.5, 1.0]),
    "precision": st.sampled_from(["float32", "mixed_float16", "mixed_bfloat16"]),
    "seed": st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32]),
    "batch_size": st.sampled_from([1, 2, 5, 32, 33, 10**6]),
    "data.source": st.sampled_from(["fashion_mnist_mini"] * 8 + ["cifar10", "no_such_set"]),
    "data.train_split": st.sampled_from(
        ["train"] * 8 + ["train[:50%]", "train+test", "train[:0]", "train[:9]", "valid", "train["]
    ),
    "data.test_split": st.sampled_from(["auto"] * 8 + ["test[:5]", "test[5:3]", "training"]),
    "data.image_size": st.sampled_from([(), (28, 28), (1, 1), (2, 3), (7, 30)]),
    "data.validation_fraction": st.sampled_from([0.1, 0.0, 1e-30, 0.5, 0.99999]),
    "data.split_seed": st.sampled_from([0, 1, 2**32 - 1]),
    "data.max_examples": st.sampled_from([64, 32, 1, 0, 2**32 - 1]),
    "data.augmentation": st.lists(st.sampled_from(AUGMENTATIONS), max_size=3).map(
        tuple
    ),
    "data.mixup": st.sampled_from([0.0, 0.2, 1e-30, 1e30]),
    "data.cutmix": st.sampled_from([0.0, 1.0, 1e-30, 1e30]),
    "data.label_noise": st.sampled_from([0.0, 0.1, 0.999999]),
    "data.label_smoothing": st.sampled_from([0.0, 0.1, 0.999999]),
    "data.cache": st.sampled_from(["auto", "decoded", "encoded", "none"]),
    "data.central_crop": st.sampled_from([0.875, 1e-30, 1.0]),
}  # fmt: skip
BACKBONES = st.sampled_from(
    [
        ("networks:PlainCnn", {}),
        ("networks:PlainCnn", {"norm": False}),
        ("networks:PlainCnn", {"channels": (4, 8)}),
        ("networks:PlainCnn", {"channels": ("a",)}),
        ("networks:PlainCnn", {"channels": ()}),
        ("networks:plain_cnn_family", {}),
        ("networks:plain_cnn_family", {"channels": (0,)}),
        ("CifarResNet", {"depth": 8}),
        ("CifarResNet", {"depth": 8, "batch_norm_momentum": 0.0}),
        ("CifarResNet", {"depth": 8.0}),
        ("DenseNet", {"depth": 10, "growth_rate": 4}),
        ("DenseNet", {"depth": 10, "growth_rate": 1}),
    ]
)
