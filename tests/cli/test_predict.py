"""``ptm predict``: what is said of how many, and where."""

import json

import pytest
from typer.testing import CliRunner

from ptm.cli.app import app


@pytest.fixture
def asked(monkeypatch):
    """The arguments of the last prediction."""
    seen = {}

    def predict(target, inputs, **how):
        seen.update(how, target=target, inputs=inputs)
        return {"inputs": 1200, "seconds": 1.25}

    monkeypatch.setattr("ptm.experiment.predict.run_prediction", predict)
    return seen


def invoke(*words):
    result = CliRunner().invoke(app, ["predict", *words])
    assert result.exit_code == 0, result.exception
    return result


def test_texts_files_and_options_are_handed_on(asked):
    invoke("run", "a.csv", "-", "--text", "x", "--text", "y", "--batch-size", "3", "--skip-bad")
    assert (asked["inputs"], asked["texts"]) == (["a.csv", "-"], ["x", "y"])
    assert (asked["batch_size"], asked["skip_bad"], asked["output"], asked["draw"]) == (3, True, None, None)


def test_how_many_are_said_on_standard_error(asked, tmp_path):
    result = invoke("run", "a.csv")
    assert result.stdout == "" and "1,200 predicted in 1.2 s\n" in result.stderr
    result = invoke("run", "a.csv", "--output", "p.csv", "--draw", "d", "--json")
    assert json.loads(result.stdout) == {"inputs": 1200, "seconds": 1.25}
    assert "1.2 s: p.csv, d\n" in result.stderr


def test_json_is_for_predictions_that_go_to_a_file(asked):
    assert invoke("run", "a.csv", "--json").stdout == ""
