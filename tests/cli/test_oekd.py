"""The one command, its help, and fields of a config on the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from oekd_tf import cli
from oekd_tf.cli.parts import device_flags
from oekd_tf.config import FIELDS
from oekd_tf.core.errors import memory_line

ROOT = Path(__file__).parents[2]

# What a command that says something of itself must not wait for.
HEAVY = ("tensorflow", "keras", "jax", "matplotlib", "ai_edge_litert")
WITHOUT = f"""
import sys
sys.argv = ["oekd", *sys.argv[1:]]
from oekd_tf.cli import main
try:
    main()
finally:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def run(*arguments, code=WITHOUT):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False,
        cwd=ROOT, timeout=100,
    )  # fmt: skip


# A process that has imported what a config needs, and forks one for each command line: absl parses
# one in a process.
READER = """
import json, os, sys, traceback
import oekd_tf.backbones
from oekd_tf import methods
from oekd_tf.cli.parts import flags
from oekd_tf.config import to_json

methods.OEKD
for line in sys.stdin:
    words, output, errors = json.loads(line)
    if not (child := os.fork()):
        for path, stream in ((output, 1), (errors, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = ["oekd train", *words]
        code = 1
        try:
            from oekd_tf.cli import train
            train._train = lambda: print(to_json(train._CONFIG.value))
            train.main()
        except SystemExit as stop:
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def config_of(tmp_path_factory):
    """The config that `oekd train` reads from flags, as JSON, and what went wrong."""
    folder = tmp_path_factory.mktemp("read")
    output, errors = folder / "output", folder / "errors"
    with subprocess.Popen(
        [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=ROOT,
    ) as reader:  # fmt: skip

        def read(*flags):
            print(json.dumps([flags, str(output), str(errors)]), file=reader.stdin, flush=True)
            code = int(reader.stdout.readline())
            return subprocess.CompletedProcess(flags, code, output.read_text(), errors.read_text())

        yield read
        reader.stdin.close()


def test_names_are_the_files():
    files = (ROOT / "oekd_tf" / "cli").glob("*.py")
    stems = {path.stem.replace("_", "-") for path in files}
    assert cli.names() == sorted(stems - {"--init--"})


def test_overview(capsys):
    cli.main([])
    shown = capsys.readouterr().out
    for name in cli.names():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith(".")
        assert len(line) <= 100


def test_version(capsys):
    import oekd_tf

    cli.main(["--version"])
    assert capsys.readouterr().out == f"oekd_tf {oekd_tf.__version__}\n"


def test_unknown_command():
    with pytest.raises(SystemExit) as stop:
        cli.main(["trian"])
    assert "Did you mean train? Received: 'trian'" in str(stop.value)
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize("command", ["train", "export", "compare", "train_arrays"])
def test_help_says_what_and_how_without_waiting(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert done.stderr == "[]\n"
    examples = [line for line in done.stdout.splitlines() if f"oekd {command} " in line]
    assert len(examples) >= 3
    assert "--workdir: " in done.stdout
    if command != "export":
        assert done.stdout.count("--helpfields") >= 1


def test_all_fields_are_listed():
    done = run("train", "--helpfields")
    assert (done.returncode, done.stderr) == (0, "[]\n")
    for path, field in FIELDS.items():
        assert f"  {path} = " in done.stdout
        assert field.meaning in done.stdout


def test_arguments_of_a_method_and_a_backbone(config_of):
    done = config_of(
        "--config.method.arguments.temperature=3.0", "--config.backbone.name=DenseNet",
        "--config.backbone.arguments.growth_rate", "12", "--config.epochs=3",
        "--config.method.arguments.teacher_weights=(2, 1, 1, 1, 1)",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"temperature": 3.0' in done.stdout
    assert '"growth_rate": 12' in done.stdout
    assert '"epochs": 3' in done.stdout
    assert '"teacher_weights": [' in done.stdout


def test_another_method_begins_with_no_arguments(config_of):
    flags = "--config=configs/cifar10_jpeg_resnet8_8x8.py", "--config.method.name=dml"
    done = config_of(*flags, "--config.method.arguments.temperature=2.0")
    assert done.returncode == 0, done.stderr
    method = json.loads(done.stdout)["method"]
    assert method["name"] == "dml"
    assert method["arguments"]["temperature"] == 2.0
    # The default of its class, where the file has 0.15 for another one.
    assert method["arguments"]["distillation_weight"] == 1.0


def test_own_data_do_not_start_from_the_demo(config_of):
    """The demo takes 1,000 images and halves them, which nobody asked for with images of theirs."""
    for flags, name in (
        ((), "demo"),
        (("--config.epochs=3",), "demo"),
        (("--config.data.source=cifar10",), "small"),
        (("--config.data.source=cifar10", "--config=configs/own_folder.py"), "own_folder"),
    ):
        config = json.loads(config_of(*flags).stdout)
        assert config["name"] == name
        # What the demo says of its seeds is not known of other runs.
        assert bool(config["note"]) == (not flags)
        if name == "small":
            assert (config["data"]["max_examples"], config["data"]["image_size"]) == (0, [])


def test_a_field_of_version_0_1(config_of):
    done = config_of("--config.loss.temperature=4.0", "--config.ensemble.stem_gradient=mean")
    assert done.returncode == 0, done.stderr
    assert '"temperature": 4.0' in done.stdout
    assert '"stem_gradient": "mean"' in done.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.schedule.nmae=x", "field schedule.nmae. Did you mean schedule.name? --helpf"),
        ("--config.learning_rate=1", "learning_rate. Did you mean optimizer.learning_rate?"),
        ("--config.loss.tempreture=2", "Unknown config field loss.tempreture. What was"),
        ("--config.loss.distillation_target=peers", "for mutual learning --config.method.name=dml"),
        ("--config=confgs/demo.py", "--config must be a file that is there. Received: 'confgs/d"),
        ("--config=typo", "--config must be a file that is there. Received: 'typo'"),
        ("--config", "--config must be followed by a file. Received: --config"),
        ("--config.epochs=many", "config.epochs must be a whole number, at most 4294967295. Rec"),
        ("--config.epochs=1.5", "config.epochs must be a whole number, at most 4294967295. Recei"),
        ("--config.epochs", "--config.epochs must be given a value. Received: --config.epochs"),
        ("--config.method=dml", "set field by field, such as --config.method.name=VALUE; --he"),
        ("--config.data=3", "such as --config.data.source=VALUE; --helpfields lists all. Received"),
        ("--config.optimizer.learning_rate=fast", "must be a number, 0 or from 1e-30 to 1e+30"),
        ("--config.deterministic=perhaps", "must be True or False. Received: 'perhaps'"),
        ("--noconfig.epochs", "must be of a field of True or False. Received: --noconfig.epochs"),
        ("--workdirr=x", "Unknown command line flag 'workdirr'. Did you mean: workdir? --help"),
        ("stray", "Only flags are allowed. Received: 'stray'"),
    ],
)
def test_one_line_for_a_mistake(config_of, flag, message):
    for more in ((), ("--config.batch_size=7",)):
        done = config_of(*more, flag)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert message in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config():\n    return default(\n", ", line 2: SyntaxError: '(' was never"),
        ("\nimport no_such_module", ", line 2: ModuleNotFoundError: No module named 'no_such"),
        ("def get_config():\n    return 1 / 0", ", line 2: ZeroDivisionError: division by zero"),
        ("x = 1", "with a function get_config(). Received: '"),
        ("def get_config():\n    return {'a': 1}", "must return a config, from oekd_tf.config.d"),
        (
            "from oekd_tf.config import default_config\n"
            "def get_config():\n    config = default_config()\n    config.epoch = 3\n",
            'line 4: AttributeError: Key "epoch" does not exist and cannot be added since the '
            'config is locked. Did you mean "epochs" instead of "epoch"?',
        ),
    ],
)
def test_one_line_for_a_config_file_that_does_not_run(config_of, tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    for more in ((), ("--config.epochs=3",)):
        done = config_of(f"--config={path}", *more)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert str(path) in line
        assert message in line


def test_ways_to_give_a_value(config_of, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from oekd_tf.config import default_config\n"
        "def get_config(depth='8'):\n"
        "    config = default_config()\n"
        "    config.backbone.arguments.depth = int(depth)\n"
        "    return config\n"
    )
    done = config_of(
        "--config", f"{path}:20", "--config.epochs", "3", "--config.deterministic",
        "--noconfig.data.download", "--config.jit_compile=true", "--config.optimizer.l2=0",
        "--config.data.augmentation=pad_crop", "--config.name=7", "-config.seed=2",
        "--config.backbone.arguments={'depth': 14}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    assert config["backbone"]["arguments"]["depth"] == 14
    assert (config["epochs"], config["seed"], config["name"]) == (3, 2, "7")
    assert config["deterministic"] is config["jit_compile"] is True
    assert config["data"]["download"] is False
    assert config["data"]["augmentation"] == ["pad_crop"]
    assert config["optimizer"]["l2"] == 0.0
    assert json.loads(config_of("--config", f"{path}:20").stdout)["backbone"] == {
        "name": "CifarResNet",
        "arguments": {"depth": 20},
    }


def test_a_field_that_is_given_twice_has_its_last_value(config_of):
    first, second = (f"--config.ensemble.widths={widths}" for widths in ("(1.0,0.5)", "(1.0,0.2)"))
    done = config_of(first, "--config.epochs=3", second, "--config.epochs=4")
    assert done.returncode == 0, done.stderr
    assert '"epochs": 4' in done.stdout
    widths = "".join(done.stdout.partition('"widths": ')[2].partition("]")[0].split())
    assert widths == "[1.0,0.2"


def test_a_method_in_the_current_folder(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import keras\n"
        "from oekd_tf.methods import Labels\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Mine(Labels):\n"
        "    pass\n"
    )
    code = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "sys.path = [path for path in sys.path if path not in ('', os.getcwd())]\n"
        "sys.argv = ['oekd train', '--config.method.name=mine:Mine']\n"
        "from oekd_tf.cli import train\n"
        "from oekd_tf import config\n"
        "train._train = lambda: print(type(config.make_method(train._CONFIG.value)).__name__)\n"
        "train.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "Mine", done.stderr


def test_want_of_memory_is_one_line():
    def work(flags):
        np.zeros(10**16, np.uint8)

    with pytest.raises(SystemExit) as stop:
        device_flags.run(device_flags.Parser("any", "Any."), work, [])
    line = str(stop.value)
    assert line.startswith("error: not enough memory: Unable to allocate ")
    assert "\n" not in line
    with pytest.raises(tf.errors.ResourceExhaustedError) as error:
        tf.zeros((10**8, 10**7))
    assert memory_line(error.value).startswith("not enough memory: ")
    assert memory_line(ValueError("other")) is None
