"""Issue 15, line 5: of the cache, only what ptm stored is ever removed."""

import os

import numpy as np
import pytest
from typer.testing import CliRunner

from ptm.base.cache import DEFAULT_LIMIT, entries, holds_foreign, prune, room_for, size_limit, verify
from ptm.cli.app import app
from ptm.distill.store import Field, Store

BLOCKS = (np.array([1, 0]),)
FIELD = Field(name="logits", shape=(3,))
PRECIOUS = "years of work\n"


@pytest.fixture
def store(tmp_path):
    made = Store(
        tmp_path / "cache", {"weights": "a"}, BLOCKS, {"teacher": "t", "data": "d", "split": "train"}
    )
    shard = made.shard("fixed", FIELD)
    shard.write(0, list(np.ones((2, 3))))
    shard.sync()
    made.close()
    return made.path


def _foreign(root, name):
    folder = root / name
    folder.mkdir(parents=True)
    for file in ("lock", "thesis.tex", "logits.crc", "logits.bin"):
        (folder / file).write_text(PRECIOUS)
    return folder


@pytest.mark.parametrize("name", ["thesis", "a" * 32, "0123456789abcdef0123456789abcdef", ".git"])
@pytest.mark.parametrize("identity", [None, "{}", "[]", '{"weights": "a"}'])
def test_15_5_a_foreign_folder_is_not_removed(store, name, identity):
    """Whatever it is called, and whatever it has: its identity must have the digest that its name is."""
    folder = _foreign(store.parent, name)
    if identity is not None:
        (folder / "identity.json").write_text(identity)
    before = sorted(p.name for p in folder.iterdir())
    done = CliRunner().invoke(app, ["cache", "prune", "--all", "--store", str(store.parent)])
    assert done.exception is None
    assert not store.exists()
    assert sorted(p.name for p in folder.iterdir()) == before
    assert (folder / "thesis.tex").read_text() == PRECIOUS


def test_15_5_making_room_removes_no_foreign_folder(store, monkeypatch):
    folder = _foreign(store.parent, "f" * 32)
    monkeypatch.setenv("PTM_CACHE_LIMIT_GB", "0")
    assert not room_for(store.parent, 1000)
    assert not store.exists()
    assert (folder / "thesis.tex").read_text() == PRECIOUS


@pytest.mark.parametrize("inside", ["thesis.tex", "folder/thesis.tex", "notes.json", "mine.bin", "a.b.crc"])
def test_15_5_a_foreign_file_in_a_store_stays(store, inside):
    (store / inside).parent.mkdir(exist_ok=True)
    (store / inside).write_text(PRECIOUS)
    said: list[str] = []
    prune(store.parent, 0, said.append)
    assert (store / inside).read_text() == PRECIOUS
    assert any("did not write" in line for line in said)


def test_15_05_numbers_that_are_damaged_or_were_removed_in_part_are_still_ptm_s(store):
    parts = sorted(path.name for path in store.glob("*.fp32.*"))
    assert len(parts) == 3
    (store / parts[2]).write_text("torn")
    (store / parts[0]).unlink()
    (store / "layout.json").write_text(
        '{"ends": [8]}'
    )  # what a kill leaves of numbers that were being removed
    prune(store.parent, 0)
    assert "torn" in (store / parts[2]).read_text() and holds_foreign(store)
    (store / parts[2]).write_text('{"ends": [24]}')
    prune(store.parent, 0)
    assert not store.exists()


def test_15_5_a_link_is_not_a_store(store, tmp_path):
    outside = tmp_path / "elsewhere" / store.name
    outside.parent.mkdir()
    os.rename(store, outside)
    store.symlink_to(outside)
    assert entries(store.parent) == []
    prune(store.parent, 0)
    assert (outside / "identity.json").is_file()


def test_15_5_a_damaged_identity_is_named_by_verify_and_written_anew_when_it_is_used(store):
    (store / "identity.json").write_text("{")
    done = CliRunner().invoke(app, ["cache", "verify", "--store", str(store.parent)])
    assert "identity.json" in done.output
    prune(store.parent, 0)
    assert store.exists()
    Store(store.parent, {"weights": "a"}, BLOCKS, {}).close()
    prune(store.parent, 0)
    assert not store.exists()


@pytest.mark.parametrize(
    "name", ["lock", "identity.json", "about.json", "fixed.logits.fp32.crc", "fixed.logits.fp32.bin"]
)
@pytest.mark.parametrize("kind", ["pipe", "directory", "missing", "link"])
def test_15_5_a_store_with_something_else_in_it_is_one_line(store, name, kind):
    (store / name).unlink()
    if kind == "pipe":
        os.mkfifo(store / name)
    elif kind == "directory":
        (store / name).mkdir()
    elif kind == "link":
        (store / name).symlink_to("/etc/hostname")
    for words in (["list"], ["verify"], ["prune", "--all"]):
        done = CliRunner().invoke(app, ["cache", *words, "--store", str(store.parent)])
        assert done.exception is None or done.exception.exit_code == 3, done.exception


@pytest.mark.parametrize("ends", ["[1e999]", "[NaN]", "[-5]", '["x"]', "{}"])
def test_15_05_ends_of_blocks_that_are_none_are_damage(store, ends):
    for file in store.glob("*.crc"):
        file.with_suffix(".json").write_text(f'{{"ends": {ends}}}')
    assert any("damaged" in line or "another size" in line for line in verify(store))


@pytest.mark.parametrize("text", ["nan", "-1", "x"])
def test_15_05_a_limit_that_is_none_is_the_usual_one(monkeypatch, text):
    monkeypatch.setenv("PTM_CACHE_LIMIT_GB", text)
    assert size_limit() == DEFAULT_LIMIT
