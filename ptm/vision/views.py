"""What a network sees of an image: one evaluation view, and a training view for each (seed, epoch, id).

What fits in 1 GiB is decoded once, and batches are cut out of one array; random crops above 96 pixels, and
all that does not fit, are decoded again each time, in worker processes if there are any. Either way a view
is a pure function of (seed, epoch, id): it does not matter who cuts it, when, or beside what.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from ptm.base.seeds import VIEW, mix, uniforms
from ptm.errors import DataError
from ptm.vision.images import decode
from ptm.vision.saved import SMALL, Preprocessing

MEMORY_LIMIT = 1 << 30  # bytes of decoded pixels of one split that are kept
WORKER_GRACE = 10  # seconds a worker process goes on after SIGTERM


def view_name(preprocessing: Preprocessing, augment: str) -> str:
    """Everything that determines pixels, and nothing else: mean and std are applied later, by each model."""
    p = preprocessing
    resize = "direct" if p.resize is None else p.resize
    return f"image_size={p.image_size} resize={resize} interpolation={p.interpolation} augment={augment}"


def fits_memory(count: int, image_size: int, augment: str) -> bool:
    """Whether all evaluation views are kept. Training views of large images are cut from the originals."""
    return count * 3 * image_size**2 <= MEMORY_LIMIT and (augment == "none" or image_size <= SMALL)


def evaluation_view(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 [s, s, 3]: the same pixels as torchvision's preset for the weights."""
    p = preprocessing
    mode = InterpolationMode(p.interpolation)
    if p.resize is None:
        if image.size != (p.image_size, p.image_size):
            image = v2.functional.resize(image, [p.image_size, p.image_size], mode)
    else:
        image = v2.functional.center_crop(v2.functional.resize(image, [p.resize], mode), [p.image_size])
    return np.asarray(image)


def shift_and_mirror(pixels: np.ndarray, draws: np.ndarray, *, mirror: bool) -> np.ndarray:
    """Pad by 1/8 with black, crop at random, mirror half of them (He et al. 2015, arXiv:1512.03385, 4.2).

    pixels: uint8 [n, s, s, 3]; draws: three numbers in [0, 1) an image (down, right, mirror).
    """
    n, side = pixels.shape[:2]
    pad = max(1, side // 8)
    padded = np.zeros((n, side + 2 * pad, side + 2 * pad, 3), dtype=np.uint8)
    padded[:, pad:-pad, pad:-pad] = pixels
    offsets = (draws[:, :2] * (2 * pad + 1)).astype(np.int64)
    windows = sliding_window_view(padded, (side, side), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)  # no copy
    cut: np.ndarray = windows[np.arange(n), offsets[:, 0], offsets[:, 1]]  # [n, s, s, 3]
    if mirror:
        flipped = draws[:, 2] < 0.5
        cut[flipped] = cut[flipped, :, ::-1]
    return cut


@dataclass(frozen=True)
class ViewMaker:
    """Epoch and ids to a batch of views. ``pixels``: all evaluation views, uint8 [n, s, s, 3], if kept."""

    images: Sequence[Any]
    where: Callable[[int], str]
    preprocessing: Preprocessing
    augment: str
    seed: int
    pixels: np.ndarray | None = None

    @property
    def cheap(self) -> bool:
        """Whether a batch takes microseconds, so that a worker process would only add the way to it."""
        return self.pixels is not None and self.augment != "trivial"

    def __call__(self, epoch: int, ids: np.ndarray) -> np.ndarray:
        """uint8 [n, s, s, 3]."""
        if self.augment == "none":
            batch = self._evaluation_views(ids)
        elif self.preprocessing.image_size <= SMALL:
            draws = uniforms(self.seed, epoch, ids, 3)
            batch = shift_and_mirror(self._evaluation_views(ids), draws, mirror=self.augment != "crop")
            if self.augment == "trivial":
                views = (Image.fromarray(view) for view in batch)
                batch = np.stack([self._draw(view, epoch, i) for view, i in zip(views, ids, strict=True)])
        else:
            batch = np.stack(
                [self._draw(decode(self.images[i], self.where(i)), epoch, i) for i in map(int, ids)]
            )
        return batch

    def _evaluation_views(self, ids: np.ndarray) -> np.ndarray:
        if self.pixels is not None:
            views: np.ndarray = self.pixels[ids]
            return views
        decoded = (decode(self.images[i], self.where(i)) for i in map(int, ids))
        return np.stack([evaluation_view(image, self.preprocessing) for image in decoded])

    def _draw(self, image: Image.Image, epoch: int, index: int) -> np.ndarray:
        """A random view of one image. torchvision draws from torch's global generator, which is put back."""
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: that would reseed the GPU as well, in the middle of a run.
            torch.default_generator.manual_seed(mix(self.seed, VIEW, epoch, int(index)))
            return np.asarray(self._transform(image))

    @cached_property
    def _transform(self) -> Callable[[Image.Image], Image.Image]:
        steps: list[torch.nn.Module] = []
        if self.preprocessing.image_size > SMALL:
            mode = InterpolationMode(self.preprocessing.interpolation)
            steps.append(v2.RandomResizedCrop(self.preprocessing.image_size, interpolation=mode))
            if self.augment != "crop":
                steps.append(v2.RandomHorizontalFlip())
        if self.augment == "trivial":
            steps.append(v2.TrivialAugmentWide())  # Müller and Hutter 2021, arXiv:2103.10158
        composed: Callable[[Image.Image], Image.Image] = v2.Compose(steps)
        return composed


class Cuts(Protocol):
    """Epoch and ids to what a batch is made of, in numpy arrays: a pure function, in any process."""

    @property
    def cheap(self) -> bool:
        """Whether that takes microseconds."""
        ...

    def __call__(self, epoch: int, ids: np.ndarray) -> Any: ...


class ViewLoader:
    """Batches of pixels in the order of a plan, cut here or ahead of time in ``workers`` processes.

    The processes are forked: they then share the decoded pixels and start in milliseconds, where a fresh
    interpreter takes seconds to import torch. That is safe because they use one thread and no GPU, and
    because no thread pool of ours is alive when they start.

    Not torch's DataLoader: it tells of a lost worker from a signal handler, at whatever line the main process
    has reached; it turns other errors into text; and it needs more /dev/shm than containers have. Pixels come
    through a pipe instead, at 0.1 ms a 224x224 image, a fiftieth of what it takes to decode one.
    """

    def __init__(self, view_maker: Cuts, workers: int, *, pin_memory: bool) -> None:
        self._cutter = view_maker
        self._pin_memory = pin_memory
        self._ahead = 2 * workers  # batches that are cut, or being cut, before they are asked for
        self.pool: ProcessPoolExecutor | None = None
        if workers > 0 and not view_maker.cheap:
            start = (view_maker, os.getpid())
            self.pool = ProcessPoolExecutor(workers, get_context("fork"), _start_worker, start)
            # Also before the interpreter ends, where the pool's own clean-up comes too late and complains.
            weakref.finalize(self, self.pool.shutdown, cancel_futures=True)

    def __call__(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Tensor]:
        """uint8 [n, channels, height, width] each; channels last in memory, as decoded and as convolutions like it."""
        for batch in self.cuts(plan, epoch):
            pixels = torch.from_numpy(batch).permute(0, 3, 1, 2)
            yield pixels.pin_memory() if self._pin_memory else pixels

    def cuts(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Any]:
        """What the view_maker gives for each array of ids, in the order of the plan."""
        if self.pool is None:
            return (self._cutter(epoch, ids) for ids in plan)
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
        return pool.submit(_cut, epoch, ids)
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


_worker_cutter: Cuts | None = None  # in worker processes only


def _start_worker(view_maker: Cuts, parent: int) -> None:
    """Signals to the whole process group are the main process's to act on: it still finishes its step."""
    global _worker_cutter
    _worker_cutter = view_maker
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


def _cut(epoch: int, ids: np.ndarray) -> Any:
    assert _worker_cutter is not None
    return _worker_cutter(epoch, ids)
