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
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_LIBRARIES = frozenset({"torch", "matplotlib"})


def import_elsewhere() -> None:
    """From here on these libraries are imported while the working directory is ``/``."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _LIBRARIES:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Elsewhere(spec.loader)
        return spec


class _Elsewhere(Loader):
    """Hands everything to the loader of a module, which the module has for its own afterwards."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with _elsewhere():
            self._loader.exec_module(module)


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
