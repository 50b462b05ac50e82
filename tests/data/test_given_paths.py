"""What a data set names, or holds, in the place of files."""

import os

import pytest

from ptm.data.drawings import read_labelme
from ptm.data.given_paths import is_file, is_folder, read_file, read_text_file
from ptm.data.mask_colors import read_colors
from ptm.errors import DataError


def spoil(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "nowhere": "/no/such/file"}[kind])


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "nowhere"])
def test_15_17_what_is_no_file_is_refused_and_not_waited_for(tmp_path, kind):
    spoil(tmp_path / "a.json", kind)
    spoil(tmp_path / "colors.txt", kind)
    with pytest.raises(DataError) as caught:
        read_labelme(tmp_path, None)
    assert "a.json" in caught.value.problems[0].where
    with pytest.raises(DataError) as caught:
        read_colors(str(tmp_path / "colors.txt"))
    assert "colors.txt" in caught.value.problems[0].where and caught.value.problems[0].cure


def test_15_17_a_name_that_no_file_can_have_is_none(tmp_path):
    for name in ("a" * 5_000, "a\0b"):
        assert not is_file(tmp_path / name) and not is_folder(tmp_path / name)
        with pytest.raises(DataError, match="cannot be read"):
            read_file(tmp_path / name)
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\xe9")
    with pytest.raises(DataError, match="cannot be read"):
        read_text_file(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfab")
    assert read_text_file(tmp_path / "a.txt") == "ab" and is_file(tmp_path / "a.txt")
