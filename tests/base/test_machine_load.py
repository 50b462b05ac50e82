"""What others do with the machine, without what this process does."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptm.base import machine_load
from ptm.base.machine_load import LoadMeter, load_average


def test_13_05_others_are_what_is_busy_and_not_ones_own(monkeypatch):
    busy, own, now = [100.0], [5.0], [0.0]
    monkeypatch.setattr(machine_load, "_busy_seconds", lambda: busy[0])
    monkeypatch.setattr(machine_load, "_own_seconds", lambda: own[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    meter = LoadMeter()
    busy[0], own[0], now[0] = 118.0, 13.0, 10.0
    assert meter.others() == pytest.approx(1.0)  # 18 s busy, 8 of them ours, in 10 s
    busy[0] = 106.0
    assert meter.others() == 0.0
    monkeypatch.setattr(machine_load, "_busy_seconds", lambda: None)
    assert meter.others() is None


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say which cores")
def test_13_05_what_runs_on_cores_of_others_does_not_count(monkeypatch):
    """In a container of two cores, on a machine of 64, "other processes kept 40 of 2 cores busy"."""
    rest = "0 0 900 0 0 0 0 0 0\n"
    table = f"cpu  99999 {rest}cpu0 200 {rest}cpu1 50000 {rest}cpu2 300 {rest}cpu10 7000 {rest}intr 5 1\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: table)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    monkeypatch.setattr(machine_load, "_ticks", lambda: 100)
    assert machine_load._busy_seconds() == pytest.approx(5.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {64, 65})  # a table with numbers of its own
    assert machine_load._busy_seconds() == pytest.approx(999.99)


def test_13_05_a_child_that_runs_is_counted_as_ones_own():
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        deadline = time.monotonic() + 30
        while machine_load._running_children().get(child.pid, 0.0) < 0.05:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    assert child.pid not in machine_load._running_children()
    assert load_average() is None or load_average() >= 0
