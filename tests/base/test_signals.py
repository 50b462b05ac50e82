"""The first signal asks, the second one ends."""

import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from helpers import run, text_spec, weights

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
