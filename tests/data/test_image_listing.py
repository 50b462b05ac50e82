"""Which files of a folder are images, in which order, and what the system says of them."""

import os
from pathlib import Path

import numpy as np
import pytest

from ptm.data.image_listing import has_image_name, list_images
from ptm.errors import DataError

NAMES = ("a/b/1.png", "a/b.png", "a/b-c/2.PNG", "a/Ä.jpg", "a/z/y/x/3.tga", "c/4.webp", "c/5.png")


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "data"
    others = ("a/notes.txt", "a/.hidden.png", "a/.git/6.png", "__MACOSX/7.png", "c/__MACOSX/8.png", "c/png")
    for number, name in enumerate((*NAMES, *others)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * number)
    (root / "c" / "d.png").mkdir()  # a folder
    (root / "c" / "9.png").symlink_to(root / "a" / "b.png")
    return root


def test_13_06_images_stand_in_the_order_of_their_paths(folder):
    listed = list_images(folder, ["a", "c"])
    there = [folder / name for name in listed.names]
    assert there == sorted(folder / name for name in (*NAMES, "c/9.png"))
    assert listed.counts == (5, 3)
    assert [facts["size"] for facts in listed.facts] == [path.stat().st_size for path in there]
    assert [facts["inode"] for facts in listed.facts] == [path.stat().st_ino for path in there]
    assert list(list_images(folder / "a").names) == [name[2:] for name in listed.names[:5]]


def test_13_06_an_empty_folder_and_names_that_are_no_utf_8(tmp_path):
    listed = list_images(tmp_path)
    assert (len(listed.names), len(listed.facts), listed.counts) == (0, 0, (0,))
    name = os.fsdecode(b"\xff\xfe.png")
    (tmp_path / name).write_bytes(b"x")
    listed = list_images(tmp_path)
    assert list(listed.names) == [name]
    assert [path.read_bytes() for path in listed.hashed(tmp_path)] == [b"x"]


def test_13_06_what_is_called_like_an_image_and_is_none_is_refused(folder):
    (folder / "a" / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "a" / "pipe.png")
    with pytest.raises(DataError) as caught:
        list_images(folder, ["a", "c"])
    assert [Path(problem.where).name for problem in caught.value.problems] == ["gone.png", "pipe.png"]
    (folder / "a" / "round").symlink_to(folder / "a")
    with pytest.raises(DataError, match="a link to a folder"):
        list_images(folder, ["a", "c"])


def test_13_06_names_of_images_are_told_by_their_end():
    names = ["a.png", "a.b.JPEG", ".png", "._a.png", "a.", "png", "a.png ", "a.txt", "__MACOSX"]
    assert [has_image_name(name) for name in names] == [True, True, *[False] * 7]
    assert np.all([has_image_name(f"a{Path(name).suffix}") for name in names[:2]])
