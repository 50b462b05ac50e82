"""Files of masks as numbers and as colours."""

import numpy as np
import pytest
from PIL import Image

from ptm.data.mask_files import color_counts, read_color_numbers, read_mode, read_values
from ptm.errors import DataError


def test_11_03_grey_and_bilevel_files_have_colors_as_well(tmp_path):
    values = np.array([[0, 255], [255, 255]], np.uint8)
    for image in (Image.fromarray(values), Image.fromarray(values).convert("1")):
        image.save(tmp_path / "a.png")
        numbers = read_color_numbers(tmp_path / "a.png", [(255, 255, 255), (0, 0, 0)])
        assert numbers.tolist() == [[1, 0], [0, 0]]
    Image.fromarray(np.dstack([values] * 3)).save(tmp_path / "a.png")
    assert color_counts(tmp_path / "a.png") == {"#000000": 1, "#ffffff": 3}
    (tmp_path / "b.png").write_bytes(b"no")
    assert read_mode(tmp_path / "b.png") == ""


def test_11_05_a_mask_of_several_pages_is_refused(tmp_path):
    pages = [Image.new("L", (4, 4), value) for value in (0, 1)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="holds 2 pages or frames"):
        read_values(tmp_path / "a.tiff")
