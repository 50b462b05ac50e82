"""Threads that wait for each other are told of."""

import pytest
import torch

from helpers import Saying, run, text_spec
from ptm.experiment import train
from ptm.training.thread_cost import ThreadCost, measure_threads, thread_count


def test_13_05_threads_are_measured_and_left_as_they_were():
    before = torch.get_num_threads()
    cost = measure_threads(2)
    assert cost.threads == 2 and cost.seconds > 0 and cost.alone > 0
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_13_05_slower_by_more_than_a_twentieth():
    assert ThreadCost(2, 1.2, 1.0).slower and not ThreadCost(2, 1.04, 1.0).slower
    assert "runtime.threads=1" in str(ThreadCost(2, 3.0, 1.0)) and "3.0 times" in str(ThreadCost(2, 3.0, 1.0))


@pytest.mark.slow
def test_13_05_a_run_warns_where_its_threads_are_slower(tmp_path, tiny_bert, reviews, monkeypatch):
    """Not of a model so small that its products do not count."""
    monkeypatch.setattr(train, "measure_threads", lambda threads: ThreadCost(threads, 2.0, 1.0))
    spec = text_spec(
        tiny_bert, reviews, tmp_path / "r", threads=2, epochs=None, steps=1, max_train_examples=8
    )
    quiet, warned = Saying(), Saying()
    run(spec, reporter=quiet)
    monkeypatch.setattr(train, "MATRICES_COUNT", 1000)
    run(spec, mode="overwrite", reporter=warned)
    assert not [line for line in quiet.lines if "threads" in line]
    (line,) = [line for line in warned.lines if "threads" in line]
    assert line.startswith("warning: 2 threads multiply 2.0 times as slowly")
