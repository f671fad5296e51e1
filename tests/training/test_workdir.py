import os

import pytest

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError
from oekd_tf.training.workdir import locked, refuse_workdir_of_another


def test_one_at_a_time(tmp_path):
    workdir = tmp_path / "runs" / "one"
    with locked(workdir):
        refused = pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} on ")
        with refused as error, locked(workdir):
            pass
        assert str(workdir) in str(error.value)
        (workdir / "metrics.csv").write_text("")
    assert [path.name for path in workdir.iterdir()] == ["metrics.csv"]
    with locked(workdir):
        pass


def test_what_was_refused_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no such field"), locked(tmp_path / "runs" / "one"):
        raise ValueError("no such field")
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "runs").mkdir()
    with locked(tmp_path / "runs"):
        pass
    assert (tmp_path / "runs").is_dir()


def test_what_a_killed_process_left_does_not_matter(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on nowhere")
    with locked(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("name", ["config.json", "report.md", "summary.json", "metrics.csv"])
def test_files_of_something_else_are_kept(tmp_path, name):
    """A project has a config.json and a report.md of its own."""
    config = config_module.default_config()
    refuse_workdir_of_another(config, tmp_path / "new")
    refuse_workdir_of_another(config, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    refuse_workdir_of_another(config, tmp_path)
    (tmp_path / name).write_text('{"name": "shoes"}')
    with pytest.raises(ConfigError, match=rf"where {name} is of something else$"):
        refuse_workdir_of_another(config, tmp_path)


def test_a_run_that_was_not_trained_is_begun_anew(tmp_path):
    config = config_module.default_config()
    (tmp_path / "config.json").write_text(config_module.to_json(config))
    (tmp_path / "contract.json").write_text("{}")
    config.epochs = 3
    refuse_workdir_of_another(config, tmp_path)
