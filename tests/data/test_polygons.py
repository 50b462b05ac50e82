"""Shapes to pixels, against masks that are computed by hand and by COCO's own program."""

import tracemalloc

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask

from ptm.data.polygons import Drawing, Shape, checked_polygon, checked_runs, circle
from ptm.errors import DataError

SQUARE = (2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0)


def test_11_04_a_square_is_filled_and_later_shapes_cover_earlier_ones():
    other = Shape("dog", ((4.0, 2.0, 8.0, 2.0, 8.0, 5.0, 4.0, 5.0),))
    painted = Drawing((10, 6), (Shape("cat", (SQUARE,)), other)).numbers(("background", "cat", "dog"))
    expected = np.zeros((6, 10), np.uint8)
    expected[1:4, 2:6] = 1
    expected[2:5, 4:8] = 2
    np.testing.assert_array_equal(painted, expected)
    turned = Drawing((10, 6), (other, Shape("cat", (SQUARE,)))).numbers(("background", "cat"))
    assert turned[2, 5] == 1 and turned[4, 7] == 255  # a label that is no key


@pytest.mark.parametrize("seed", range(20))
def test_11_04_run_length_codes_are_those_of_coco(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 70, 2))
    inside = np.asfortranarray(rng.random((height, width)) < rng.random(), dtype=np.uint8)
    packed = coco_mask.encode(inside)
    text = packed["counts"].decode() if isinstance(packed["counts"], bytes) else packed["counts"]
    runs = checked_runs({"size": [height, width], "counts": text}, (width, height), "here")
    painted = Drawing((width, height), (Shape("cat", runs=runs),)).numbers(("background", "cat"))
    np.testing.assert_array_equal(painted, inside)
    listed = {"size": [height, width], "counts": list(runs)}
    assert checked_runs(listed, (width, height), "here") == runs


@pytest.mark.parametrize(
    "code",
    [
        {"size": [4, 5], "counts": [3, 4]},
        {"size": [5, 4], "counts": [20]},
        {"size": [4, 5], "counts": [-1, 21]},
        {"size": [4, 5], "counts": [0.5, 19.5]},
        {"size": [4, 5], "counts": "~~~~~~~~~"},
        {"size": [4, 5], "counts": ""},
        {"size": [4, 5]},
    ],
)
def test_11_04_codes_that_do_not_fill_their_image_are_refused(code):
    with pytest.raises(DataError, match="does not fill its image"):
        checked_runs(code, (5, 4), "a.json, annotations[3]")


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4],
        [1, 2, 3, 4, 5, 6, 7],
        "text",
        [1, 2, 3, 4, 5, None],
        [0, 0, 12, 0, 3, 3],
        [0, 0, 1, -2, 3, 3],
    ],
)
def test_11_04_polygons_that_are_none_are_refused(values):
    with pytest.raises(DataError, match="the polygon"):
        checked_polygon(values, (10, 6), "a.json, shapes[0]")


def test_11_04_a_circle_has_its_area():
    painted = Drawing((40, 40), (Shape("cat", (circle((20, 20), (30, 20), (40, 40)),)),)).numbers(
        ("background", "cat")
    )
    assert painted.sum() == pytest.approx(np.pi * 100, rel=0.03)


def test_15_15_an_outline_longer_than_its_image_has_pixels_is_refused():
    """COCO's program keeps every fifth of a pixel of it: 36 kB of corners took 16 GB."""
    there_and_back = [0.0, 0.0, 1.0, 60_000.0] * 1000
    with pytest.raises(DataError, match="outline is 1"):
        checked_polygon(there_and_back, (1, 60_000), "here")
    # As long as anybody draws: around every other row of 2000 x 1000 pixels.
    rows = [value for y in range(0, 1000, 2) for value in (0.0, float(y), 2000.0, float(y))]
    assert len(checked_polygon(rows, (2000, 1000), "here")) == len(rows)


def test_15_15_a_shape_of_very_many_polygons_takes_the_memory_of_one():
    """They were decoded side by side: 2000 of them in a photo of 2 megapixels were 4 GB."""
    square = (10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0)
    corner = (0.0, 0.0, 5.0, 0.0, 5.0, 5.0, 0.0, 5.0)
    drawing = Drawing((2000, 1000), (Shape("cat", (square, corner) * 1000),))
    tracemalloc.start()
    painted = drawing.numbers(("background", "cat"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (painted == 1).sum() == 125 and most < 100_000_000
