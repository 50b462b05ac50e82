"""Batches through the command line: what is run, what is not run again, and what CI is told."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scipy.stats import ttest_1samp
from typer.testing import CliRunner

from ptm.cli.app import app
from ptm.errors import ConfigError
from ptm.experiment.batch import worst_code
from ptm.experiment.verdict import spread
from ptm.run.ownership import put_mark

TEXT = """
version: 1
task: image-classification
model: {{name: resnet8, weights: none, width: 2}}
data:
  {{source: builtin:digits, train: train, eval: test, max_train_examples: 100, max_eval_examples: 50, image_size: 8}}
train: {{epochs: {epochs}, batch_size: 25, learning_rate: 1e-2, save_every_steps: 4}}
runtime: {{device: cpu, threads: 1}}
output: runs/{name}
{more}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, more="", epochs="1"):
        (tmp_path / f"{name}.yaml").write_text(TEXT.format(name=name, more=more, epochs=epochs))
        return f"{name}.yaml"

    return write


def statuses(record):
    return {run["name"]: (run["status"], run["exit_code"]) for run in record["runs"]}


@pytest.mark.processes
def test_a_batch_of_good_and_bad_runs_and_the_same_again(run_cli, config, tmp_path):
    good, bad = config("good"), config("bad", epochs="two")
    low = config("low", more='expect: {accuracy: ">= 0.999"}')
    broken = config("broken", more="teacher: {name: runs/nowhere-at-all}")
    command = (
        "batch",
        good,
        low,
        bad,
        broken,
        "--seeds",
        "1,2",
        "--json",
        "--junit",
        "j.xml",
        "--summary",
        "s.md",
    )
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md")}
    done = run_cli(*command, env=github)
    record = json.loads(done.stdout)
    assert done.returncode == record["exit_code"] == 3
    found = statuses(record)
    assert found["bad"] == ("failed", 2)
    assert found["good/seed-1"] == found["good/seed-2"] == ("done", 0)
    assert found["low/seed-1"] == found["low/seed-2"] == ("missed", 4)
    assert found["broken/seed-1"][0] == "failed"
    assert "::error file=bad.yaml,line=7,col=17" in done.stderr
    assert "\r" not in done.stderr and "Traceback" not in done.stderr
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("7", "2", "3")
    assert (tmp_path / "step.md").read_text() == (tmp_path / "s.md").read_text()

    group = next(group for group in record["groups"] if group["config"] == "good.yaml")
    values = [run["metrics"]["loss"] for run in record["runs"] if run["config"] == "good.yaml"]
    assert group["metrics"]["loss"]["mean"] == pytest.approx(statistics.mean(values))
    assert group["metrics"]["loss"]["sd"] == pytest.approx(statistics.stdev(values))

    # Again: nothing that is finished is run, and a missed bound is still missed.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/model/*")}
    again = run_cli("batch", good, low, "--seeds", "1,2", "--json")
    assert again.returncode == 4
    assert statuses(json.loads(again.stdout)) == {
        "good/seed-1": ("finished", 0),
        "good/seed-2": ("finished", 0),
        "low/seed-1": ("missed", 4),
        "low/seed-2": ("missed", 4),
    }
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/model/*")}


@pytest.mark.processes
def test_a_batch_that_is_stopped_saves_and_goes_on(config, run_cli, tmp_path):
    first, second = config("first", epochs="2000"), config("second")
    command = [sys.executable, "-m", "ptm", "batch", first, second, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})
    until(lambda: any((tmp_path / "runs/first/checkpoints").glob("step-*")))
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 75, stderr
    assert statuses(json.loads(stdout)) == {"first": ("stopped", 75), "second": ("not run", 75)}
    assert not (tmp_path / "runs/second").exists()
    steps = max(int(path.name[5:]) for path in (tmp_path / "runs/first/checkpoints").glob("step-*"))
    # A broken run goes on; what is asked for now, fewer epochs, is another experiment, and is told as one.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})
    until(
        lambda: (
            max((int(p.name[5:]) for p in (tmp_path / "runs/first/checkpoints").glob("step-*")), default=0)
            > steps
        )
    )
    process.kill()
    process.communicate(timeout=60)
    log = [json.loads(line) for line in (tmp_path / "runs/first/metrics.jsonl").read_text().splitlines()]
    numbers = [line["step"] for line in log if line.get("split") == "train" or "loss" in line]
    assert numbers == sorted(numbers)
    # The training dies with the batch that was killed, but not in the same instant.
    shorter, found = config("first", epochs="1"), []
    until(lambda: found.append(run_cli("batch", shorter, "--json")) or "is writing" not in found[-1].stdout)
    assert found[-1].returncode == 2 and "train.epochs" in found[-1].stdout


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.processes
def test_fail_fast_and_what_needs_a_run_that_failed(config, run_cli):
    bad = config("bad", more="teacher: {name: runs/nowhere-at-all}")
    student = config("student", more="teacher: {name: runs/bad}")
    other = config("other")
    done = run_cli("batch", bad, student, other, "--fail-fast", "--json")
    assert done.returncode == 3
    found = statuses(json.loads(done.stdout))
    assert found["bad"][0] == "failed" and found["student"] == ("not run", found["bad"][1])
    assert found["other"] == ("not run", 0)


@pytest.mark.processes
def test_seeds_of_finetune_are_a_batch(config, run_cli, tmp_path):
    done = run_cli("finetune", config("a"), "--seeds", "3,4")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 seeds" in done.stdout
    assert sorted(path.name for path in (tmp_path / "runs/a").iterdir()) == ["seed-3", "seed-4"]


@pytest.mark.processes
@pytest.mark.parametrize(
    "words",
    [
        ("--seeds", "1,1"),
        ("--grid", "train.epochs"),
        ("--junit", "a.yaml"),
        ("--summary", "no/such/folder.md"),
    ],
)
def test_options_that_are_wrong_are_told_before_anything_runs(config, run_cli, tmp_path, words):
    done = run_cli("batch", config("a"), "--json", *words)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["problems"][0]["where"].startswith(words[0])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "words, what",
    [
        (("--junit", "notes"), "what ptm did not write"),
        (("--summary", "notes"), "what ptm did not write"),
        (("--junit", "same", "--summary", "./same"), "the file of --junit"),
        (("--junit", "runs/a/j.xml"), "would lie in a run"),
        (("--summary", "runs/a/deep/s.md"), "would lie in a run"),
    ],
)
def test_15_06_reports_that_would_be_in_the_way(config, tmp_path, words, what):
    """Notes that quote a report are no report; a file in a run keeps it from being overwritten."""
    (tmp_path / "notes").write_text('Notes on <testsuites name="ptm batch" and\n### ptm batch\n')
    (tmp_path / "runs/a/deep").mkdir(parents=True)
    done = CliRunner().invoke(app, ["batch", config("a"), *words])
    assert isinstance(done.exception, ConfigError) and what in str(done.exception)
    assert (tmp_path / "notes").read_text().startswith("Notes")
    assert not (tmp_path / "same").exists() and not list((tmp_path / "runs/a").glob("*.y*ml"))


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_15_06_a_summary_that_ci_cannot_take_loses_no_result(config, tmp_path, monkeypatch, kind):
    step = tmp_path / "step.md"
    (tmp_path / "mine").write_text("mine")
    {"pipe": os.mkfifo, "folder": Path.mkdir, "link": lambda p: p.symlink_to(tmp_path / "mine")}[kind](step)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    done = CliRunner().invoke(app, ["batch", config("bad", epochs="two"), "--json"])
    assert done.exit_code == 2 and json.loads(done.stdout)["runs"][0]["status"] == "failed"
    assert "cannot be written" in done.stderr and (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("option", ["--junit", "--summary"])
def test_15_06_a_file_that_was_written_while_a_batch_ran_stays(config, tmp_path, monkeypatch, option):
    monkeypatch.setattr("ptm.cli.batch._refuse_within", lambda *_: (tmp_path / "r").write_text("mine"))
    done = CliRunner().invoke(app, ["batch", config("bad", epochs="two"), option, "r"])
    assert isinstance(done.exception, ConfigError) and "what ptm did not write" in str(done.exception)
    assert (tmp_path / "r").read_text() == "mine"


@pytest.mark.parametrize("option", ["--junit", "--summary"])
@pytest.mark.parametrize(
    "name",
    ["labels.xml", "run/config.yaml", "run/model/model.safetensors", "pipe", "link", "run/results.json"],
)
def test_15_06_reports_replace_no_data_and_no_file_of_a_run(config, tmp_path, option, name):
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    put_mark(run)
    for file in ("labels.xml", "run/config.yaml", "run/model/model.safetensors"):
        (tmp_path / file).write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "labels.xml")
    done = CliRunner().invoke(app, ["batch", config("a"), option, name])
    assert isinstance(done.exception, ConfigError) and option in str(done.exception)
    for file in ("labels.xml", "run/config.yaml", "run/model/model.safetensors"):
        assert (tmp_path / file).read_text() == "mine"
    assert not (tmp_path / "runs").exists() and not (run / "results.json").exists()


@pytest.mark.processes
def test_15_06_reports_of_an_earlier_batch_and_empty_files_are_replaced(config, tmp_path, run_cli):
    (tmp_path / "s.md").touch()
    command = ("batch", config("bad", epochs="two"), "--junit", "j.xml", "--summary", "s.md")
    for _ in range(2):
        assert run_cli(*command).returncode == 2
        assert "bad" in (tmp_path / "j.xml").read_text() and "bad" in (tmp_path / "s.md").read_text()


@pytest.mark.processes
@pytest.mark.slow
def test_15_08_a_finished_run_is_held_against_the_lock_file(config, tmp_path, run_cli):
    good = config("good")
    assert run_cli("batch", good).returncode == 0
    done = run_cli("batch", good, "--locked")
    assert done.returncode == 2 and "there is no lock file" in done.stderr
    assert run_cli("lock", good).returncode == 0
    done = run_cli("batch", good, "--locked", "--json")
    assert done.returncode == 0, done.stderr
    lock = tmp_path / "good.lock"
    content = json.loads(lock.read_text())
    lock.write_text(json.dumps({**content, "data": {**content["data"], "train": "0" * 64}}))
    done = run_cli("batch", good, "--locked")
    assert done.returncode == 2 and "not as they were pinned" in done.stderr


@pytest.mark.processes
def test_15_16_a_config_whose_name_is_like_an_option(config, run_cli):
    config("-x", more="nonsense: 1")
    config("--overwrite")
    done = run_cli("batch", "./-x.yaml", "--json")
    assert "nonsense" in done.stdout
    done = run_cli("batch", "./--overwrite.yaml", "--set", "model.name=no-such-model", "--json")
    assert "no-such-model" in done.stdout and done.returncode == 3


@pytest.mark.processes
def test_12_10_a_config_from_standard_input_reaches_its_run(config, tmp_path):
    text = (tmp_path / config("a")).read_text()
    command = [sys.executable, "-m", "ptm", "batch", "-", "--set", "model.name=no-such-model", "-q", "--json"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    (row,) = json.loads(done.stdout)["runs"]
    assert (
        row["name"] == "stdin" and "no-such-model" in row["problems"][0]["what"] + row["problems"][0]["where"]
    )
    assert done.returncode == 3 and done.stderr.startswith("[1/1] stdin: failed")  # no other lines


def test_a_spread_is_that_of_students_t():
    values = [0.90, 0.92, 0.91, 0.95]
    row, interval = spread(values), ttest_1samp(values, 0).confidence_interval(0.95)
    assert row["mean"] == pytest.approx(statistics.mean(values))
    assert row["interval_95"] == pytest.approx([interval.low, interval.high])
    assert spread([0.5]) == {"mean": 0.5, "sd": None, "interval_95": None}


def test_the_worst_exit_code_is_not_the_largest():
    assert worst_code([]) == worst_code([0, 0]) == 0
    assert worst_code([0, 4]) == 4
    assert worst_code([4, 75, 2, 0]) == 2
    assert worst_code([7, 1, 137]) == 1
    assert worst_code([4, 130]) == worst_code([0, 143]) == worst_code([129]) == 75
    assert worst_code([4, 99]) == 99  # what nobody knows is worse than all that is known
