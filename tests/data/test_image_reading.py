"""Pages and ranges of values, by the public reader of images."""

import numpy as np
import pytest
from PIL import Image

from ptm.data.image_reading import ImageReading
from ptm.data.pictures import picture_digest
from ptm.errors import DataError
from ptm.vision.images import decode

COLORS = ("red", "lime", "blue")


def animated(path, kind, **options):
    first, *others = (Image.new("RGB", (8, 6), color) for color in COLORS)
    first.save(path, kind, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("a.tif", "TIFF", {}),
        ("a.gif", "GIF", {"duration": 100}),
        ("a.webp", "WEBP", {"lossless": True, "duration": 100}),
        ("a.png", "PNG", {"duration": 100}),
    ],
)
def test_11_02_a_page_is_chosen_by_its_number_from_0(tmp_path, name, kind, options):
    path = animated(tmp_path / name, kind, **options)
    for page, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        for item in (path, path.read_bytes()):
            assert np.array(decode(item, "x", reading=ImageReading(page)))[3, 4].tolist() == list(color)
    with pytest.raises(DataError, match=r"has 3 pages, and data\.page is 3"):
        decode(path, "x", reading=ImageReading(3))
    with pytest.raises(DataError, match=r"data\.page \(0 is the first\)"):
        decode(path, "x")
    digests = {picture_digest(path.read_bytes(), page) for page in range(3)}
    assert len(digests) == 3 and picture_digest(path.read_bytes(), 0) == picture_digest(path.read_bytes())


def test_11_02_a_page_of_a_single_image_is_page_0(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.jpg")
    decode(tmp_path / "a.jpg", "x", reading=ImageReading(0))
    with pytest.raises(DataError, match=r"has 1 page, and data\.page is 1"):
        decode(tmp_path / "a.jpg", "x", reading=ImageReading(1))
    with pytest.raises(DataError, match="has 1 page"):
        decode(np.zeros((4, 4, 3), dtype=np.uint8), "x", reading=ImageReading(1))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_11_03_values_from_black_to_white_become_0_to_255(tmp_path, name):
    values = np.array([[0, 1, 8, 9, 2048, 4095]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    levels = np.array(decode(tmp_path / name, "x", reading=ImageReading(None, (0, 4095))))
    # 4095 / 255 is 16.06 a level, rounded to the nearest.
    assert levels[0, :, 0].tolist() == [0, 0, 0, 1, 128, 255]
    assert (levels[..., 0] == levels[..., 1]).all() and (levels[..., 0] == levels[..., 2]).all()
    assert np.array(decode(tmp_path / name, "x"))[0, :, 0].tolist() == [0, 0, 0, 0, 8, 15]


def test_11_03_negative_and_floating_point_values_have_a_range_as_well(tmp_path):
    Image.fromarray(np.array([[-1000, 0, 400]], dtype=np.int32)).save(tmp_path / "ct.tif")
    Image.fromarray(np.array([[0.0, 0.25, 1.0]], dtype=np.float32)).save(tmp_path / "f.tif")
    read = ImageReading(None, (-1000, 400))
    assert np.array(decode(tmp_path / "ct.tif", "x", reading=read))[0, :, 0].tolist() == [0, 182, 255]
    read = ImageReading(None, (0, 1))
    assert np.array(decode(tmp_path / "f.tif", "x", reading=read))[0, :, 0].tolist() == [0, 64, 255]
    with pytest.raises(DataError, match=r"data\.image_range"):
        decode(tmp_path / "f.tif", "x")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 5000]], dtype=np.uint16), "its values go from 0 to 5000"),
        (np.array([[-1, 5]], dtype=np.int32), "its values go from -1 to 5"),
        (np.array([[0, np.nan]], dtype=np.float32), "its values go from nan to nan"),
        (np.array([[0, 5]], dtype=np.uint8), r"has 8 bits a channel \(L\)"),
        (np.zeros((2, 2, 3), dtype=np.uint8), r"has 8 bits a channel \(RGB\)"),
    ],
)
def test_11_03_what_does_not_fit_the_range_is_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=message):
        decode(tmp_path / "a.tif", "x", reading=ImageReading(None, (0, 4095)))
