"""Compares students that were trained together with the same students trained alone.

    oekd compare --config=configs/demo.py --seeds=3

trains the ensemble and every student's baseline under one config for each seed, and writes
results.json, report.md, summary.csv, runs.csv and pictures into --workdir. Started again it
resumes where it was stopped, and more --seeds or --ablation may be asked for.
`--config.field=value` overrides a field of the config for all runs; an ablation overrides fields
for further ensembles, which are compared with the same baselines:

    oekd compare --seeds=3 --ablation=no_kd:method.arguments.distillation_weight=0 \\
        --ablation="three:ensemble.widths=(1.0,0.6,0.2)"

    oekd compare --seeds=3 --offline=4,5 --mutual=4,5

also trains the two usual alternatives: the same students distilled from a full-width teacher that
was trained before, and in pairs with a full-width network that learn from each other. Offline
distillation has the ensemble's weights and temperature; `--offline_arguments=temperature=4.0` and
so on gives it some of its own.

    oekd compare --seeds=3 --method=dml:temperature=3.0 --method=labels

trains the same students by other distillation methods, too: METHOD is one of
`oekd_tf.methods.names()` or "module:Class" of one's own, and an argument's value a number, text or
a Python literal, such as `--method="oekd:teacher_weights=(3,1,1,1,1)"`. report.md, methods.csv and
gains.png have them side by side, over the seeds that all have.

    oekd compare --seeds=3 --processes=2

trains two runs at once, each on half of the cores, which a small network makes better use of.

    oekd compare --seeds=3 --rates=data.label_noise:0,0.2,0.4

makes a study of each value of a field, in a folder of its own, and writes rates.md and rates.png:
gains by value, and whether learning together helps more as it grows.

    oekd compare --workdir=runs/compare_demo --report_only

makes the report and the pictures again from results.json alone.
"""

import functools
import shlex
from pathlib import Path

from absl import flags

from oekd_tf.cli.parts import flags as command_line
from oekd_tf.core.streams import say

_CONFIG = command_line.ConfigFlag()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the study lives; runs/compare_<config.name> if unset."
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "How many, from config.seed on.")
_STUDENTS = flags.DEFINE_list("students", [], "Numbers of those trained alone; all if unset.")
_OFFLINE = flags.DEFINE_list(
    "offline", [], "Numbers of students to distil from student 1 trained alone, too."
)
_OFFLINE_ARGUMENTS = flags.DEFINE_string(
    "offline_arguments",
    "",
    "temperature=...,label_weight=...,distillation_weight=... of offline distillation; those of "
    "the ensemble's method where unset.",
)
_MUTUAL = flags.DEFINE_list(
    "mutual", [], "Numbers of students to train in a mutual learning pair with student 1, too."
)
_ABLATIONS = flags.DEFINE_multi_string(
    "ablation", [], "NAME:field=value,field=value of further ensembles; may be given repeatedly."
)
_METHODS = flags.DEFINE_multi_string(
    "method",
    [],
    "METHOD or METHOD:argument=value,... to train the students by, too; may be given repeatedly.",
)
_RATES = flags.DEFINE_string("rates", "", "FIELD:value,value of studies at several values.")
_PROCESSES = flags.DEFINE_integer("processes", 1, "Runs at once, each on its share of the cores.")
_REPORT_ONLY = flags.DEFINE_bool("report_only", False, "Report from results.json, train nothing.")


def main() -> None:
    command_line.run(_compare, doc=__doc__, config=_CONFIG)


def _compare() -> None:
    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or f"runs/compare_{config.name}")
    if _RATES.value:
        from oekd_tf.studies.by_rate import compare_by_rate, parse_rates, write_rates

        rates = parse_rates(_RATES.value)
    if _REPORT_ONLY.value:
        from oekd_tf.studies.report import write_report

        say(write_rates(workdir, rates) if _RATES.value else write_report(workdir))
        return
    say(f"comparing {config.name!r} in {workdir}")
    command_line.quiet_tensorflow()
    from oekd_tf.studies.plan import parse_further, parse_offline
    from oekd_tf.studies.study import compare

    command = shlex.join(["oekd", "compare", *_CONFIG.argv[1:]])
    ablations = parse_further(_METHODS.value, _ABLATIONS.value)
    students, offline, mutual = (
        command_line.numbers(flag, int) for flag in (_STUDENTS, _OFFLINE, _MUTUAL)
    )
    run = functools.partial(compare_by_rate, rates=rates) if _RATES.value else compare
    run(
        config, workdir, seeds=_SEEDS.value, students=students, ablations=ablations,
        offline=offline, mutual=mutual, command=command, log=say, processes=_PROCESSES.value,
        offline_arguments=parse_offline(_OFFLINE_ARGUMENTS.value),
    )  # fmt: skip


if __name__ == "__main__":
    main()
