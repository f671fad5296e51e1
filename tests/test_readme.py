"""The Python of README and guides, run from top to bottom as a reader would, but shorter."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from oekd_tf.models.distributed.cluster import Cluster, from_environment

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent


# For the time; each must be there.
SHORTER = {
    "README.md": (
        ("steps_per_epoch=data.steps_per_epoch(64)", "steps_per_epoch=40"),
        ("epochs=20", "epochs=1"),
        ("widths=(1.0, 0.8, 0.6, 0.4, 0.2),", "widths=(1.0, 0.4),"),
    ),
    "docs/data.md": (),
    "docs/method.md": (),
    "docs/networks.md": (),
    "docs/pretrained.md": (
        ("(32, 32, 3), num_classes=10)", "(32, 32, 3), num_classes=10, widths=(1.0,))"),
        ("num_classes=4,\n    initial", "num_classes=4,\n    widths=(1.0, 0.2),\n    initial"),
        ("num_classes=4,\n    method", "num_classes=4,\n    widths=(1.0, 0.2),\n    method"),
        ("widths=(1.0, 0.5, 0.25)", "widths=(1.0, 0.25)"),
    ),
    "docs/edge.md": (
        ("steps_per_epoch=data.steps_per_epoch(64), epochs=7", "steps_per_epoch=40, epochs=1"),
    ),
    "docs/robustness.md": (),
    "docs/distributed.md": (),
}
# What a page's code must have printed.
PRINTED = {
    "README.md": ("student_2 int8: ", "arrays, 180 training, 20 validation and 50 test images"),
    "docs/data.md": ("arrays, 180 training, 20 validation and 50 test images",),
    "docs/method.md": ("('label_loss', 'distillation_loss')", "['teacher_accuracy']"),
    "docs/networks.md": ("(0.",),
    "docs/pretrained.md": ("with a new classifier", "student_2 int8: ", "(64, 12)"),
    "docs/edge.md": ("student_2 uint8: ", "student_2 qat_int8: "),
    "docs/robustness.md": ("rank correlation 0.",),
    "docs/distributed.md": ("10/10",),
}


@pytest.mark.parametrize(
    "page",
    # The device's page trains twice, once in int8.
    [pytest.param(p, marks=pytest.mark.slow) if p == "docs/edge.md" else p for p in SHORTER],
)
def test_python_of_a_page(tmp_path, page):
    text = (ROOT / page).read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for long, short in SHORTER[page]:
        assert long in code
        code = code.replace(long, short)
    # The same network every time: whether int8 is near enough is then no matter of luck.
    code = f"import keras as k; k.utils.set_random_seed(0)\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=400, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in PRINTED[page]:
        assert text in done.stdout


@pytest.mark.parametrize("kind", ["bash", "yaml"])
def test_schedulers_scripts_name_every_worker(tmp_path, kind):
    text = (ROOT / "docs" / "distributed.md").read_text()
    (script,) = re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    requeued = tmp_path / "requeued"
    stubs = {
        "scontrol": f'[ $1 = show ] && printf "n1\\nn2\\n" || echo $2 > {requeued}',
        "srun": 'for SLURM_PROCID in 0 1; do export SLURM_PROCID; "${@:2}"; done',
        "python": 'echo "$TF_CONFIG $*"; exit 143',
    }
    for name, body in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    if kind == "bash":
        done = [run_bash(script, {**variables, "SLURM_JOB_NODELIST": "n[1-2]"})]
        assert requeued.read_text() == "7\n"
        hosts = ("n1:2222", "n2:2222")
    else:
        (command,) = re.findall(r"^ +- \|\n(.*?)^      \w", script, re.MULTILINE | re.DOTALL)
        command = textwrap.dedent(command)
        done = [run_bash(command, {**variables, "JOB_COMPLETION_INDEX": i}) for i in "01"]
        hosts = ("oekd-0.oekd:2222", "oekd-1.oekd:2222")
    lines = "".join(one.stdout for one in done).splitlines()
    assert len(lines) == 2
    for index, line in enumerate(lines):
        tf_config, _, command = line.rpartition(" -m oekd_tf train ")
        assert from_environment({"TF_CONFIG": tf_config}) == Cluster(hosts, index)
        assert "--config.strategy=multi_worker" in command
    assert {one.returncode for one in done} == {143}


# A binary's main with what would run replaced by what reads the command line; a process a line,
# because a config's flag can be parsed only once.
PARSE = """
import importlib, json, os, sys
from absl import flags
from oekd_tf.cli.parts import flags as command_line
from oekd_tf.studies.plan import parse_ablations, parse_methods, plan
from oekd_tf.config import check
from oekd_tf.cli.parts import device_flags as of_device


def parse(main, doc=None, config=None):
    sys.argv = config.without_overrides(sys.argv) if config else sys.argv
    flags.FLAGS(sys.argv)
    given = config.value if config else None
    if config:
        check(given)
    if hasattr(module, "_ABLATIONS"):
        # Every run of a study, an ablation's too, must be of a config that keeps the rules.
        plan(
            given,
            flags.FLAGS.seeds,
            command_line.numbers(module._STUDENTS, int),
            {**parse_methods(flags.FLAGS.method), **parse_ablations(flags.FLAGS.ablation)},
            command_line.numbers(module._OFFLINE, int),
            command_line.numbers(module._MUTUAL, int),
        )


command_line.run = parse
of_device.run = lambda parser, main, argv: parser.parse_args(argv)
module = importlib.import_module(sys.argv[1])
if hasattr(module, "_CONFIG"):
    # What a config's check needs, imported once for all lines.
    import oekd_tf.backbones
    oekd_tf.methods.OEKD
codes = []
for line in json.loads(sys.argv[2]):
    if not (child := os.fork()):
        sys.argv = [sys.argv[1], *line]
        module.main()
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
sys.exit(any(codes))
"""


def run_bash(script, variables):
    return subprocess.run(
        ["bash", "-c", script], env=variables, capture_output=True, text=True, check=False
    )


def commands():
    """Command lines of this package's binaries in all pages, by module."""
    found = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text().replace("\\\n", " ")
        # Indented, or within a line; what the schedulers' scripts say is run by the test above.
        lines = re.findall(r"^ {4}(?:\w+=\S+ |.* && )?(oekd [a-z].*)", text, re.MULTILINE)
        for line in lines + re.findall(r"`(oekd [a-z][^`\n]*)`", text):
            # Such as a bracket outside quotes, which Python's shlex does not mind.
            assert run_bash(f"set -n; {line}", {}).returncode == 0, line
            _, command, *words = shlex.split(line, comments=True)
            if words != ["--help"] and words != ["--helpfields"]:
                found.setdefault(command, []).append(words)
    return found


@pytest.mark.parametrize("command", sorted(commands()))
def test_commands_are_what_the_binaries_take(command):
    lines = commands()[command]
    name = f"oekd_tf.cli.{command.replace('-', '_')}"
    done = subprocess.run(
        [sys.executable, "-c", PARSE, name, json.dumps(lines)], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_it_names_is_there():
    text = (ROOT / "README.md").read_text()
    assert "@@" not in text
    for path in re.findall(r"\((docs/[\w.]+|configs|oekd_tf/[\w.]+)\)", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"--config=(\S+\.py)|python (benchmarks/\S+\.py)", text):
        assert (ROOT / (path[0] or path[1])).exists(), path


def test_the_pictures_are_what_is_drawn(tmp_path):
    import runpy

    script = tmp_path / "draw_method.py"
    script.write_text((ROOT / "docs" / "draw_method.py").read_text())
    runpy.run_path(str(script), run_name="__main__")
    drawn = (tmp_path / "method.svg").read_text()
    assert drawn.count("<path") == (ROOT / "docs" / "method.svg").read_text().count("<path")
