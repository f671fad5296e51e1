"""Configs: fields, defaults, validation and serialization; needs no Keras."""

from oekd_tf.config.budgets import BUDGETS, budget_fields, budgets, drop_budgets
from oekd_tf.config.building import changed_arguments, make_backbone, make_method
from oekd_tf.config.check import check
from oekd_tf.config.difference import first_difference
from oekd_tf.config.fields import FIELDS, Field, default_config, get
from oekd_tf.config.files import find_config, read_config
from oekd_tf.config.values import from_file, from_json, read_value, set_fields, to_json
from oekd_tf.core.errors import ConfigError

__all__ = [
    "BUDGETS",
    "FIELDS",
    "ConfigError",
    "Field",
    "budget_fields",
    "budgets",
    "changed_arguments",
    "check",
    "default_config",
    "drop_budgets",
    "find_config",
    "first_difference",
    "from_file",
    "from_json",
    "get",
    "make_backbone",
    "make_method",
    "read_config",
    "read_value",
    "set_fields",
    "to_json",
]
