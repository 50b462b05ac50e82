"""Views: the published evaluation preprocessing, and training views that depend on (seed, epoch, id)."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models as zoo

from ptm.base import seeds
from ptm.config.model_ref import ModelRef
from ptm.errors import DataError
from ptm.training import order
from ptm.vision import views
from ptm.vision.models import plan_model
from ptm.vision.saved import Preprocessing
from ptm.vision.views import ViewLoader, ViewMaker, evaluation_view, fits_memory, shift_and_mirror, view_name


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def preprocessing(image_size: int) -> Preprocessing:
    resize = None if image_size <= 96 else image_size + 8
    return Preprocessing(
        image_size=image_size, resize=resize, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )


def view_maker(
    augment: str, image_size: int, *, kept: bool = False, seed: int = 1, count: int = 12
) -> ViewMaker:
    images = [jpeg(picture(130, 110, seed=i)) for i in range(count)]
    p = preprocessing(image_size)
    pixels = None
    if kept:
        pixels = np.stack([evaluation_view(Image.open(io.BytesIO(image)), p) for image in images])
    return ViewMaker(images, lambda row: f"row {row}", p, augment, seed, pixels)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "efficientnet_v2_l", "regnet_y_400mf"])
@pytest.mark.parametrize("size", [(500, 375), (240, 700), (64, 64)])
def test_the_evaluation_view_is_that_of_torchvision_to_the_bit(name: str, size: tuple[int, int]) -> None:
    image, preset = picture(*size), zoo.get_model_weights(name).DEFAULT.transforms()
    p = plan_model(ModelRef(name=name)).preprocessing
    pixels = torch.from_numpy(evaluation_view(image, p).copy()).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (p.mean, p.std))
    assert torch.equal(((pixels / 255 - mean) / std)[0], preset(image))


def test_small_images_are_resized_whole() -> None:
    assert evaluation_view(picture(40, 20), preprocessing(32)).shape == (32, 32, 3)
    same = picture(32, 32)
    assert np.array_equal(evaluation_view(same, preprocessing(32)), np.asarray(same))


@pytest.mark.parametrize("mirror", [False, True])
def test_vectorised_crops_equal_a_loop_over_images(mirror: bool) -> None:
    n, side, pad = 40, 32, 4
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    draws = seeds.uniforms(3, 0, np.arange(n), 3)
    cut = shift_and_mirror(pixels, draws, mirror=mirror)
    offsets = set()
    for i in range(n):
        padded = np.pad(pixels[i], ((pad, pad), (pad, pad), (0, 0)))
        down, right = int(draws[i, 0] * 9), int(draws[i, 1] * 9)
        expected = padded[down : down + side, right : right + side]
        if mirror and draws[i, 2] < 0.5:
            expected = expected[:, ::-1]
        assert np.array_equal(cut[i], expected)
        offsets.add((down, right))
    assert len(offsets) > 20 and {0, 8} <= {down for down, _ in offsets}


@pytest.mark.parametrize("side", [8, 28, 96])
def test_the_padding_is_an_eighth(side: int) -> None:
    pixels = np.full((2, side, side, 3), 255, np.uint8)
    cut = shift_and_mirror(pixels, np.array([[0.0, 0.0, 1.0], [0.999, 0.999, 1.0]]), mirror=True)
    pad = side // 8
    assert not cut[0, :pad].any() and not cut[0, :, :pad].any() and cut[0, pad:, pad:].all()
    assert not cut[1, -pad:].any() and not cut[1, :, -pad:].any() and cut[1, :-pad, :-pad].all()


CASES = [
    (a, s, k)
    for a in ("none", "crop", "standard", "trivial")
    for s, k in ((32, True), (32, False), (100, False))
]


@pytest.mark.parametrize(("augment", "image_size", "kept"), CASES)
def test_a_view_is_a_function_of_seed_epoch_and_id(augment: str, image_size: int, kept: bool) -> None:
    cut = view_maker(augment, image_size, kept=kept)
    batch = cut(2, np.array([3, 7, 5, 0]))
    assert batch.shape == (4, image_size, image_size, 3) and batch.dtype == np.uint8
    alone = view_maker(augment, image_size, kept=kept)(2, np.array([5]))  # another batch, another object
    assert np.array_equal(batch[2], alone[0])
    changes = augment != "none"
    ids = np.arange(12)
    assert np.array_equal(cut(2, ids), cut(3, ids)) != changes
    assert np.array_equal(cut(2, ids), view_maker(augment, image_size, kept=kept, seed=2)(2, ids)) != changes


@pytest.mark.parametrize("augment", ["none", "crop", "standard", "trivial"])
def test_kept_and_newly_decoded_small_images_give_the_same_views(augment: str) -> None:
    ids = np.array([1, 4, 2])
    assert np.array_equal(view_maker(augment, 32, kept=True)(1, ids), view_maker(augment, 32)(1, ids))


@pytest.mark.parametrize("augment", ["standard", "trivial"])
def test_large_views_are_torchvisions_random_resized_crops(augment: str) -> None:
    ids = np.arange(12)
    cropped, shown = view_maker("crop", 100)(0, ids), view_maker(augment, 100)(0, ids)
    differ = [not np.array_equal(a, b) for a, b in zip(cropped, shown, strict=True)]
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(cropped, shown, strict=True)]
    assert any(differ)
    if augment == "standard":
        assert any(mirrored) and not all(differ)
        assert all(a == b for a, b in zip(differ, mirrored, strict=True))


def test_other_randomness_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = torch.rand(1)
    list(ViewLoader(view_maker("trivial", 100), 0, pin_memory=False)([np.arange(4)], 0))
    stream = ViewLoader(view_maker("trivial", 100), 1, pin_memory=False)
    list(stream([np.arange(4)], 0))
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


PLANS = [order.epoch_plan(12, 5, 7, epoch) for epoch in range(2)]


@pytest.mark.parametrize(("augment", "image_size"), [("standard", 100), ("trivial", 32), ("none", 100)])
def test_any_number_of_workers_gives_the_same_bits(augment: str, image_size: int) -> None:
    found = []
    for workers in (0, 1, 2):
        stream = ViewLoader(view_maker(augment, image_size), workers, pin_memory=False)
        found.append([batch.clone() for epoch, plan in enumerate(PLANS) for batch in stream(plan, epoch)])
    assert len(found[0]) == 6
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_workers_live_over_epochs_and_an_abandoned_epoch_does_no_harm() -> None:
    stream, alone = ViewLoader(view_maker("crop", 100), 2, pin_memory=False), view_maker("crop", 100)
    next(stream(PLANS[0], 0))
    processes = [w.pid for w in workers_of(stream)]
    for epoch, plan in enumerate(PLANS):
        for ids, batch in zip(plan, stream(plan, epoch), strict=True):
            assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), alone(epoch, ids))
    assert [w.pid for w in workers_of(stream)] == processes


def workers_of(stream: ViewLoader) -> list[Any]:
    assert stream.pool is not None
    return list(stream.pool._processes.values())


def test_what_is_cut_in_microseconds_needs_no_workers() -> None:
    assert ViewLoader(view_maker("standard", 32, kept=True), 2, pin_memory=False).pool is None
    assert ViewLoader(view_maker("trivial", 32, kept=True), 2, pin_memory=False).pool is not None


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_turns_out_broken_is_named(workers: int, tmp_path: Path) -> None:
    content = jpeg(picture(130, 110))
    images = [content, content, content[: len(content) // 2]]
    cut = ViewMaker(images, lambda row: f"{tmp_path}, row {row}", preprocessing(100), "standard", 0)
    with pytest.raises(DataError) as caught:
        list(ViewLoader(cut, workers, pin_memory=False)([np.array([0]), np.array([1, 2])], 0))
    assert caught.value.problems[0].where == f"{tmp_path}, row 2"
    assert "truncated" in caught.value.problems[0].what


def test_a_lost_worker_is_told_by_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "WORKER_GRACE", 1)
    stream = ViewLoader(view_maker("standard", 100, count=200), 2, pin_memory=False)
    batches = stream([np.arange(20)] * 20, 0)
    next(batches)
    os.kill(workers_of(stream)[0].pid, signal.SIGKILL)
    with pytest.raises(DataError, match="process that decodes images was killed") as caught:
        list(batches)
    assert "runtime.workers=0" in caught.value.problems[0].cure


def test_workers_end_when_their_parent_is_killed() -> None:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        stream = ViewLoader(view_maker("crop", 100), 2, pin_memory=False)
        next(stream(PLANS[0], 0))
        os.write(writer, " ".join(str(worker.pid) for worker in workers_of(stream)).encode())
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
    stream = ViewLoader(view_maker("standard", 100), 1, pin_memory=False)
    batches = stream([np.arange(6)] * 6, 0)
    next(batches)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(workers_of(stream)[0].pid, number)
    assert len(list(batches)) == 5


def test_what_is_kept_in_memory() -> None:
    assert fits_memory(50_000, 32, "standard") and fits_memory(5_000, 224, "none")
    assert not fits_memory(5_000, 224, "standard")
    assert not fits_memory(1_281_167, 64, "crop")
    assert fits_memory(views.MEMORY_LIMIT // (3 * 96 * 96), 96, "standard")


def test_the_name_of_a_view_says_all_that_determines_pixels_and_no_more() -> None:
    p = preprocessing(224)
    assert view_name(p, "crop") == "image_size=224 resize=232 interpolation=bilinear augment=crop"
    assert len({view_name(p, "none"), view_name(p, "crop"), view_name(preprocessing(32), "none")}) == 3
