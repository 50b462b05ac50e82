"""What the first bytes of an image say."""

import pytest
from PIL import Image

from ptm.data.image_headers import read_header
from ptm.errors import DataError


def test_11_01_size_and_orientation_of_a_photo(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    for orientation, upright in ((1, (40, 20)), (3, (40, 20)), (6, (20, 40)), (9, (40, 20))):
        exif[0x0112] = orientation
        image.save(tmp_path / "a.jpg", exif=exif)
        header = read_header(tmp_path / "a.jpg")
        assert (header.size, header.upright) == ((40, 20), upright)


@pytest.mark.parametrize(("content", "what"), [(b"", "is empty"), (b"text", "is not an image")])
def test_11_01_what_is_no_image_is_refused(tmp_path, content, what):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_header(tmp_path / "a.jpg")
    assert caught.value.problems[0].what == what
