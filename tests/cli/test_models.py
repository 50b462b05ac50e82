"""``ptm models``: a list for people and for programs."""

import json

import pytest
from typer.testing import CliRunner

from ptm.cli.app import app
from ptm.errors import ConfigError
from ptm.experiment.measure import Cost


def test_off_a_terminal_it_is_a_table_of_tabs(run_cli):
    done = run_cli("models", "--task", "causal-lm")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0][:3] == ["task", "name", "parameters"]
    assert [row[1] for row in rows[1:3]] == ["distilgpt2", "gpt2"]


def test_as_json_and_measured(run_cli):
    done = run_cli("models", "--names", "resnet8", "--measure", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["models"]
    assert row["parameters"] == 75_290
    assert row["cost"]["latency_ms"]["32"]["median"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "juggling"), "there is no task 'juggling'"),
        (("--measure",), "say which ones: --names"),
    ],
)
def test_the_command_refuses_in_one_message(run_cli, words, said):
    done = run_cli("models", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def listed(*words):
    result = CliRunner().invoke(app, ["models", *words])
    assert result.exception is None, result.exception
    return result.stdout


def test_names_are_listed_in_their_order_without_patterns():
    content = json.loads(listed("--names", "resnet50, resnet8", "--json"))
    assert [row["name"] for row in content["models"]] == ["resnet50", "resnet8"]
    assert content["families"] == [] and "cost" not in content["models"][0]


def test_of_one_task_its_patterns_stand_last():
    rows = [line.split("\t") for line in listed("--task", "semantic-segmentation").splitlines()]
    assert all("semantic-segmentation" in row[0] for row in rows[1:])
    assert rows[-1][1] == "smp:NAME"
    sizes = [float(row[2].removesuffix(" M")) for row in rows[1:-1]]
    assert sizes == sorted(sizes) and sizes[0] > 1


def test_what_was_measured_stands_beside_the_model(monkeypatch):
    cost = Cost(
        input="10 pixels",
        device="cpu",
        threads=2,
        latency_ms={"1": {"median": 1.25, "p95": 2.0}},
        peak_bytes={"1": 3_000_000},
    )
    costs = {"resnet8": cost, "resnet14": Cost(problem="died")}
    monkeypatch.setattr("ptm.experiment.measure.measure", lambda choice, threads: costs[choice.name])
    heading, first, second = (
        line.split("\t") for line in listed("--names", "resnet8,resnet14", "--measure").splitlines()[-3:]
    )
    assert heading[-5:] == [
        "ms, 1: median / p95", "ms, 32: median / p95", "memory, 1", "memory, 32", "measured on",
    ]  # fmt: skip
    assert first[-5:] == ["1.2 / 2.0", "", "3 MB", "", "10 pixels; cpu, 2 threads"]
    assert second[-5:] == ["", "", "", "", "not measured: died"]
    rows = json.loads(listed("--names", "resnet8", "--measure", "--json"))
    assert rows["models"][0]["cost"]["peak_bytes"] == {"1": 3_000_000}


@pytest.mark.parametrize("words", [["--task", "x"], ["--measure"], ["--names", "no-such-model"]])
def test_what_there_is_not_is_a_config_error(words):
    assert isinstance(CliRunner().invoke(app, ["models", *words]).exception, ConfigError)


@pytest.mark.slow
@pytest.mark.processes
def test_14_03_runs_and_exports_are_measured_as_they_are(reviews_run, exported_reviews, monkeypatch):
    monkeypatch.chdir(reviews_run.parent)
    names = f"./{reviews_run.name},{exported_reviews}"
    content = json.loads(listed("--names", names, "--measure", "--threads", "1", "--json"))["models"]
    run, export = content
    assert [row["task"] for row in content] == ["text-classification"] * 2
    assert run["parameters"] == export["parameters"] == run["cost"]["parameters"] > 0
    assert run["file_bytes"] == (reviews_run / "model" / "model.safetensors").stat().st_size
    assert export["file_bytes"] == (exported_reviews / "model.onnx").stat().st_size
    for row in content:
        assert row["cost"]["problem"] == ""
        assert row["cost"]["latency_ms"]["32"]["median"] >= row["cost"]["latency_ms"]["1"]["median"] * 0.5
        assert row["cost"]["threads"] == 1 and row["cost"]["peak_bytes"]["1"] > 0


@pytest.mark.slow
def test_14_03_a_run_of_another_task_and_a_directory_that_is_none_are_refused(reviews_run, tmp_path):
    of_images = CliRunner().invoke(
        app, ["models", "--names", str(reviews_run), "--task", "image-classification"]
    )
    assert type(of_images.exception) is ConfigError
    assert "is for text-classification" in str(of_images.exception)
    none = CliRunner().invoke(app, ["models", "--names", str(tmp_path)])
    assert none.exit_code != 0 and "not a run of ptm" in str(none.exception)
