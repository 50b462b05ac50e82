"""Issue 13, line 3: decoded images are kept by all that decides their pixels, and by nothing less."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ptm.base.cache import entries
from ptm.data.image_listing import list_images
from ptm.data.image_reading import AS_STORED, ImageReading
from ptm.vision import pixel_cache
from ptm.vision.images import decode_all
from ptm.vision.pixel_cache import decode_once
from ptm.vision.preprocessing import Preprocessing

SIDE = 8
SEEN = Preprocessing(image_size=SIDE, resize=None, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pixel_cache, "LEAST_BYTES", 1)
    return tmp_path / "cache"


def png(value, form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (value, 2 * value, 0)).save(buffer, form)
    return buffer.getvalue()


def pixels_of(images, calls, *, seen=SEEN, reading=AS_STORED, spoil=None):
    """The pixels, and how often they were decoded in ``calls``."""

    def decode():
        calls.append(len(images))
        made = decode_all(images, str, np.asarray, SIDE, 1)
        if spoil is not None:
            spoil()
        return made

    return decode_once(decode, images, seen, reading, {"pixels": "8 x 8", "data": "d", "split": "train"})


def test_13_03_images_are_decoded_once_whether_files_rows_or_bytes(tmp_path, root):
    for value in (1, 2):
        (tmp_path / f"{value}.png").write_bytes(png(value))
    files = [tmp_path / "1.png", str(tmp_path / "2.png")]
    calls = []
    first, problem = pixels_of(files, calls)
    assert problem == "" and first[:, 0, 0].tolist() == [[1, 2, 0], [2, 4, 0]]
    for same in (
        files,
        [png(1), png(2)],
        [{"bytes": png(1), "path": "x"}, {"bytes": None, "path": files[1]}],
    ):
        again, problem = pixels_of(same, calls)
        assert problem == "" and np.array_equal(again, first)
    assert calls == [2]
    (entry,) = entries(root)
    assert (entry.what, entry.split, entry.teacher) == ("images of 8 x 8 pixels", "train", "")


def test_13_03_whatever_decides_pixels_decodes_anew():
    calls = []
    images = [png(1), png(2)]
    pixels_of(images, calls)
    pixels_of(images[::-1], calls)
    pixels_of([png(1), png(3)], calls)
    pixels_of([png(1), png(2, "BMP")], calls)
    pixels_of(images, calls, seen=replace(SEEN, interpolation="bicubic"))
    pixels_of(images, calls, reading=ImageReading(page=0))
    assert calls == [2] * 6
    pixels_of(images, calls, seen=replace(SEEN, mean=(0.0,) * 3))  # applied later
    assert len(calls) == 6


def test_13_03_what_was_spoilt_in_the_cache_is_decoded_anew(root):
    calls, images = [], [png(1), png(2)]
    first, _ = pixels_of(images, calls)
    (stored,) = root.glob("data/*/pixels.bin")
    content = bytearray(stored.read_bytes())
    content[5] ^= 1
    stored.write_bytes(content)
    again, _ = pixels_of(images, calls)
    assert calls == [2, 2] and np.array_equal(again, first)


def test_13_03_images_that_change_meanwhile_and_arrays_are_not_kept(tmp_path, root):
    path, calls = tmp_path / "1.png", []
    path.write_bytes(png(1))
    _, problem = pixels_of([path], calls, spoil=lambda: path.write_bytes(png(7)))
    assert "changed" in problem and not root.exists()
    pixels_of([np.zeros((SIDE, SIDE, 3), np.uint8)], calls)
    assert not root.exists()


@pytest.mark.parametrize(("limit", "kept"), [(2 * SIDE * SIDE * 3, True), (10_000, True), (1_000_000, False)])
def test_13_06_large_files_of_small_views_are_kept_too(root, monkeypatch, limit, kept):
    """By the pixels that are seen, or by the files that are decoded for them."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    images, calls = [content.getvalue(), png(1)], []
    monkeypatch.setattr(pixel_cache, "LEAST_BYTES", limit)
    for _ in range(2):
        decode_once(
            lambda: calls.append(1) or np.zeros((2, SIDE, SIDE, 3), np.uint8),
            images, SEEN, AS_STORED, {"pixels": "8 x 8", "data": "d", "split": "train"},
        )  # fmt: skip
    assert len(calls) == (1 if kept else 2)


def test_13_06_files_are_found_by_what_they_hold_and_not_kept_if_they_changed(tmp_path, root):
    calls = []

    def files(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        for value in (1, 2):
            (tmp_path / folder / f"{value}.png").write_bytes(png(value))
        return list_images(tmp_path / folder).hashed(tmp_path / folder)

    change = tmp_path / "a" / "1.png"
    _, problem = pixels_of(files("a"), calls, spoil=lambda: change.write_bytes(png(3)))
    assert problem == "they changed while they were read"
    first, problem = pixels_of(files("a"), calls)
    again, _ = pixels_of(files("b"), calls)
    assert problem == "" and np.array_equal(first, again) and len(calls) == 2
