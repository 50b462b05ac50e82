"""``--json`` prints valid JSON on every end."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from ptm.base.printable import json_text
from ptm.cli.app import run

CASES = {
    "no such config": ["finetune", "nowhere.yaml"],
    "a config that is wrong": ["pretrain", "bad.yaml"],
    "an option that is none": ["distill", "bad.yaml", "--no-such-option"],
    "a value that is none": ["finetune", "bad.yaml", "--nproc", "x"],
    "nothing named": ["eval"],
    "no run": ["eval", "."],
    "a bound that is none": ["eval", "bad.yaml", "--expect", "accuracy"],
    "no such task": ["models", "--task", "x"],
    "no run to reproduce": ["reproduce", "."],
    "no model to predict with": ["predict", "."],
    "no such command": ["train"],
}


@pytest.mark.parametrize("how", CASES)
def test_15_08_a_command_that_fails_prints_json_when_asked(how, run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("version: 1\ntask: text-clasification\nmodell: {}\n")
    words = CASES[how]
    done = run_cli(*words, "--json")
    assert done.returncode == 2, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == 2
    assert error["problems"]
    for problem in error["problems"]:
        assert set(problem) == {"what", "where", "expected", "cure"}
        assert problem["what"]
        assert problem["what"].splitlines()[0] in done.stderr
    assert run_cli(*words).stdout == ""


def test_15_08_several_problems_stand_in_one_object(run_cli, tmp_path):
    (tmp_path / "bad.yaml").write_text("version: 1\ntask: text-clasification\nmodell: {}\n")
    error = json.loads(run_cli("finetune", tmp_path / "bad.yaml", "--json").stdout)["error"]
    assert len(error["problems"]) > 1
    assert f"{tmp_path / 'bad.yaml'}:2:7" in [problem["where"] for problem in error["problems"]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_15_08_what_is_no_number_is_null_in_what_is_printed(value):
    printed = json_text({"a": [1.5, value], "b": {"c": value}})
    assert json.loads(printed) == {"a": [1.5, None], "b": {"c": None}}
    assert "NaN" not in printed and "Infinity" not in printed


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="the signal would end it"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_15_08_a_command_that_is_ended_by_a_signal_prints_json_when_asked(
    number, tmp_path, monkeypatch, capsys
):
    """Nothing was printed, as if there were no result to read."""
    monkeypatch.setattr("ptm.experiment.runs.list_runs", lambda folder: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    assert run(["runs", str(tmp_path), "--json"]) == 128 + number
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 128 + number
    assert error["problems"][0]["what"] == f"stopped by {number.name}"
    assert signal.getsignal(number) is before


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_13_05_a_command_that_is_ended_by_a_signal_leaves_no_temporary_folder(number, tmp_path):
    """`ptm bench` left the one into which it writes a checkpoint. Who waits is told by the signal itself, as before."""
    code = f"""
import os, tempfile
import ptm.experiment.runs
from ptm.cli.app import run
def measured(folder):
    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}) as place:
        os.kill(os.getpid(), {int(number)})
        print("still here")
ptm.experiment.runs.list_runs = measured
run(["runs", {str(tmp_path)!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")
    assert list(tmp_path.iterdir()) == []
