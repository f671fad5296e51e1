"""An export of some of a run's students."""

import pytest
from small_runs import small_config

from oekd_tf import training
from oekd_tf.cli import main
from oekd_tf.core.errors import ConfigError
from oekd_tf.device.manifest import read_manifest

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = small_config(epochs=1, ensemble__widths=(1.0, 0.5, 0.25))
    training.train(config, workdir, lambda line: None)
    return workdir


def test_only_the_chosen_are_converted(workdir, tmp_path):
    said = []
    manifest = training.export_run(
        workdir, tmp_path / "out", ("float32",), log=said.append,
        students=("student_3", "student_1"),
    )  # fmt: skip
    assert [s["name"] for s in manifest["students"]] == ["student_1", "student_3"]
    assert [s["width"] for s in manifest["students"]] == [1.0, 0.25]
    assert not any("student_2" in line for line in said)
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert folders == {"selftest", "student_1", "student_3"}


@pytest.mark.parametrize("names", [("student_4",), ("student_1", "student_1"), ("",)])
def test_names_are_checked(workdir, tmp_path, names):
    with pytest.raises(ConfigError, match=r"--students must be among student_1, .*Received: "):
        training.export_run(workdir, tmp_path / "out", ("float32",), students=names)
    assert not (tmp_path / "out").exists()


def test_on_the_command_line(workdir, tmp_path):
    arguments = ["export", f"--workdir={workdir}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--formats=float32", "--students=student_2, student_3", "--rescue"])
    assert not stop.value.code
    manifest = read_manifest(tmp_path / "out")
    assert [s["name"] for s in manifest["students"]] == ["student_2", "student_3"]
    for student in manifest["students"]:
        assert list(student["formats"]) == ["float32", "mixed"]
        rescue = student["formats"]["mixed"]["rescue"]
        assert rescue["images"] == manifest["contract"]["splits"]["validation"]["examples"]
