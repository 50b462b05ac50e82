"""The first signal asks, the second one ends."""

import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from helpers import StopAt, history, run, text_spec, weights
from ptm.base.console import Silent
from ptm.errors import Interrupted
from ptm.training.runtime import Runtime

pytestmark = pytest.mark.slow  # each trains

_TWICE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from helpers import StopAt, run, text_spec
class Twice(StopAt):
    def advance(self, done, note):
        super().advance(done, note)
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)
            print("still here")
run(text_spec(Path({model!r}), Path({data!r}), Path({output!r}), save_every_steps=2), reporter=Twice(3))
"""


@pytest.mark.processes
def test_a_second_signal_stops_at_once_and_what_was_saved_is_gone_on_with(
    tiny_bert, reviews, tmp_path, request
):
    torch.set_num_threads(1)
    whole, killed = (
        text_spec(tiny_bert, reviews, tmp_path / name, save_every_steps=2) for name in ("whole", "killed")
    )
    run(whole)
    code = _TWICE.format(
        tests=str(request.config.rootpath / "tests"),
        model=str(tiny_bert),
        data=str(reviews),
        output=str(tmp_path / "killed"),
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "again to stop at once" in done.stderr
    assert "still here" not in done.stdout
    assert not (tmp_path / "killed" / "results.json").exists()
    run(killed, mode="resume")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_one_signal_is_only_noted(number, capfd):
    from ptm.base.signals import stop_on_signals

    before = signal.getsignal(number)
    with stop_on_signals() as flag:
        assert not flag.requested
        signal.raise_signal(number)
        assert flag.requested
        assert flag.name == signal.Signals(number).name
    assert signal.getsignal(number) is before
    assert "finishing this step" in capfd.readouterr().err


def test_15_12_a_hang_up_saves_like_sigterm(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "whole", epochs=1))
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1)
    with pytest.raises(Interrupted, match="SIGHUP after step 3 ") as caught:
        run(spec, "new", StopAt(3, signal.SIGHUP))
    assert caught.value.exit_code == 75
    run(spec, "resume")
    assert weights(tmp_path / "r") == weights(tmp_path / "whole")


def test_15_12_a_hang_up_that_nohup_ignores_stays_ignored():
    from ptm.base.signals import stop_on_signals

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as flag:
            signal.raise_signal(signal.SIGHUP)
            assert not flag.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class StopIn(Silent):
    """Sends this process SIGTERM when something begins for the given time."""

    def __init__(self, what: str, time: int = 1) -> None:
        self._what, self._times = what, time

    def begin(self, what, total, done=0):
        self._times -= what == self._what
        if what == self._what and self._times == 0:
            signal.raise_signal(signal.SIGTERM)


def test_15_12_sigterm_during_the_final_evaluation_stops(tiny_bert, reviews, tmp_path):
    """That of the test split: what the training has evaluated is not evaluated again."""
    run(text_spec(tiny_bert, reviews, tmp_path / "whole", epochs=1, test="eval.csv"))
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1, test="eval.csv")
    with pytest.raises(Interrupted, match="SIGTERM") as caught:
        run(spec, "new", StopIn("evaluate"))
    assert caught.value.exit_code == 75
    assert not (tmp_path / "r" / "model").exists()
    run(spec, "resume")
    assert weights(tmp_path / "r") == weights(tmp_path / "whole")
    assert history(tmp_path / "r") == history(tmp_path / "whole")


class StopWhile(Silent):
    """Sends this process SIGTERM when something is said."""

    def __init__(self, begins: str) -> None:
        self._begins = begins

    def say(self, line):
        if line.startswith(self._begins):
            signal.raise_signal(signal.SIGTERM)


def test_15_12_sigterm_before_the_first_step_changes_nothing(tiny_bert, reviews, tmp_path):
    with pytest.raises(Interrupted, match="before the first step") as caught:
        run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1), "new", StopWhile("model: "))
    assert caught.value.exit_code == 75
    assert not (tmp_path / "r").exists()
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    bits = weights(tmp_path / "r")
    with pytest.raises(Interrupted):
        run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=2), "overwrite", StopWhile("model: "))
    assert weights(tmp_path / "r") == bits


_NO_STANDARD_ERROR = """
import os, signal
from ptm.base.signals import stop_on_signals
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 2)
with stop_on_signals() as flag:
    signal.raise_signal(signal.SIGTERM)
    os.close(2)
    print(flag.name)
"""


@pytest.mark.processes
def test_15_12_a_signal_is_noted_where_nobody_reads_the_standard_error():
    done = subprocess.run([sys.executable, "-c", _NO_STANDARD_ERROR], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "SIGTERM\n")


def test_15_17_a_signal_to_another_process_has_no_name_here(tiny_bert, reviews, tmp_path, monkeypatch):
    class Asked(Silent):
        done = 0

        def advance(self, done, note):
            self.done = done

    reporter = Asked()
    monkeypatch.setattr(Runtime, "any", lambda self, flag: flag or reporter.done >= 2)
    with pytest.raises(Interrupted, match="stopped by a signal to another process after step"):
        run(text_spec(tiny_bert, reviews, tmp_path / "r"), "new", reporter)
