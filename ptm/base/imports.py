"""Libraries that look around in the working directory while they are imported are imported elsewhere.

torch has the system load ``libcuda.so.1``, and one of its own libraries (cuSPARSELt, whose search path ends with an
empty entry) has it looked for in the working directory: a file of that name would run. matplotlib reads a
``matplotlibrc`` there. Either may lie in a folder that was received.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from ptm.base.loaders import WrappedLoader, wrapped_spec

_LIBRARIES = frozenset({"torch", "matplotlib"})


def import_elsewhere() -> None:
    """From here on these libraries are imported while the working directory is ``/``."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return wrapped_spec(self, _Elsewhere, fullname, path, target) if fullname in _LIBRARIES else None


class _Elsewhere(WrappedLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _elsewhere():
            super().exec_module(module)


@contextmanager
def _elsewhere() -> Iterator[None]:
    try:
        # O_PATH: a folder need not be readable to go back to it.
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # nobody can look for anything there
        yield
        return
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(here)
        os.close(here)
