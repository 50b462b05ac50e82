"""Issue 13, line 3: arrays that are content are whole or not there, whoever damages them and whatever the disk does."""

import errno
import json
import multiprocessing
import os

import numpy as np
import pytest
from typer.testing import CliRunner

from ptm.base import array_cache, cache, files
from ptm.base.array_cache import Content, load, save
from ptm.base.cache import entries, prune, verify
from ptm.cli.app import app
from ptm.errors import ModelError

IDENTITY = {"function": "f", "content": "abc"}
ABOUT = {"tokens": "a/model", "data": "csv:d", "split": "train"}
IDS = np.arange(100_000, dtype=np.int32)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def keep() -> str | None:
    return save(IDENTITY, ABOUT, Content({"ids": IDS, "none": np.empty(0, np.int64)}, {"cut": 3}))


def place(root):
    (found,) = (root / "data").iterdir()
    return found


def holds(content) -> bool:
    return content is not None and np.array_equal(content.arrays["ids"], IDS) and content.values == {"cut": 3}


def test_13_03_what_is_kept_comes_back_mapped_and_read_only(root):
    assert load(IDENTITY) is None and not root.exists()  # to look makes nothing
    assert keep() is None
    content = load(IDENTITY)
    assert holds(content) and content.arrays["none"].shape == (0,)
    assert not content.arrays["ids"].flags.writeable and isinstance(
        content.arrays["ids"].base, np.memmap | np.ndarray
    )
    assert load({**IDENTITY, "content": "abd"}) is None
    assert {path.name for path in root.iterdir()} == {"data"}


@pytest.mark.parametrize("name", ["ids.bin", "ids.crc", "layout.bin", "layout.crc", "identity.json"])
@pytest.mark.parametrize(
    "how", ["flipped", "shorter", "longer", "empty", "gone", "link", "fifo", "directory"]
)
def test_13_03_what_is_spoilt_counts_as_not_there_and_is_made_anew(root, name, how):
    keep()
    path = place(root) / name
    content = path.read_bytes()
    path.unlink()
    if how == "link":
        (root / "elsewhere").write_bytes(content)
        path.symlink_to(root / "elsewhere")
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    elif how != "gone":
        turned = bytes([content[0] ^ 1]) + content[1:]
        path.write_bytes(
            {"flipped": turned, "shorter": content[:-2], "longer": content + b"\0", "empty": b""}[how]
        )
    assert load(IDENTITY) is None
    problem = keep()
    if how in ("link", "fifo", "directory"):  # somebody put it there
        assert "what ptm did not write" in str(problem) and os.path.lexists(path)
    else:
        assert problem is None and holds(load(IDENTITY))


def test_13_03_verify_names_a_flipped_bit_and_prune_removes_what_no_run_uses(root):
    keep()
    (entry,) = entries(root)
    assert (entry.tokens, entry.teacher, entry.split) == ("a/model", "", "train")
    assert entry.blocks == entry.blocks_filled == 2 and verify(entry.path) == []
    content = load(IDENTITY)
    assert prune(root, 0) == 0 and holds(content)  # in use
    del content
    listed = CliRunner().invoke(app, ["cache", "list"])
    assert "tokens for a/model" in listed.output
    with (entry.path / "ids.bin").open("r+b") as file:
        file.write(b"\1")
    assert verify(entry.path) == ["ids: block 0 has changed since it was written"]
    assert isinstance(CliRunner().invoke(app, ["cache", "verify"]).exception, ModelError)
    assert prune(root, 0) > 0 and list((root / "data").iterdir()) == []


def test_13_03_what_a_kill_left_is_removed_by_prune_unless_somebody_writes_it(root):
    import fcntl

    keep()
    left = files.beside(root / "data" / "x")
    left.mkdir()
    (left / "ids.bin").write_bytes(b"abc")
    (left / "lock").touch()
    foreign = root / "data" / ".writing-mine"
    foreign.mkdir()
    with (left / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prune(root, 1e9)
        assert left.exists()
    prune(root, 1e9)
    assert not left.exists() and foreign.exists() and holds(load(IDENTITY))


@pytest.mark.parametrize("where", ["data", "entry"])
def test_13_03_no_link_is_followed(root, tmp_path, where):
    keep()
    mine = tmp_path / "mine"
    moved = place(root) if where == "entry" else root / "data"
    moved.rename(mine)
    moved.symlink_to(mine)
    before = sorted(path.name for path in mine.rglob("*"))
    assert load(IDENTITY) is None
    assert "a symbolic link" in str(keep())
    assert sorted(path.name for path in mine.rglob("*")) == before and moved.is_symlink()
    prune(root, 0)
    assert sorted(path.name for path in mine.rglob("*")) == before


def test_13_03_a_full_disk_is_a_line_and_leaves_nothing(root, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_pieces", full)
    assert "No space left on device" in str(keep())
    assert list((root / "data").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("PTM_CACHE", str(root))
    monkeypatch.setenv("PTM_CACHE_LIMIT_GB", "0")
    assert "there is no room" in str(keep())


def test_13_03_a_folder_that_cannot_be_written_is_a_line(root, monkeypatch):
    root.write_text("a file")
    assert keep() is not None and load(IDENTITY) is None
    monkeypatch.setattr(cache, "root_directory", cache.root_directory)
    monkeypatch.delenv("PTM_CACHE")
    monkeypatch.setenv("PTM_CACHE", "/proc/nowhere")
    assert keep() is not None and load(IDENTITY) is None


def _race(start, outcome):
    start.wait()
    for _ in range(20):
        problem = keep()
        if problem is not None or not holds(load(IDENTITY)):
            outcome.put(str(problem))
    outcome.put("done")


def test_13_03_two_processes_that_keep_the_same_at_once_are_fine(root):
    context = multiprocessing.get_context("fork")
    start, outcome = context.Event(), context.Queue()
    workers = [context.Process(target=_race, args=(start, outcome)) for _ in range(2)]
    for worker in workers:
        worker.start()
    start.set()
    said = [outcome.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert said == ["done", "done"] and holds(load(IDENTITY))
    assert len(list((root / "data").iterdir())) == 1
    assert json.loads((place(root) / "about.json").read_text()) == ABOUT
    assert array_cache.load(IDENTITY) is not None


def test_15_05_a_store_that_goes_while_all_are_listed_is_not_listed(root, monkeypatch):
    keep()
    path, real = place(root), cache.checksums

    def removing(file):
        sums = real(file)
        (path / "lock").unlink(missing_ok=True)  # as another process that prunes
        return sums

    monkeypatch.setattr(cache, "checksums", removing)
    assert entries(root) == []


def test_13_03_what_is_there_as_it_was_written_is_not_written_again(root):
    """Else it would be gone for a moment, for whoever looks for it then."""
    assert keep() is None
    written = place(root).stat().st_ino
    assert keep() is None and place(root).stat().st_ino == written
    next(place(root).glob("*.bin")).write_bytes(b"spoilt")
    assert keep() is None and place(root).stat().st_ino != written and holds(load(IDENTITY))
