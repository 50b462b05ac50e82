"""Decoding: every common kind of image becomes the RGB a person sees; hostile and broken ones are refused."""

from __future__ import annotations

import io
import os
import shlex
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptm.errors import DataError
from ptm.vision.images import check_headers, decode, decode_all, to_rgb

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0], [128, 64, 32]]], np.uint8
)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(item: Any) -> np.ndarray:
    image = decode(item, "here")
    assert image.mode == "RGB"
    return np.asarray(image)


def picture(side: int = 32, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def test_paths_bytes_records_and_arrays_are_images(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(COLOURS))
    path = tmp_path / "image.png"
    path.write_bytes(content)
    for item in (
        path,
        str(path),
        content,
        {"bytes": content, "path": None},
        {"bytes": None, "path": str(path)},
    ):
        assert np.array_equal(pixels(item), COLOURS)
    assert np.array_equal(pixels(COLOURS), COLOURS)
    grey = np.array([[0, 200]], np.uint8)
    assert np.array_equal(pixels(grey), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG"])
def test_common_formats(form: str) -> None:
    image = picture()
    lossless = form in ("PNG", "BMP", "TIFF", "PPM")
    difference = np.abs(pixels(encoded(image, form)).astype(int) - np.asarray(image)).mean()
    assert difference == 0 if lossless else difference < 12


def test_grey_and_one_bit() -> None:
    grey = Image.fromarray(np.array([[0, 100, 255]], np.uint8))
    assert pixels(encoded(grey)).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]
    assert pixels(encoded(grey.convert("1", dither=Image.Dither.NONE))).tolist() == [
        [[0] * 3, [0] * 3, [255] * 3]
    ]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_cut_off(form: str) -> None:
    values = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert pixels(encoded(Image.fromarray(values), form))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_big_endian_sixteen_bits() -> None:
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">HH", 0x8000, 0xFFFF))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [128, 255]


def test_palette() -> None:
    assert np.array_equal(pixels(encoded(Image.fromarray(COLOURS).quantize(8))), COLOURS)


def test_cmyk() -> None:
    cmyk = Image.frombytes("CMYK", (2, 1), bytes([255, 0, 0, 0, 0, 0, 0, 255]))  # cyan, black
    assert pixels(encoded(cmyk, "TIFF")).tolist() == [[[0, 255, 255], [0, 0, 0]]]
    assert pixels(encoded(cmyk.resize((16, 16)), "JPEG", quality=100)).shape == (16, 16, 3)


def test_transparency_lies_over_white_whatever_colour_hides_below() -> None:
    hidden = Image.frombytes("RGBA", (3, 1), bytes([0, 0, 0, 0, 255, 0, 0, 255, 0, 0, 0, 128]))
    assert pixels(encoded(hidden)).tolist() == [[[255] * 3, [255, 0, 0], [127] * 3]]
    grey = Image.frombytes("LA", (2, 1), bytes([0, 0, 50, 255]))
    assert pixels(encoded(grey)).tolist() == [[[255] * 3, [50] * 3]]
    palette = Image.fromarray(COLOURS).quantize(8)
    index = palette.getpixel((0, 0))
    seen = pixels(encoded(palette, "PNG", transparency=index))
    assert seen[0, 0].tolist() == [255] * 3 and np.array_equal(seen[:, 1:], COLOURS[:, 1:])
    keyed = pixels(encoded(Image.fromarray(COLOURS), "PNG", transparency=(255, 0, 0)))
    assert keyed[0, 0].tolist() == [255] * 3 and np.array_equal(keyed[:, 1:], COLOURS[:, 1:])


@pytest.mark.parametrize(("orientation", "turned"), [(3, np.rot90(COLOURS, 2)), (6, np.rot90(COLOURS, -1))])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, turned: np.ndarray, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(encoded(Image.fromarray(COLOURS), form, exif=exif)), turned)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_11_05_of_several_pages_none_is_taken_in_silence(form: str, tmp_path: Path, monkeypatch) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(encoded(frames[0], form, save_all=True, append_images=frames[1:]))
    with pytest.raises(DataError, match="holds 2 pages or frames") as caught:
        decode(path, str(path))
    with pytest.raises(DataError, match="holds 2 pages or frames"):
        check_headers([path], lambda row: str(path), 1)
    cure = caught.value.problems[0].cure
    monkeypatch.chdir(tmp_path)
    command = shlex.split(cure[cure.index("python -c") :])
    subprocess.run([sys.executable, *command[1:]], check=True)
    pages = [np.asarray(decode(Path(f"page{i}.png"), "here"))[0, 0] for i in range(2)]
    assert pages[0][0] > 250 and pages[1][2] > 250
    path.write_bytes(encoded(frames[0], form))
    assert decode(path, str(path)).size == (4, 4)


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def large_header() -> bytes:
    return b"P6 10000 9000 255\n"  # 90 million pixels: Pillow would only warn


BROKEN: dict[str, Any] = {
    "text": b"<html>not an image</html>",
    "empty": b"",
    "truncated jpeg": encoded(picture(64), "JPEG")[:600],
    "truncated png": encoded(picture(64))[:300],
    "bomb": bomb(),
    "large": large_header(),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
    "no image": None,
    "empty record": {"bytes": None, "path": None},
    "a number": 3,
    "floats": encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"),
    "float array": np.zeros((2, 2)),
    "four channels": np.zeros((2, 2, 4), np.uint8),
    "no pixels": np.zeros((0, 2), np.uint8),
    "absent": Path("absent.jpg"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_decoded_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(BROKEN[name], "table.parquet, row 7")
    (problem,) = caught.value.problems
    assert problem.where == "table.parquet, row 7" and problem.cure
    assert "object at 0x" not in str(problem) and "Error" not in problem.what


def test_a_text_file_named_jpg(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_text("meow")
    with pytest.raises(DataError, match=r"cat\.jpg: is not an image") as caught:
        decode(path, str(path))
    assert caught.value.problems[0].cure == "replace or remove the image"
    with pytest.raises(DataError, match="remove the row"):
        decode(path, "train.csv:3")


def test_all_unreadable_images_are_found_before_training() -> None:
    good, bad = encoded(picture()), b"bad"
    images = [bad if row % 50 == 3 else good for row in range(400)]
    for check in (
        lambda: check_headers(images, lambda row: f"row {row}", 2),
        lambda: decode_all(images, lambda row: f"row {row}", np.asarray, 32, 2),
    ):
        with pytest.raises(DataError) as caught:
            check()
        assert [p.where for p in caught.value.problems[:5]] == [
            "row 3",
            "row 53",
            "row 103",
            "row 153",
            "row 203",
        ]
        assert "and 3 more" in str(caught.value.problems[5])


def test_headers_alone_tell_of_text_bombs_and_absent_files() -> None:
    for name in ("text", "empty", "bomb", "large", "no image", "absent", "float array"):
        with pytest.raises(DataError):
            check_headers([BROKEN[name]], str, 1)
    check_headers([encoded(picture()), np.zeros((2, 2), np.uint8)], str, 1)


def test_all_images_end_up_in_their_rows() -> None:
    images = [encoded(picture(8, seed=row)) for row in range(700)]
    found = decode_all(images, str, np.asarray, 8, threads=3)
    assert found.shape == (700, 8, 8, 3) and found.dtype == np.uint8
    assert all(np.array_equal(found[row], pixels(images[row])) for row in range(0, 700, 13))


def test_15_17_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="is a named pipe"):
        decode(tmp_path / "a.png", "a.png")
