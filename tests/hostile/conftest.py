"""Runs to be tampered with: a stopped one and a finished one, made once, and copies of them."""

import pytest

from helpers import StopAt, copy_of, run, small_spec
from ptm.errors import Interrupted


@pytest.fixture(scope="session")
def stopped_run(tmp_path_factory):
    """A run that was stopped after its fifth step."""
    folder = tmp_path_factory.mktemp("stopped") / "r"
    with pytest.raises(Interrupted):
        run(small_spec(folder), "new", StopAt(5))
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "r"
    run(small_spec(folder))
    return folder


@pytest.fixture
def stopped(stopped_run, tmp_path):
    """A copy of the stopped run, to be changed."""
    return copy_of(stopped_run, tmp_path / "r")


@pytest.fixture
def finished(finished_run, tmp_path):
    """A copy of the finished run, to be changed."""
    return copy_of(finished_run, tmp_path / "r")
