"""Doing something around the import of a module, by a finder that stands before all others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class WrappedLoader(Loader):
    """Hands everything to the loader of a module, which the module has for its own afterwards."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)


def wrapped_spec(
    finder: MetaPathFinder,
    wrap: Callable[[Loader], Loader],
    fullname: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
) -> ModuleSpec | None:
    """What the finders other than ``finder`` find, its loader wrapped. To ask for it imports nothing."""
    others = (other for other in sys.meta_path if other is not finder)
    spec = next((spec for other in others if (spec := other.find_spec(fullname, path, target))), None)
    if spec is not None and spec.loader is not None:
        spec.loader = wrap(spec.loader)
    return spec
