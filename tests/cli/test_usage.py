"""A command line that is wrong is told as everything else is: what, where, expected, what to do; exit code 2."""

import json

import pytest
import typer.main

from ptm.cli.app import app, run
from ptm.cli.help import PAGES
from ptm.experiment.catalogue import choices

COMMANDS = [tuple(name.split()) for name in PAGES]


def failed(capsys, *words, code=2):
    """The one problem, and what was said on standard error."""
    assert run([*words, "--json"]) == code
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["exit_code"] == code
    (problem,) = error["problems"]
    assert err.startswith(f"error: {problem['where']}: {problem['what']}\n")
    assert problem["what"] and problem["where"] and problem["cure"]
    return problem


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_12_10_an_option_that_there_is_not(words, capsys):
    problem = failed(capsys, *words, "--no-such-option")
    assert problem["what"] == "there is no option --no-such-option"
    assert problem["where"] == f"ptm {' '.join(words)}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_12_10_an_argument_that_is_missing(words, capsys):
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    needed = [p for p in command.params if p.param_type_name == "argument" and p.required]
    if not needed or words == ("completion",):  # which prints no JSON
        return
    problem = failed(capsys, *words)
    assert problem["what"] == f"{needed[0].metavar} is missing"
    assert problem["expected"] == needed[0].help
    assert problem["cure"].startswith(f"write ptm {' '.join(words)} {needed[0].metavar}")


def test_12_10_a_command_that_there_is_not(capsys):
    problem = failed(capsys, "finetun", "x.yaml")
    assert problem["what"] == "there is no command 'finetun'"
    assert problem["cure"] == "did you mean ptm finetune?"
    assert "distill" in failed(capsys, "train")["expected"]
    assert failed(capsys, "cache", "lst")["cure"] == "did you mean ptm cache list?"


def test_12_10_a_slip_of_an_option_is_recognised(capsys):
    assert failed(capsys, "finetune", "x.yaml", "--ouput", "y")["cure"] == "did you mean --output?"


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["models", "--threads", "many"], "--threads"),
        (["batch", "x.yaml", "--jobs", "0"], "--jobs"),
        (["bench", "x.yaml", "--steps", "0"], "--steps"),
        (["predict", "r", "--threshold", "2"], "--threshold"),
    ],
)
def test_12_10_a_value_that_is_none(words, where, capsys):
    problem = failed(capsys, *words)
    assert problem["where"] == where and problem["expected"].startswith(f"{where} ")


def test_12_10_an_option_without_its_value_and_a_word_too_many(capsys):
    assert failed_last(capsys, ["finetune", "x.yaml", "--output"])["where"] == "--output"
    assert "extra" in failed(capsys, "lock", "x.yaml", "y.yaml")["what"]


def failed_last(capsys, words):
    """As :func:`failed`, for what must stand last."""
    assert run([words[0], "--json", *words[1:]]) == 2
    return json.loads(capsys.readouterr().out)["error"]["problems"][0]


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", ""])
@pytest.mark.parametrize("command", ["finetune", "batch", "reproduce"])
def test_12_10_a_number_of_processes_that_is_none(command, value, capsys, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        "version: 1\ntask: image-classification\nmodel: {name: resnet8, weights: none}\n"
        "data: {source: 'builtin:digits', train: train, eval: test}\n"
        "train: {epochs: 1, learning_rate: 0.1}\noutput: r\n"
    )
    assert run([command, str(config), f"--nproc={value}", "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert problem["where"] == "--nproc" and "or auto" in problem["expected"]


def success(finished, tmp_path):
    """For each command, words with which it ends well, or with 4 where a missed bound is what it says."""
    run_, config = str(finished), str(finished / "config.yaml")
    trains = [config, "--print-config"]
    return {
        "finetune": [config, "--resume"],
        "pretrain": trains,
        "distill": trains,
        "batch": [config],
        "eval": [run_],
        "predict": None,
        "compare": [run_, run_],
        "runs": [str(finished.parent)],
        "models": ["--names", choices("token-classification")[0].name],
        "init": ["--list"],
        "export": None,
        "check": [config],
        "bench": [config, "--steps", "1", "--rounds", "1"],
        "fetch": [config],
        "lock": [str(tmp_path / "pinned.yaml")],
        "schema": [],
        "reproduce": [run_],
        "report": [run_],
        "track": [run_, "--to", "tensorboard"],
        "env": [],
        "completion": None,
        "serve": None,
        "push": [run_, "--to", "somebody/model", "--dry-run"],
        "card": [run_],
        "cache list": [],
        "cache verify": [],
        "cache prune": ["--to", "1000"],
    }


@pytest.mark.slow
def test_12_10_every_command_says_as_json_what_came_of_it(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PTM_OFFLINE", "1")
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pinned.yaml").write_text((finished / "config.yaml").read_text())
    table = success(finished, tmp_path)
    assert set(table) == set(PAGES)
    for name, words in table.items():
        if words is None:  # each has a test of its own
            continue
        code = run([*name.split(), *words, "--json"])
        out, err = capsys.readouterr()
        assert code == 0, (name, err)
        assert "error" not in json.loads(out), name


def test_15_08_an_empty_name_is_not_the_working_directory(tmp_path, monkeypatch, capsys):
    """What a variable that nobody set leaves of ``ptm compare "$BASE" new``."""
    monkeypatch.chdir(tmp_path)
    for words in (["compare", "", "r"], ["compare", "r", ""], ["runs", ""], ["eval", ""], ["init", ""]):
        problem = failed(capsys, *words)
        assert problem["what"] == "is empty" and ". is the working directory" in problem["cure"]
    for words in (["eval", "r", "--predictions", ""], ["predict", "r", "--output", ""]):
        assert failed(capsys, *words)["where"] == words[2]
    assert run(["runs", "."]) == 0


def test_15_08_an_option_without_its_value_is_not_left_out(capsys):
    """``ptm eval r --data "$DATA"`` measured the run's own data where nobody had set DATA."""
    for words in (
        ["eval", "r", "--data", ""],
        ["eval", "r", "--split", ""],
        ["compare", "a", "b", "--metric", ""],
        ["finetune", "c.yaml", "--seeds", ""],
        ["distill", "c.yaml", "--seeds", ""],
        ["batch", "c.yaml", "--seeds="],
    ):
        problem = failed(capsys, *words)
        assert problem["what"] == "is empty" and problem["cure"] == "give it a value, or leave it out"


def test_15_08_json_with_a_value_fails_in_json(capsys):
    assert run(["models", "--json=yes"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert problem["where"] == "--json" and problem["cure"] == "write --json alone"
