"""Regular expressions of a config end, whatever they are."""

import signal
import threading

import pytest

from ptm.config import expressions
from ptm.config.expressions import complaint, found
from ptm.errors import DataError


def test_15_15_an_expression_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(expressions, "SECONDS", 0.05)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(DataError, match="takes longer than") as caught:
        found("(a+)+!", "a" * 60, "data.label")
    assert caught.value.problems[0].where == "data.label"
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_an_expression_finds():
    assert found("([a-z]+)_", "dog_1.png", "data.label") == "dog"
    assert found("[a-z]+", "dog_1.png", "data.label") == "dog"
    assert found("x", "dog_1.png", "data.label") is None
    results = []
    thread = threading.Thread(target=lambda: results.append(found("o", "dog", "data.label")))
    thread.start()
    thread.join()
    assert results == ["o"]


def test_15_17_what_is_no_expression():
    assert complaint("([a-z]+)_") is None
    assert "unterminated" in complaint("(")
    assert "nested" in complaint("(?:" * 5000 + ")" * 5000)
