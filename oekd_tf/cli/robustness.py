"""Measures how robust a run's students are, together and alone.

    oekd robustness --workdir=runs/demo
    oekd robustness --workdir=runs/demo --properties=corruption,attack --images=0
    oekd robustness --workdir=runs/mine --other=svhn_cropped

Every student, its baseline where there is one, and their int8 files: accuracy on corrupted images
and on adversarial examples, after pruning, how honest probabilities are, and whether other images
are noticed. The folder `robustness` of the run then holds report.md, robustness.png and
robustness.json. Started again, it goes on where it was stopped.

    oekd robustness --workdir=runs/compare_demo

measures each seed of a study, and says with intervals what learning together changes.
"""

from pathlib import Path

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.streams import say
from oekd_tf.training.workdir import require_run

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of a finished run of an ensemble, or of a study."
)
_PROPERTIES = flags.DEFINE_list(
    "properties", [], "What to measure; all if unset: see oekd_tf.robustness.properties.names()."
)
_IMAGES = flags.DEFINE_integer("images", 1000, "Test images to measure on; 0 is all.")
_ATTACK_IMAGES = flags.DEFINE_integer("attack_images", 250, "Of these, for adversarial examples.")
_SEVERITIES = flags.DEFINE_list("severities", ["1", "3", "5"], "Of corruptions, from 1 to 5.")
_EPSILONS = flags.DEFINE_list("epsilons", ["2", "4", "8"], "Sizes of attacks, of 255.")
_SPARSITIES = flags.DEFINE_list("sparsities", ["0.5", "0.8", "0.9"], "Shares that are pruned.")
_INT8 = flags.DEFINE_bool("int8", True, "Measure each student's int8 file, too.")
_OTHER = flags.DEFINE_string(
    "other", "", "Another data set, as of config.data.source, whose images are to be noticed."
)
_OTHER_DATA_DIR = flags.DEFINE_string("other_data_dir", None, "Where that is.")
_SEED = flags.DEFINE_integer("seed", 0, "Random seed of noise and attacks.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the run's data are now, if they moved.")


def main() -> None:
    flags.mark_flag_as_required("workdir")
    command_line.run(_robustness, doc=__doc__)


def _robustness() -> None:
    severities, epsilons, sparsities = (
        tuple(command_line.numbers(flag, float)) for flag in (_SEVERITIES, _EPSILONS, _SPARSITIES)
    )
    properties = [name.strip() for name in _PROPERTIES.value]
    if _PROPERTIES.present and not properties:
        raise ConfigError("--properties must name one, or be left out for all. Received: none")
    if not list(Path(_WORKDIR.value).glob("seed_*")):
        require_run(_WORKDIR.value)
    command_line.quiet_tensorflow()
    from oekd_tf.studies.robustness.material import Settings
    from oekd_tf.studies.robustness.measure import measure_robustness
    from oekd_tf.studies.robustness.over_seeds import measure_study, seeds_of

    settings = Settings(
        images=_IMAGES.value,
        attack_images=_ATTACK_IMAGES.value,
        severities=severities,
        epsilons=epsilons,
        sparsities=sparsities,
        other=_OTHER.value,
        seed=_SEED.value,
    )
    measure = measure_study if seeds_of(_WORKDIR.value) else measure_robustness
    measure(
        _WORKDIR.value,
        settings,
        properties=properties,
        int8=_INT8.value,
        data_dir=_DATA_DIR.value,
        other_data_dir=_OTHER_DATA_DIR.value,
        log=say,
    )


if __name__ == "__main__":
    main()
