"""Digests of files are remembered as long as the files are the same, and never beyond."""

import hashlib
import io
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.base import array_cache, cache
from ptm.data import file_digests
from ptm.data.file_column import Files
from ptm.data.image_files import read_imagefolder
from ptm.data.image_listing import list_images
from ptm.data.yolo import read_yolo

COUNT = 300  # files: fewer are not worth keeping
HOUR = 3600


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PTM_HASH_ALL", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"{number:03d}.png").write_bytes(b"%03d" % number)
    return folder


@pytest.fixture
def later(monkeypatch):
    """An hour on: what was written before can be told from what is written at the same time as it is read."""
    now = time.time_ns
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: now() + HOUR * 10**9)


@pytest.fixture
def was_read(monkeypatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    read = file_digests._read
    monkeypatch.setattr(file_digests, "_read", lambda path: names.append(path.name) or read(path))
    return names


def digests(folder: Path) -> np.ndarray:
    files = list_images(folder).hashed(folder)
    expected = [hashlib.sha256(path.read_bytes()).digest() for path in files]
    assert [digest.tobytes() for digest in files.digests] == expected
    return files.digests


def test_13_06_files_that_are_remembered_are_not_read_again(folder, later, was_read):
    before = digests(folder)
    assert len(was_read) == COUNT
    was_read.clear()
    assert np.array_equal(digests(folder), before) and not was_read
    (folder / "new.png").write_bytes(b"new")
    digests(folder)
    assert was_read == ["new.png"]


def test_13_06_a_file_that_was_just_written_is_read_again(folder, was_read):
    digests(folder)
    digests(folder)
    assert len(was_read) == 2 * COUNT


def test_13_06_other_content_of_the_same_size_is_seen_though_the_time_was_set_back(folder, later, was_read):
    digests(folder)
    was_read.clear()
    path = folder / "007.png"
    before = path.stat()
    path.write_bytes(b"700")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    digests(folder)
    assert was_read == ["007.png"]


def test_13_06_a_file_in_the_place_of_another_is_seen(folder, later, was_read):
    digests(folder)
    was_read.clear()
    path = folder / "007.png"
    before = path.stat()
    (folder / "aside").write_bytes(b"700")
    os.utime(folder / "aside", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "aside").replace(path)
    digests(folder)
    assert was_read == ["007.png"]


def test_13_06_of_links_the_files_count_that_they_lead_to(folder, tmp_path, later, was_read):
    (folder / "007.png").rename(tmp_path / "target")
    (folder / "007.png").symlink_to(tmp_path / "target")
    digests(folder)
    was_read.clear()
    digests(folder)
    assert not was_read
    before = (tmp_path / "target").stat()
    (tmp_path / "target").write_bytes(b"700")
    os.utime(tmp_path / "target", ns=(before.st_atime_ns, before.st_mtime_ns))
    digests(folder)
    assert was_read == ["007.png"]


def test_13_06_a_name_that_leads_to_another_file_gets_that_ones_digest(folder, later):
    digests(folder)
    (folder / "000.png").rename(folder / "aside")
    (folder / "001.png").rename(folder / "000.png")
    (folder / "aside").rename(folder / "001.png")
    digests(folder)


@pytest.mark.parametrize("name", ["files.bin", "files.crc", "layout.bin", "identity.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_13_06_what_is_spoilt_is_not_believed_and_written_anew(folder, root, later, was_read, name, how):
    digests(folder)
    (store,) = (root / "data").iterdir()
    content = bytearray((store / name).read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        (store / name).unlink()
    else:
        (store / name).write_bytes(content if how == "flipped" else content[:-5])
    was_read.clear()
    digests(folder)
    assert len(was_read) == COUNT
    was_read.clear()
    digests(folder)
    assert not was_read


def test_13_06_rows_of_another_form_are_not_believed(folder, later, was_read):
    identity = file_digests._identity(folder)
    array_cache.save(identity, {}, array_cache.Content({"files": np.zeros((3, 5), np.uint8)}, {}))
    digests(folder)
    assert len(was_read) == COUNT


def test_13_06_a_cache_that_cannot_be_written_costs_time_alone(
    folder, tmp_path, later, was_read, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "file"))
    digests(folder)
    digests(folder)
    assert len(was_read) == 2 * COUNT


def test_13_06_ptm_hash_all_reads_all_and_keeps_nothing(folder, root, later, was_read, monkeypatch):
    digests(folder)
    monkeypatch.setenv("PTM_HASH_ALL", "1")
    was_read.clear()
    digests(folder)
    assert len(was_read) == COUNT
    assert len(cache.entries(root)) == 1


def test_13_06_ptm_cache_lists_verifies_and_prunes_them(folder, root, later, was_read):
    digests(folder)
    (entry,) = cache.entries(root)
    assert entry.what == "digests of 300 files in images" and not cache.verify(entry.path)
    assert cache.prune(root, 0) > 0 and not cache.entries(root)
    digests(folder)
    assert len(was_read) == 2 * COUNT


def _many_times(folder: Path, root: Path, failed) -> None:
    for _ in range(8):
        try:
            digests(folder)
            cache.prune(root, 0)
        except BaseException:
            failed.set()
            raise


def test_13_06_processes_that_keep_and_remove_them_at_once_get_those_of_the_files(folder, root, later):
    context = multiprocessing.get_context("fork")
    failed = context.Event()
    processes = [context.Process(target=_many_times, args=(folder, root, failed)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert not failed.is_set() and all(process.exitcode == 0 for process in processes)
    digests(folder)


def test_13_06_the_digest_of_the_data_is_the_same_from_the_cache(folder, later, was_read, monkeypatch):
    for name in ("a", "b"):
        (folder / name).mkdir()
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        path.rename(folder / "ab"[number % 2] / path.name)
    first = read_imagefolder(folder, None, "")
    assert isinstance(first.columns["image"], Files)
    was_read.clear()
    second = read_imagefolder(folder, None, "")
    assert not was_read
    monkeypatch.setenv("PTM_HASH_ALL", "1")
    assert first.digest == second.digest == read_imagefolder(folder, None, "").digest
    assert len(was_read) == COUNT


def test_13_06_no_split_of_yolo_forgets_the_digests_of_another(tmp_path, later, was_read):
    for number in range(2 * COUNT):
        path = tmp_path / f"yolo/images/{('train', 'val')[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        Image.new("RGB", (4, 4), (number % 256, number // 256, 0)).save(content, "PNG")
        path.write_bytes(content.getvalue())
    (tmp_path / "yolo/data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    before = [read_yolo(tmp_path / "yolo", split, None).digest for split in ("train", "val")]
    was_read.clear()
    assert [read_yolo(tmp_path / "yolo", split, None).digest for split in ("train", "val")] == before
    assert not was_read
