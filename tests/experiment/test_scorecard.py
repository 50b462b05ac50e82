"""Latencies of a scorecard: what is called, how often, and what is left out of the numbers."""

import time

import pytest
import torch

from ptm.experiment import scorecard
from ptm.experiment.scorecard import latency_ms
from ptm.training.runtime import Runtime

CPU = Runtime(device=torch.device("cpu"), precision="fp32", threads=1)


def test_the_first_passes_do_not_count(monkeypatch):
    monkeypatch.setattr(scorecard, "REPEATS", 10)
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call():
        calls.append(1)
        clock[0] += 9.0 if len(calls) <= 3 else 0.001 * len(calls)  # 4 … 13 ms

    monkeypatch.setattr(scorecard, "SECONDS", 100.0)
    assert latency_ms(call, CPU) == {"median": 8.5, "p95": pytest.approx(12.55)}
    assert len(calls) == 13


def test_a_slow_model_is_timed_eight_times(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call():
        calls.append(1)
        clock[0] += 60.0

    assert latency_ms(call, CPU) == {"median": 60_000.0, "p95": 60_000.0}
    assert len(calls) == 8


def test_nothing_is_kept_for_a_gradient_and_the_precision_is_the_runs():
    seen = []
    weight = torch.nn.Parameter(torch.ones(2, 2))
    bf16 = Runtime(device=torch.device("cpu"), precision="bf16", threads=1)
    latency_ms(lambda: seen.append(weight @ weight), bf16)
    assert not seen[0].requires_grad and seen[0].dtype == torch.bfloat16
