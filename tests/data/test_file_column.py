"""Files as a column: paths, digests, selections, and what tells one set of images from another."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ptm.data.arrow import join, select, text_part
from ptm.data.file_column import Files, digest_below
from ptm.data.image_listing import list_images


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, content in {"a/1.png": b"one", "a/2.png": b"two", "b/3.tga": b"one"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def read(folder: Path) -> Files:
    return list_images(folder).hashed(folder)


def test_13_06_an_item_is_a_path_and_has_the_digest_of_its_bytes(folder):
    files = read(folder)
    assert list(files) == [folder / name for name in ("a/1.png", "a/2.png", "b/3.tga")]
    assert files[-1] == folder / "b" / "3.tga" and files[1:] == [folder / "a/2.png", folder / "b/3.tga"]
    assert [d.tobytes() for d in files.digests] == [hashlib.sha256(p.read_bytes()).digest() for p in files]
    assert files.sizes.tolist() == [3, 3, 3]


def test_13_06_the_digest_is_that_of_names_sizes_and_bytes(folder):
    sha = hashlib.sha256(b"label")
    for path in sorted(folder.rglob("*.*")):
        content = path.read_bytes()
        head = f"{path.relative_to(folder)}\0{len(content)}\0".encode()
        sha.update(head + hashlib.sha256(content).digest())
    assert digest_below(read(folder), "label") == sha.hexdigest()


def test_13_06_selections_and_joins_keep_paths_and_digests_together(folder):
    files = read(folder)
    some = select(files, np.array([2, 0]))
    assert isinstance(some, Files) and list(some) == [files[2], files[0]]
    assert some.digests.tolist() == files.digests[[2, 0]].tolist()
    both = join([some, files])
    assert isinstance(both, Files) and list(both) == [files[2], files[0], *files]
    assert both.digests.tolist() == [*some.digests.tolist(), *files.digests.tolist()]
    mixed = join([files, [b"bytes"]])
    assert isinstance(mixed, list) and mixed == [*files, b"bytes"]


def test_13_06_what_tells_images_apart_is_what_they_hold_and_that_a_name_says_tga(folder):
    files = read(folder)
    one, same, targa = (select(files, np.array([row])) for row in (0, 0, 2))
    assert one.digest == same.digest != targa.digest
    assert files.digest != select(files, np.array([1, 0, 2])).digest


def test_13_06_a_file_that_changed_or_went_is_seen(folder):
    files = read(folder)
    assert not files.changed()
    (folder / "a" / "1.png").write_bytes(b"eno")
    assert files.changed()
    (folder / "a" / "1.png").unlink()
    assert files.changed()


def test_13_06_names_may_be_empty_and_hold_any_character():
    names = [["", "ä/\ud800"], [], ["x"]]
    part = text_part(iter(names))
    assert part.texts(0, 3) == ["", "ä/\ud800", "x"] and part.digest != text_part([["", "ä/\ud800x"]]).digest
