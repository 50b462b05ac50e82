"""The write operations of a run, numbered, so that each can be the last one, or fail.

Counted are opening a file to write, writing, syncing, renaming, truncating, making and removing, of files below one
folder. Files that libraries write in their own machine code are seen when they are synced and renamed.
"""

# What is replaced here are the functions of os themselves.
# ruff: noqa: PTH100, PTH115, PTH118
from __future__ import annotations

import builtins
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

How = Literal["before", "after", "half"]
_NAMES = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "truncate", "pwrite", "posix_fallocate")


@dataclass(frozen=True)
class Operation:
    """One of them: ``do`` it, or do ``half`` of it, which is all of it where there is no half."""

    number: int
    name: str
    do: Callable[[], Any]
    half: Callable[[], Any]


Act = Callable[[Operation], Any]  # gives what the operation gives


class Operations:
    """Puts ``act`` in place of every write operation below ``root``, until ``undo`` is called."""

    def __init__(self, root: os.PathLike[str] | str, act: Act) -> None:
        self.count = 0
        self._root, self._act = os.path.realpath(root), act
        self._before: list[tuple[Any, str, Any]] = []
        for module in (builtins, io):
            self._replace(module, "open", self._opening(module.open))
        for name in _NAMES:
            if hasattr(os, name):
                self._replace(os, name, self._counting(name, getattr(os, name)))

    def undo(self) -> None:
        for holder, name, original in reversed(self._before):
            setattr(holder, name, original)

    def act(self, name: str, do: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        self.count += 1
        return self._act(Operation(self.count, name, do, half or do))

    def _replace(self, holder: Any, name: str, new: Any) -> None:
        self._before.append((holder, name, getattr(holder, name)))
        setattr(holder, name, new)

    def _counting(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *words: Any, **more: Any) -> Any:
            def half() -> Any:
                content, *rest = words
                return original(target, content[: (len(content) + 1) // 2], *rest, **more)

            do = lambda: original(target, *words, **more)  # noqa: E731
            if not self._inside(target, more.get("dir_fd")):
                return do()
            return self.act(name, do, half if name == "pwrite" else None)

        return call

    def _opening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *words: Any, **more: Any) -> Any:
            do = lambda: original(file, mode, *words, **more)  # noqa: E731
            if set(mode).isdisjoint("wax+") or isinstance(file, int) or not self._inside(file, None):
                return do()
            return _Counted(self.act("open", do), self)

        return call

    def _inside(self, target: Any, folder: int | None) -> bool:
        try:
            if isinstance(target, int):
                target = os.readlink(f"/proc/self/fd/{target}")
            elif folder is not None:
                target = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), target)
            return os.path.abspath(os.fspath(target)).startswith(self._root + os.sep)
        except OSError:
            return False


class _Counted:
    """A file whose writes are counted."""

    def __init__(self, file: Any, operations: Operations) -> None:
        self._file, self._operations = file, operations

    def write(self, content: Any) -> Any:
        def half() -> Any:
            written = self._file.write(content[: (len(content) + 1) // 2])
            self._file.flush()
            return written

        return self._operations.act("write", lambda: self._file.write(content), half)

    def __enter__(self) -> _Counted:
        self._file.__enter__()
        return self

    def __exit__(self, *words: Any) -> Any:
        return self._file.__exit__(*words)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def killing(at: int | None, how: How) -> Act:
    """SIGKILL for this process before, after or half-way through operation ``at``; None: never."""

    def act(operation: Operation) -> Any:
        if operation.number != at:
            return operation.do()
        if how != "before":
            operation.half() if how == "half" else operation.do()
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    return act


def failing(at: int | None, code: int, *, half: bool) -> Act:
    """Operation ``at`` raises the OSError ``code``, after ``half`` of it if so wished."""

    def act(operation: Operation) -> Any:
        if operation.number != at:
            return operation.do()
        if half and operation.name in ("write", "pwrite"):
            operation.half()
        raise OSError(code, os.strerror(code))

    return act


def short(operation: Operation) -> Any:
    """Every write takes only half of what it is given, as the system may, and says so."""
    return operation.half() if operation.name in ("write", "pwrite") else operation.do()
