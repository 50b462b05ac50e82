"""Boxes within their image: what is cut, what is left out, what is refused; and the digest of files."""

import hashlib

import pytest

from ptm.data.annotations import box_within, digest_of
from ptm.errors import DataError

SIZE = (40, 30)


def within(*corners):
    return box_within(corners, "cat", False, SIZE, "a.xml, object 1")


@pytest.mark.parametrize(
    ("written", "corners"),
    [
        ((1, 2, 11, 22), (1, 2, 11, 22)),
        ((0, 0, 40, 30), (0, 0, 40, 30)),
        ((-0.5, -0.5, 40.5, 30.5), (0, 0, 40, 30)),
        ((5, 5, 5.2, 5.2), (5, 5, 5.2, 5.2)),
    ],
)
def test_corners_beyond_the_image_by_rounding_are_cut(written, corners):
    box = within(*written)
    assert box.corners == corners
    assert (box.label, box.crowd, box.where) == ("cat", False, "a.xml, object 1")


@pytest.mark.parametrize("corners", [(5, 5, 5, 9), (5, 5, 9, 5.05), (-0.4, 2, 0.05, 9), (40, 0, 40.4, 9)])
def test_a_box_without_area_is_none(corners):
    assert within(*corners) is None


@pytest.mark.parametrize(
    ("corners", "what"),
    [
        ((9, 0, 5, 9), "corners in the wrong order"),
        ((0, 9, 5, 5), "corners in the wrong order"),
        ((0, 0, float("nan"), 5), "corners in the wrong order"),
        ((0, 0, 40.6, 5), "not within its image"),
        ((-0.6, 0, 5, 5), "not within its image"),
        ((0, 0, 5, 31), "not within its image"),
    ],
)
def test_other_boxes_are_refused_with_their_place(corners, what):
    with pytest.raises(DataError, match=what) as caught:
        within(*corners)
    assert caught.value.problems[0].where == "a.xml, object 1"


def test_a_digest_is_of_names_below_the_folder_and_contents_in_order(tmp_path):
    (tmp_path / "a").mkdir()
    one, two = tmp_path / "a" / "1.txt", tmp_path / "2.txt"
    one.write_bytes(b"x")
    two.write_bytes(b"yy")
    expected = hashlib.sha256(
        b"a/1.txt\0" + hashlib.sha256(b"x").digest() + b"2.txt\0" + hashlib.sha256(b"yy").digest()
    ).hexdigest()
    assert digest_of(tmp_path, [one, two]) == expected != digest_of(tmp_path, [two, one])
    with pytest.raises(DataError, match="No such file"):
        digest_of(tmp_path, [tmp_path / "none"])
