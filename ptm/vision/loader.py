"""Views in the order of a plan, made here or ahead of time in worker processes."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ptm.errors import DataError

WORKER_GRACE = 10  # seconds a worker process goes on after SIGTERM


class ViewMaker(Protocol):
    """Epoch and ids to what a batch is made of, in numpy arrays: a pure function, in any process."""

    @property
    def cheap(self) -> bool:
        """Whether that takes microseconds."""
        ...

    def __call__(self, epoch: int, ids: np.ndarray) -> Any: ...


class ViewLoader:
    """Batches of views in the order of a plan, made here or ahead of time in ``workers`` processes.

    The processes are forked: they then share the decoded pixels and start in milliseconds, where a fresh
    interpreter takes seconds to import torch. That is safe because they use one thread and no GPU, and
    because no thread pool of ours is alive when they start.

    Not torch's DataLoader: it tells of a lost worker from a signal handler, at whatever line the main process
    has reached; it turns other errors into text; and it needs more /dev/shm than containers have. Pixels come
    through a pipe instead, at 0.1 ms a 224x224 image, a fiftieth of what it takes to decode one.
    """

    def __init__(self, view_maker: ViewMaker, workers: int, *, pin_memory: bool) -> None:
        self._view_maker = view_maker
        self._pin_memory = pin_memory
        self._ahead = 0  # batches that are made, or being made, before they are asked for
        self.pool: ProcessPoolExecutor | None = None
        self.set_workers(workers)

    def set_workers(self, workers: int) -> bool:
        """So many from the next plan on. False where none are used: such views take microseconds."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None
        if workers > 0 and not self._view_maker.cheap:
            self._ahead = 2 * workers
            start = (self._view_maker, os.getpid())
            self.pool = ProcessPoolExecutor(workers, get_context("fork"), _start_worker, start)
            # Also before the interpreter ends, where the pool's own clean-up comes too late and complains.
            weakref.finalize(self, self.pool.shutdown, cancel_futures=True)
        return not self._view_maker.cheap

    def pixels(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Tensor]:
        """uint8 [n, channels, height, width] each; channels last in memory, as decoded and as convolutions like it."""
        for batch in self.views(plan, epoch):
            pixels = torch.from_numpy(batch).permute(0, 3, 1, 2)
            yield pixels.pin_memory() if self._pin_memory else pixels

    def views(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Any]:
        """What the view maker gives for each array of ids, in the order of the plan."""
        if self.pool is None:
            return (self._view_maker(epoch, ids) for ids in plan)
        return self._from_workers(self.pool, plan, epoch)

    def _from_workers(
        self, pool: ProcessPoolExecutor, plan: Sequence[np.ndarray], epoch: int
    ) -> Iterator[Any]:
        pending: deque[Future[Any]] = deque()
        try:
            for ids in plan:
                pending.append(_submit(pool, epoch, ids))
                if len(pending) > self._ahead:
                    yield _result(pending.popleft())
            while pending:
                yield _result(pending.popleft())
        finally:
            for future in pending:
                future.cancel()


def _submit(pool: ProcessPoolExecutor, epoch: int, ids: np.ndarray) -> Future[Any]:
    try:
        return pool.submit(_make_view, epoch, ids)
    except BrokenProcessPool:
        raise _lost() from None


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        raise _lost() from None


def _lost() -> DataError:
    return DataError(
        "a process that decodes images was killed",
        expected="processes that outlive the run; the usual reason is that the memory is used up",
        cure="use fewer of them: --set runtime.workers=0 needs none and gives the same result",
    )


_worker_view_maker: ViewMaker | None = None  # in a worker process


def _start_worker(view_maker: ViewMaker, parent: int) -> None:
    """Signals to the whole process group are the main process's to act on: it still finishes its step."""
    global _worker_view_maker
    _worker_view_maker = view_maker
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.alarm(WORKER_GRACE))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, which cannot say so if it was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _make_view(epoch: int, ids: np.ndarray) -> Any:
    assert _worker_view_maker is not None
    return _worker_view_maker(epoch, ids)
