"""Files are there whole or not at all; a sealed directory tells what was changed."""

import errno
import os

import pytest

from ptm.base import files
from ptm.errors import StorageError


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "step-000001"
    with pytest.raises(RuntimeError), files.new_directory(target) as aside:
        (aside / "a").write_text("half")
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []
    with files.new_directory(target) as aside:
        (aside / "a").write_text("whole")
    with pytest.raises(RuntimeError), files.new_directory(target) as aside:
        (aside / "a").write_text("half")
        raise RuntimeError("killed")
    assert (target / "a").read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_debris_of_a_kill_is_mended(tmp_path):
    """Cut off between the two renames: the old one comes back; cut off while writing: the part goes."""
    (tmp_path / ".replaced-0123456789abcdef-model").mkdir()
    (tmp_path / ".replaced-0123456789abcdef-model" / "a").write_text("old")
    files.beside(tmp_path / "model").mkdir()
    files.beside(tmp_path / "results.json").write_text("{")
    files.clear_debris(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "old"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: (d / "w").write_bytes(b"\1" + (d / "w").read_bytes()[1:]), "w has changed"),
        (lambda d: os.truncate(d / "w", 10), "w has 10 bytes instead of 1,000"),
        (lambda d: (d / "w").unlink(), "w is missing"),
        (lambda d: (d / "w").write_bytes(bytes(1000)), "w has changed"),
        (lambda d: (d / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda d: (d / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (
            lambda d: (d / "manifest.json").write_text('{"files": {"../../x": {"bytes": 1, "sha256": ""}}}'),
            "leads out",
        ),
        (lambda d: ((d / "w").unlink(), (d / "w").symlink_to("/etc/hostname")), "w is a symbolic link"),
    ],
)
def test_every_damage_is_named(tmp_path, damage, said):
    (tmp_path / "w").write_bytes(
        (bytes(range(256)) * 4)[:1000]
    )  # the first byte is none that a damage writes
    files.seal(tmp_path)
    assert files.broken_seal(tmp_path) is None
    damage(tmp_path)
    assert said in files.broken_seal(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_says_why(tmp_path, monkeypatch):
    target = tmp_path / "results.json"
    files.write_json(target, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        files.write_json(target, {"a": 2})
    assert target.read_text() == '{\n  "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.ENOTDIR, "a part of the path is a file"),
        (errno.ENOENT, "is not there and cannot be made"),
        (errno.EACCES, "where you may write"),
        (errno.EIO, "choose another --output; what was saved before is intact"),
    ],
)
def test_the_cure_suits_the_kind_of_error(tmp_path, number, said):
    with pytest.raises(StorageError) as caught, files.storage_errors(tmp_path / "x"):
        raise OSError(number, os.strerror(number))
    assert said in caught.value.problems[0].cure
    assert ("space" in caught.value.problems[0].cure) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_pieces_are_hashed_as_they_are_written(tmp_path):
    written = files.write_pieces(tmp_path / "w", [b"abc", memoryview(b"de"), b""])
    assert (tmp_path / "w").read_bytes() == b"abcde"
    assert written == {"bytes": 5, "sha256": files.file_digest(tmp_path / "w")}
    (tmp_path / "other").write_bytes(b"x")
    files.seal(tmp_path, {"w": written})
    assert files.broken_seal(tmp_path) is None
