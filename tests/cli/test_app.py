"""The command line as a shell sees it: exit codes, messages, what goes to which stream."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from helpers import text_spec
from ptm.cli.app import run
from ptm.config.load import dump_config

pytestmark = pytest.mark.processes

TEXT = """
version: 1
task: text-classification
model: {{name: {model}}}
data: {{source: "csv:{data}", train: train.csv, eval: eval.csv, labels: [negative, positive]}}
train: {{epochs: 6, batch_size: 8, learning_rate: 3e-3}}
runtime: {{device: cpu, threads: 1}}
best: {{metric: accuracy}}
output: {output}
"""


@pytest.fixture
def config(tiny_bert, reviews, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(TEXT.format(model=tiny_bert, data=reviews, output=tmp_path / "r"))
    return path


@pytest.mark.parametrize(
    "words", [["--help"], ["finetune", "--help"], ["distill", "--help"], ["eval", "--help"]]
)
def test_help(run_cli, words):
    done = run_cli(*words)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_train_evaluate_and_fail_when_accuracy_drops(run_cli, config, tmp_path, reviews):
    """What a CI job does: train, evaluate on other data, exit with 4 when a bound is missed."""
    done = run_cli("finetune", str(config), "--json", "--set", "expect.accuracy='>= 0.8'")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert "\r" not in done.stderr
    assert "Traceback" not in done.stderr

    done = run_cli("eval", str(tmp_path / "r"), "--json", "--predictions", str(tmp_path / "p.jsonl"))
    assert json.loads(done.stdout)["metrics"] == pytest.approx(results["metrics"], abs=1e-7)
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == results["eval"]["examples"]

    done = run_cli("eval", str(tmp_path / "r"), "--split", "train.csv", "--json")
    assert json.loads(done.stdout)["eval"]["split"] == "train.csv"
    done = run_cli(
        "eval", str(tmp_path / "r"), "--data", f"csv:{reviews / 'eval.csv'}", "--set", "data.eval=50%"
    )
    assert done.returncode == 0, done.stderr

    done = run_cli("eval", str(tmp_path / "r"), "--data", f"csv:{reviews / 'eval.csv'}", "--json")
    assert json.loads(done.stdout)["metrics"] == pytest.approx(results["metrics"], abs=1e-7)

    done = run_cli("eval", str(tmp_path / "r"), "--expect", "accuracy>=1.01")
    assert done.returncode == 4
    assert "accuracy" in done.stdout
    assert "expected: accuracy >=1.01" in done.stderr

    done = run_cli("finetune", str(config))
    assert done.returncode == 2
    assert "--resume" in done.stderr
    assert "--overwrite" in done.stderr

    weights = tmp_path / "r" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    done = run_cli("eval", str(tmp_path / "r"))
    assert done.returncode == 3
    assert "model.safetensors has changed" in done.stderr


def test_a_missed_expectation_is_exit_4_after_the_results_are_written_and_printed(run_cli, config, tmp_path):
    """For people and as JSON, of a new run and of one that is finished already."""
    missed = ["--set", "train.epochs=1", "--set", "expect.accuracy='> 1'"]
    done = run_cli("finetune", config, *missed, "--json")
    assert done.returncode == 4
    assert "expected: accuracy > 1" in done.stderr
    saved = json.loads((tmp_path / "r" / "results.json").read_text())
    assert saved["expect"][0]["met"] is False
    assert json.loads(done.stdout) == saved
    assert (tmp_path / "r" / "model" / "model.safetensors").is_file()
    done = run_cli("finetune", config, *missed, "--resume")
    assert done.returncode == 4
    assert "accuracy" in done.stdout and "report.html" in done.stdout


def test_every_mistake_in_a_config_at_once_with_its_place(run_cli, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "version: 1\ntask: text-clasification\nmodel: {name: x}\ndata: {source: 'csv:x'}\n"
        "train: {lr: 1, epochs: 1}\noutput: r\n"
    )
    done = run_cli("finetune", str(path))
    assert done.returncode == 2
    assert f"{path}:2:7" in done.stderr
    assert f"{path}:5:9" in done.stderr
    assert "learning_rate" in done.stderr


def test_nothing_to_download_from_is_exit_6_and_lists_all(run_cli, tmp_path):
    path = tmp_path / "hub.yaml"
    path.write_text(
        "version: 1\ntask: text-classification\nmodel: {name: bert-base-uncased}\n"
        "data: {source: 'hub:nyu-mll/glue/sst2', train: train, eval: validation, text: sentence}\n"
        "train: {epochs: 1, learning_rate: 2e-5}\noutput: r\n"
    )
    done = run_cli("finetune", str(path), env={"HF_HOME": str(tmp_path / "empty")})
    assert done.returncode == 6
    assert "bert-base-uncased" in done.stderr
    assert "nyu-mll/glue/sst2" in done.stderr


@pytest.mark.parametrize(
    ("command", "change", "said"),
    [("finetune", ["--set", "teacher.name=./x"], "use ptm distill"), ("distill", [], "no teacher")],
)
def test_the_command_must_fit_the_config(run_cli, config, command, change, said):
    done = run_cli(command, str(config), *change)
    assert done.returncode == 2
    assert said in done.stderr


def test_data_errors_are_exit_3_and_touch_nothing_else(run_cli, config, tmp_path, reviews):
    (tmp_path / "broken.csv").write_text("text,label\ngood,positive\nbad\n")
    done = run_cli(
        "finetune", str(config), "--set", f"data.source=csv:{tmp_path}", "--set", "data.train=broken.csv"
    )
    assert done.returncode == 3
    assert "broken.csv:3" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


def test_kill_9_and_resume_gives_the_same_bits(run_cli, config, tmp_path):
    assert run_cli("finetune", str(config), "--output", str(tmp_path / "whole")).returncode == 0
    command = [sys.executable, "-m", "ptm", "finetune", str(config), "--set", "train.save_every_steps=1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "r" / "checkpoints").glob("step-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = run_cli("finetune", str(config), "--set", "train.save_every_steps=1", "--resume")
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    bits = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "r")]
    assert bits[0] == bits[1]


def test_sigterm_is_exit_75_with_two_processes_too(config, tmp_path):
    command = [
        sys.executable,
        "-m",
        "ptm",
        "finetune",
        str(config),
        "--nproc",
        "2",
        "--set",
        "train.epochs=500",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "r" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert list((tmp_path / "r" / "checkpoints").glob("step-*"))


def test_an_output_that_cannot_be_is_named_with_its_cure(run_cli, config):
    done = run_cli("finetune", config, "--output", "")
    assert done.returncode == 2
    assert "output is an empty text" in done.stderr
    done = run_cli("finetune", config, "--output", config / "x")
    assert done.returncode == 3
    assert "a part of the path is a file" in done.stderr


def test_check_and_schema(run_cli, config, tmp_path):
    assert run_cli("check", str(config)).returncode == 0
    assert run_cli("check", str(config), str(tmp_path / "none.yaml")).returncode == 2
    assert json.loads(run_cli("schema").stdout)["additionalProperties"] is False


def test_eval_of_a_config_takes_the_model_as_it_is(run_cli, config, tmp_path):
    """A model without a trained output layer cannot be evaluated; a finished one can."""
    done = run_cli("eval", str(config))
    assert done.returncode == 3
    assert "random" in done.stderr
    assert run_cli("finetune", str(config)).returncode == 0
    done = run_cli("eval", str(config), "--set", f"model.name={tmp_path / 'r'}", "--json")
    saved = json.loads((tmp_path / "r" / "results.json").read_text())
    assert json.loads(done.stdout)["metrics"] == pytest.approx(saved["metrics"], abs=1e-7)


def test_check_reads_the_data_when_asked(run_cli, tiny_bert, reviews, tmp_path):
    """Without --data it says what it did not look at; with it, all that a run would stumble over."""
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(text_spec(tiny_bert, reviews, tmp_path / "r")))
    done = run_cli("check", config)
    assert done.returncode == 0 and "data and models were not looked at (--data)" in done.stdout
    done = run_cli("check", config, "--data")
    assert done.returncode == 0 and "1 config: no problem found, " in done.stdout, done.stderr
    assert "evaluation examples also stand in train" in done.stderr
    wrong = replace(text_spec(tiny_bert, reviews, tmp_path / "r"), expect={"top5_accuracy": ">= 0.9"})
    config.write_text(dump_config(replace(wrong, data=replace(wrong.data, labels=None))))
    done = run_cli("check", config, "--data")
    assert done.returncode == 3
    assert "top5_accuracy is measured with more than five labels" in done.stderr
    gone = replace(wrong, expect={}, data=replace(wrong.data, text="review"))
    config.write_text(dump_config(gone))
    done = run_cli("check", config, "--data")
    assert done.returncode == 3
    assert "no column 'review'" in done.stderr and "data.text" in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("value", ["soon", "", "-1", "1.5", "9" * 30])
def test_a_date_for_builds_that_is_none_is_refused_before_anything_is_done(value, monkeypatch, capsys):
    """Libraries that read it failed at the report, when all was trained."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    assert run(["finetune", "nowhere.yaml"]) == 2
    assert "SOURCE_DATE_EPOCH" in capsys.readouterr().err
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "315532800")
    assert run(["finetune", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "/tmp/x"),
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']"),
    ],
)
def test_a_full_disk_for_temporary_files_is_one_message(error, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("ptm.cli.app.app", fail)
    monkeypatch.setattr("ptm.cli.app.gettempdir", fail)
    assert run(["card", "run", "--check"]) == 3
    said = capsys.readouterr().err
    assert error.strerror in said and "TMPDIR" in said and "free some space" in said
