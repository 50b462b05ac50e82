"""Files that show the same picture, written in many ways; and those that do not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ptm.config.spec import DataSpec
from ptm.data.boxes import load_boxes
from ptm.data.masks import load_masks
from ptm.data.pictures import picture_digest
from ptm.data.tabular import load_dataset
from tiny.object_detection import write_annotation


def noise(seed: int, side: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


def written(image: Image.Image, kind: str, **how: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def remarks() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "saved again")
    return info


def oriented(turned: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turned
    exif[0x010F] = "a camera"
    return exif


def test_10_09_the_same_pixels_are_one_picture() -> None:
    image = noise(1)
    pngs = [
        written(image, "PNG", compress_level=0),
        written(image, "PNG", compress_level=9, pnginfo=remarks()),
        written(image.convert("RGBA"), "PNG"),
        written(image, "BMP"),
        written(image, "TIFF"),
        written(image, "WEBP", lossless=True),
    ]
    assert len(set(pngs)) == 6 and len(set(map(picture_digest, pngs))) == 1
    jpegs = [
        written(image, "JPEG"),
        written(image, "JPEG", comment=b"hello"),
        written(image, "JPEG", exif=oriented(1)),
        written(image, "JPEG", dpi=(300, 300)),
    ]
    assert len(set(jpegs)) == 4 and len(set(map(picture_digest, jpegs))) == 1


def test_10_09_other_pixels_are_another_picture() -> None:
    image, other = noise(1), noise(1)
    other.putpixel((3, 4), (0, 0, 0))
    different = [
        *(written(each, "PNG") for each in (image, other, image.transpose(Image.Transpose.FLIP_TOP_BOTTOM))),
        *(written(each, "JPEG") for each in (image, other)),
        written(image, "JPEG", exif=oriented(3)),
        written(image, "JPEG", quality=40),
        written(Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12)), "PNG"),
        written(Image.fromarray(np.arange(1, 145, dtype=np.uint16).reshape(12, 12)), "PNG"),
        b"no picture",
        b"",
        written(image, "PNG")[:60],
        written(image, "JPEG")[:20],
    ]
    assert len(set(map(picture_digest, different))) == len(different)


@pytest.mark.parametrize("kind", ["folders", "boxes", "masks"])
def test_10_09_copies_that_were_saved_again_stay_on_one_side(kind: str, tmp_path: Path) -> None:
    """Ten pictures, each three times: as PNG, compressed otherwise, with a remark."""
    for name in ("JPEGImages", "Annotations", "image", "label", "classes/a", "classes/b"):
        (tmp_path / name).mkdir(parents=True)
    mask = np.zeros((12, 12), np.uint8)
    mask[:5] = 1
    for number in range(10):
        for copy, how in enumerate(({"compress_level": 0}, {"compress_level": 9}, {"pnginfo": remarks()})):
            name, content = f"{number}_{copy}", written(noise(number), "PNG", **how)
            (tmp_path / "classes" / "ab"[number % 2] / f"{name}.png").write_bytes(content)
            (tmp_path / "JPEGImages" / f"{name}.png").write_bytes(content)
            (tmp_path / "image" / f"{name}.png").write_bytes(content)
            write_annotation(tmp_path / "Annotations" / f"{name}.xml", (12, 12), [("x", (1, 1, 8, 8))])
            Image.fromarray(mask).save(tmp_path / "label" / f"{name}.png")
    if kind == "folders":
        data = load_dataset(
            DataSpec(source=f"imagefolder:{tmp_path / 'classes'}", eval="30%"), {"image": "image"}
        )
    else:
        load, source = (load_boxes, "voc") if kind == "boxes" else (load_masks, "masks")
        data = load(DataSpec(source=f"{source}:{tmp_path}", eval="30%"))
    assert data.train is not None
    sides = [
        {path.stem.split("_")[0] for path in split.columns["image"]} for split in (data.train, data.eval)
    ]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 10
    assert len(data.eval) in (6, 9, 12)
