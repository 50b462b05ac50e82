"""Issue 13, line 6: what grows stands in a file without a name as soon as it is large."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from ptm.base import growing
from ptm.base.growing import Growing, release
from ptm.errors import StorageError


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def filled(dtype="<i4"):
    array = Growing(dtype)
    for start in range(0, 100, 10):
        array.extend(range(start, start + 10))
    return array.array()


def owner(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def test_13_06_small_and_large_arrays_are_the_same_numbers(root, monkeypatch):
    small = filled()
    monkeypatch.setattr(growing, "MOST_HELD", 64)
    large = filled()
    assert small.dtype == large.dtype == np.dtype("<i4")
    assert small.tolist() == large.tolist() == list(range(100))
    assert not isinstance(owner(small), mmap.mmap) and isinstance(owner(large), mmap.mmap)
    assert not [path for path in root.rglob("*") if path.is_file()]  # it has no name
    release(large)
    release(small)
    assert large.tolist() == small.tolist()
    assert Growing("u1").array().tolist() == []


def test_13_06_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(growing, "MOST_HELD", 64)
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        with pytest.raises(StorageError, match=r"No space left on device(.|\n)*PTM_CACHE"):
            filled()
