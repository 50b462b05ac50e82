"""What torch and transformers import but a run does not use is not imported: half of the time to a first step.

- ``torch._dynamo``, the front of torch's compiler. Optimizers and transformers import it by name for marks that mean
  nothing unless something is compiled. A stand-in takes the marks, and becomes the compiler, with these marks, as soon
  as anything else is asked of it.
- Names of distributions for all that is installed, for which transformers reads a file of each. Those whose
  distribution is called as they are need no file; the files are read when another is asked for.
- The folders of transformers are read once for what is in them, not twice under two names.
- Packages that transformers imports where they are installed, for what ptm has no use for: image processors, losses of
  detectors, assisted generation, models spread over machines. transformers is told that they are not there.

Only a process that is ptm's alone does this (``ptm`` as a command): others may want the rest of transformers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from ptm.base.loaders import WrappedLoader, wrapped_spec

_COMPILER = "torch._dynamo"
_APART = (
    "torch._dynamo._trace_wrapped_higher_order_op"  # which masks of transformers name, and needs nothing else
)
_ADAPTERS = "peft"
_QUESTIONS = "transformers.utils.import_utils"
_READING = "create_import_structure_from_path"
_UNUSED = (
    "sklearn",
    "scipy",
    "vision",
    "torchvision",
    "torchvision_v2",
    "accelerate",
    "jinja",
    "torch_distributed",
)


def import_lightly() -> None:
    """From here on; what is imported already stays as it is."""
    if _COMPILER not in sys.modules:
        sys.modules[_COMPILER] = _Compiler(_COMPILER)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Compiler(ModuleType):
    """Stands for ``torch._dynamo`` until something is compiled."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._marks: list[tuple[str, Callable[..., Any]]] = []

    def graph_break(self, msg: str = "") -> None:
        """Ends a graph; there is none."""

    def disable(self, fn: Any = None, recursive: bool = True, **options: Any) -> Any:
        """The function itself: what is not compiled needs no exception from it."""
        return fn if fn is not None else lambda function: function

    def assume_constant_result(self, fn: Any) -> Any:
        return self._mark("assume_constant_result", fn)

    def allow_in_graph(self, fn: Any) -> Any:
        return self._mark("allow_in_graph", fn)

    def _mark(self, name: str, fn: Any) -> Any:
        self._marks.append((name, fn))
        return fn

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":
            return [f"{folder}/_dynamo" for folder in sys.modules["torch"].__path__]
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.become(), name)

    def become(self) -> ModuleType:
        """Import the compiler in place of this, and hand it the marks."""
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
            real = import_module(_COMPILER)
            for mark, fn in self._marks:
                getattr(real, mark)(fn)
        return sys.modules[_COMPILER]


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        loaders: dict[str, type[WrappedLoader]] = {_QUESTIONS: _Answers, _ADAPTERS: _Adapters}
        if fullname in loaders:
            return wrapped_spec(self, loaders[fullname], fullname, path, target)
        stand_in = sys.modules.get(_COMPILER)
        if fullname.startswith(f"{_COMPILER}.") and fullname != _APART and isinstance(stand_in, _Compiler):
            # Its parts need the compiler, and some come with it.
            stand_in.become()
            if fullname in sys.modules:
                return ModuleSpec(fullname, _Imported(sys.modules[fullname]))
        return None


class _Imported(Loader):
    """Finds a module that was imported in the meantime, and leaves it as it is."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _Adapters(WrappedLoader):
    """Loads peft, which counts on others having imported what it uses. To ask whether it is there costs nothing."""

    def exec_module(self, module: ModuleType) -> None:
        import_module("torch.distributed.tensor")
        super().exec_module(module)


class _Answers(WrappedLoader):
    """Loads the module in which transformers asks for packages, and answers for those that are not used."""

    def exec_module(self, module: ModuleType) -> None:
        with _names_as_they_are():
            super().exec_module(module)
        for package in _UNUSED:
            question = f"is_{package}_available"
            if hasattr(module, question):
                setattr(module, question, _not_there)
        if hasattr(module, _READING):
            setattr(module, _READING, _by_folder(getattr(module, _READING)))


@contextmanager
def _names_as_they_are() -> Iterator[None]:
    look = metadata.packages_distributions
    metadata.packages_distributions = lambda: _Distributions(look)
    try:
        yield
    finally:
        metadata.packages_distributions = look


class _Distributions(dict[str, list[str]]):
    """Package to names of its distributions, as ``look`` finds them; only looked for where that is not obvious."""

    def __init__(self, look: Callable[[], Mapping[str, list[str]]]) -> None:
        self._look: Callable[[], Mapping[str, list[str]]] | None = look

    def get(self, name: str, default: Any = None) -> Any:
        with suppress(metadata.PackageNotFoundError):
            return [metadata.distribution(name).name]
        return self._all().get(name, default)

    def __getitem__(self, name: str) -> list[str]:
        return self._all()[name]

    def _all(self) -> Mapping[str, list[str]]:
        if self._look is not None:
            self.update(self._look())
            self._look = None
        return dict(self)


@contextmanager
def without(module: str) -> Iterator[None]:
    """While open, importing this module fails as if it were not there; not where it is imported already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def _by_folder(read: Callable[[str], Any]) -> Callable[[str | os.PathLike[str]], Any]:
    """``read`` keeps what it found by the name it was given; one folder has one name."""

    def read_folder(place: str | os.PathLike[str]) -> Any:
        path = Path(place)
        return read(str(path.parent if path.is_file() else path))

    return read_folder


def _not_there(*_: Any, **__: Any) -> bool:
    return False
