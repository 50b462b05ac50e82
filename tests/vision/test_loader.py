"""Views from worker processes: the same bits, and what happens when a worker or its parent is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptm.errors import DataError
from ptm.training import order
from ptm.vision import loader as loader_module
from ptm.vision.augmentation import Augmentation
from ptm.vision.loader import ViewLoader
from ptm.vision.views import ImageViewMaker
from view_samples import jpeg, picture, preprocessing, view_maker

pytestmark = pytest.mark.slow  # each trains

PLANS = [order.epoch_plan(12, 5, 7, epoch) for epoch in range(2)]


@pytest.mark.parametrize(("augment", "image_size"), [("standard", 100), ("trivial", 32), ("none", 100)])
def test_any_number_of_workers_gives_the_same_bits(augment: str, image_size: int) -> None:
    batches = []
    for workers in (0, 1, 2):
        loader = ViewLoader(view_maker(augment, image_size), workers, pin_memory=False)
        batches.append(
            [batch.clone() for epoch, plan in enumerate(PLANS) for batch in loader.pixels(plan, epoch)]
        )
    assert len(batches[0]) == 6
    for other in batches[1:]:
        assert all(torch.equal(a, b) for a, b in zip(batches[0], other, strict=True))


def test_workers_live_over_epochs_and_an_abandoned_epoch_does_no_harm() -> None:
    loader, alone = ViewLoader(view_maker("crop", 100), 2, pin_memory=False), view_maker("crop", 100)
    next(loader.pixels(PLANS[0], 0))
    processes = [w.pid for w in workers_of(loader)]
    for epoch, plan in enumerate(PLANS):
        for ids, batch in zip(plan, loader.pixels(plan, epoch), strict=True):
            assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), alone(epoch, ids))
    assert [w.pid for w in workers_of(loader)] == processes


def workers_of(loader: ViewLoader) -> list[Any]:
    assert loader.pool is not None
    return list(loader.pool._processes.values())


def test_what_is_made_in_microseconds_needs_no_workers() -> None:
    assert ViewLoader(view_maker("standard", 32, decoded=True), 2, pin_memory=False).pool is None
    assert ViewLoader(view_maker("trivial", 32, decoded=True), 2, pin_memory=False).pool is not None


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_turns_out_broken_is_named(workers: int, tmp_path: Path) -> None:
    content = jpeg(picture(130, 110))
    images = [content, content, content[: len(content) // 2]]
    maker = ImageViewMaker(
        images, lambda row: f"{tmp_path}, row {row}", preprocessing(100), Augmentation("standard"), 0
    )
    with pytest.raises(DataError) as caught:
        list(ViewLoader(maker, workers, pin_memory=False).pixels([np.array([0]), np.array([1, 2])], 0))
    assert caught.value.problems[0].where == f"{tmp_path}, row 2"
    assert "truncated" in caught.value.problems[0].what


def test_a_lost_worker_is_told_by_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "WORKER_GRACE", 1)
    loader = ViewLoader(view_maker("standard", 100, count=200), 2, pin_memory=False)
    batches = loader.pixels([np.arange(20)] * 20, 0)
    next(batches)
    os.kill(workers_of(loader)[0].pid, signal.SIGKILL)
    with pytest.raises(DataError, match="process that decodes images was killed") as caught:
        list(batches)
    assert "runtime.workers=0" in caught.value.problems[0].cure


def test_workers_end_when_their_parent_is_killed() -> None:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        loader = ViewLoader(view_maker("crop", 100), 2, pin_memory=False)
        next(loader.pixels(PLANS[0], 0))
        os.write(writer, " ".join(str(worker.pid) for worker in workers_of(loader)).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    left = [int(pid) for pid in os.read(reader, 100).split()]
    os.close(reader)
    assert len(left) == 2
    deadline = time.monotonic() + 20
    while (left := [pid for pid in left if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def _runs(pid: int) -> bool:
    """Whether a process is more than a zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_leave_signals_to_the_main_process() -> None:
    loader = ViewLoader(view_maker("standard", 100), 1, pin_memory=False)
    batches = loader.pixels([np.arange(6)] * 6, 0)
    next(batches)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(workers_of(loader)[0].pid, number)
    assert len(list(batches)) == 5
