"""Laps add up to the time that passed."""

import time

import torch

from ptm.training.laps import Laps


def test_13_05_laps_add_up_and_begin_anew(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    laps = Laps(torch.device("cpu"))
    for part, seconds in (("data", 1.0), ("forward", 2.0), ("data", 0.5)):
        now[0] += seconds
        laps(part)
    assert laps.seconds == {"data": 1.5, "forward": 2.0}
    laps.restart()
    now[0] += 4
    laps("backward")
    assert laps.seconds == {"backward": 4.0}
