"""The sides of a comparison: what is one, and what is refused."""

import shutil

import pytest

from ptm.errors import RunDirectoryError
from ptm.experiment.side import read_side


def test_a_finished_run_is_a_side(finished_run):
    side = read_side(finished_run)
    ((seed, run),) = side.runs.items()
    assert seed == side.spec.train.seed and run.path == finished_run == side.first.path
    assert set(side.metric_names) == set(side.metrics[seed]) and "loss" in side.metric_names


def test_what_is_no_side_is_refused(finished_run, tmp_path):
    with pytest.raises(RunDirectoryError, match="there is no such directory"):
        read_side(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirectoryError, match="holds no run"):
        read_side(tmp_path / "empty")
    for name in ("a", "b"):
        shutil.copytree(finished_run, tmp_path / "twice" / name)
    with pytest.raises(RunDirectoryError, match="holds runs with one seed"):
        read_side(tmp_path / "twice")
    (tmp_path / "twice" / "b" / "config.yaml").unlink()
    with pytest.raises(
        RunDirectoryError, match=r"b: holds results\.json, manifest\.json and no config\.yaml"
    ):
        read_side(tmp_path / "twice")
