"""Limits on threads are messages, and so is what a library in native code gives up for."""

import errno
import threading

import pytest

from ptm.base import limits
from ptm.cli import app
from ptm.errors import ModelError, ResourceLimit


class PanicException(BaseException):
    """As pyo3 makes one of a panic in Rust: no Exception."""


def test_10_32_as_many_threads_as_are_needed_are_tried(monkeypatch):
    before = threading.active_count()
    limits.require_threads(20)
    assert threading.active_count() == before
    start, begun = threading.Thread.start, []

    def refuse_the_fourth(thread):
        if len(begun) == 3:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_fourth)
    with pytest.raises(ResourceLimit, match="the machine allows 3 more threads, 20 are needed") as caught:
        limits.require_threads(20)
    assert caught.value.exit_code == 5
    assert "OMP_NUM_THREADS=1" in caught.value.problems[0].cure
    assert threading.active_count() == before


def test_10_32_what_the_environment_says_of_pools_counts(monkeypatch):
    asked = []
    monkeypatch.setattr(limits, "require_threads", asked.append)
    limits.require_native_threads({"OMP_NUM_THREADS": "4", "RAYON_NUM_THREADS": "2"})
    limits.require_native_threads({"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"})
    assert asked == [3 + 3 + 1 + 8, 8]


FAULTS = [
    (
        RuntimeError("can't start new thread"),
        5,
        "no more threads, processes or files: can't start new thread",
    ),
    (OSError(errno.EAGAIN, "Resource temporarily unavailable"), 5, "Resource temporarily unavailable"),
    (PanicException("The global thread pool has not been initialized.: Os { code: 11 }"), 5, "thread pool"),
    (
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        5,
        "out of memory: libtorch_cpu.so",
    ),
    (
        ImportError("\nREAD THIS\nOriginal error was: x.so: cannot allocate memory in TLS"),
        5,
        "x.so: cannot allocate",
    ),
    (MemoryError(), 5, "out of memory"),
    (PanicException("index out of bounds\nnote: backtrace"), 3, "native code gave up: index out of bounds"),
]


@pytest.mark.parametrize(("fault", "code", "words"), FAULTS)
def test_10_32_a_fault_of_a_native_library_is_one_message_and_a_code(fault, code, words, monkeypatch, capsys):
    def command(*arguments, **options):
        raise fault

    monkeypatch.setattr(app, "app", command)
    assert app.run([]) == code
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert said.count("error:") == 1


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EPERM, "no")])
def test_10_32_anything_else_is_none(error):
    assert limits.native_fault(error) is None


def test_10_32_a_limit_while_a_model_is_loaded_is_not_blamed_on_the_model():
    from ptm.text.origins import loading

    with pytest.raises(ResourceLimit), loading("model 'x'"):
        raise RuntimeError("can't start new thread")
    with pytest.raises(ModelError), loading("model 'x'"):
        raise RuntimeError("shapes differ")
