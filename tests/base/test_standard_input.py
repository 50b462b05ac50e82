"""``-`` in the place of a file: what is read once is there for all who ask."""

import io
from types import SimpleNamespace

import pytest

from ptm.base.standard_input import standard_input


@pytest.fixture
def piped(monkeypatch):
    def pipe(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    standard_input.cache_clear()
    yield pipe
    standard_input.cache_clear()


def test_12_10_the_standard_input_can_be_read_more_than_once(piped):
    piped(b"version: 1\n")
    assert [standard_input(), standard_input()] == [b"version: 1\n"] * 2
