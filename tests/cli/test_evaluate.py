"""``ptm eval``: what its options change in the config."""

import pytest
from typer.testing import CliRunner

from ptm.cli.app import app
from ptm.errors import ConfigError, PtmError


class Asked(Exception):
    """Instead of an evaluation: what it was asked for."""


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """``asked(*words)``: the arguments that an evaluation of a config gets."""

    def evaluation(target, **how):
        raise Asked(how)

    monkeypatch.setattr("ptm.experiment.evaluate.run_evaluation", evaluation)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").touch()

    def ask(*words):
        result = CliRunner().invoke(app, ["eval", "run.yaml", *words])
        if isinstance(result.exception, Asked):
            return result.exception.args[0]
        raise result.exception

    return ask


OTHER = ["data.train=null", "data.eval=null", "data.max_eval_examples=null"]
WHOLE = ["data.test=null", "data.split_by=null", "data.stratify=null", "expect={}"]


def test_without_options_nothing_is_changed(asked):
    how = asked()
    assert (how["overrides"], how["expect"], how["predictions"], how["pins"]) == ([], [], None, None)


def test_other_data_are_measured_whole_and_without_the_bounds_of_the_config(asked):
    assert asked("--data", "csv:x", "--set", "runtime.device=cpu")["overrides"] == [
        'data.source="csv:x"',
        *OTHER,
        *WHOLE,
        "runtime.device=cpu",
    ]
    assert asked("--split", "test")["overrides"] == ['data.eval="test"', *WHOLE]


def test_a_source_that_is_one_file_is_the_split_of_its_folder(asked, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.csv").touch()
    changed = ['data.source="csv:d"', *OTHER, 'data.eval="a.csv"', *WHOLE]
    assert asked("--data", "csv:d/a.csv")["overrides"] == changed
    whole = asked("--data", "csv:d/a.csv", "--split", "x")["overrides"]
    assert whole[0] == 'data.source="csv:d/a.csv"' and 'data.eval="x"' in whole
    held_out = asked("--data", "csv:d/a.csv", "--set", "data.eval=50%")["overrides"]
    assert held_out[0] == 'data.source="csv:d/a.csv"' and held_out[-1] == "data.eval=50%"
    assert asked("--data", "imagefolder:d")["overrides"][0] == 'data.source="imagefolder:d"'


@pytest.mark.slow
def test_bounds_are_read_before_anything_is_loaded(asked):
    assert asked("--expect", "accuracy>=0.9", "--expect", "loss < 1")["expect"] == [
        ("accuracy", ">=0.9"),
        ("loss", "< 1"),
    ]
    with pytest.raises(ConfigError):
        asked("--expect", "accuracy")


def test_a_folder_that_is_no_run_is_refused(asked, tmp_path):
    (tmp_path / "folder").mkdir()
    result = CliRunner().invoke(app, ["eval", str(tmp_path / "folder")])
    assert isinstance(result.exception, PtmError)
