"""``csv:-``: data on the standard input."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptm.base.standard_input import standard_input
from ptm.cli.piped import piped_source
from ptm.errors import ConfigError, DataError, Problem


@pytest.fixture(autouse=True)
def _piped(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"text,label\nfine,1\n")))
    standard_input.cache_clear()
    yield
    standard_input.cache_clear()


def test_12_10_a_piped_source_is_a_file_for_as_long_as_it_is_used():
    with piped_source("csv:-", Path("run")) as source:
        kind, _, place = source.partition(":")
        assert kind == "csv" and Path(place).read_bytes() == b"text,label\nfine,1\n"
    assert not Path(place).exists()


@pytest.mark.parametrize("source", [None, "csv:here.csv", "builtin:digits"])
def test_12_10_other_sources_stay_as_they_are(source):
    with piped_source(source, Path("run")) as same:
        assert same == source


def test_12_10_what_is_wrong_is_told_of_the_standard_input():
    with pytest.raises(DataError) as caught, piped_source("csv:-", Path("run")) as source:
        place = source.removeprefix("csv:")
        raise DataError(Problem("empty", where=f"{place}:2"))
    assert caught.value.problems == (Problem("empty", where="standard input:2"),)


@pytest.mark.parametrize(("source", "config"), [("imagefolder:-", "run"), ("csv:-", "-")])
def test_12_10_what_cannot_be_piped_is_refused(source, config):
    with pytest.raises(ConfigError), piped_source(source, Path(config)):
        pass
