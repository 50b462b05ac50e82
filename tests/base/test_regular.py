"""Regular files are opened and nothing else; whatever else stands there is named."""

import errno
import os
import socket
from pathlib import Path

import pytest

from ptm.base.regular import (
    NotRegular,
    endless,
    hindrance,
    kind_of,
    open_descriptor,
    open_regular,
    read_bytes,
    read_text,
    strays,
)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Name of a kind → a path at which one stands."""
    (tmp_path / "file").write_text("é")
    (tmp_path / "a directory").mkdir()
    (tmp_path / "a symbolic link").symlink_to("file")
    os.mkfifo(tmp_path / "a named pipe")
    with socket.socket(socket.AF_UNIX) as unix, monkeypatch.context() as patch:
        patch.chdir(tmp_path)  # a socket's path is at most 107 bytes
        unix.bind("a socket")
    return tmp_path


KINDS = ("a directory", "a symbolic link", "a named pipe", "a socket")


def test_what_stands_there(made, tmp_path):
    assert [kind_of(made / kind) for kind in KINDS] == list(KINDS)
    assert kind_of(made / "file") is None and kind_of(made / "nothing") is None
    (tmp_path / "dangling").symlink_to("nowhere")
    assert kind_of(tmp_path / "dangling") == "a symbolic link"
    assert kind_of(tmp_path.__class__("/dev/null")) == "a device"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_else_is_opened_in_any_mode(made, kind):
    for attempt in (
        lambda path: open_regular(path),
        lambda path: open_regular(path, "w"),
        lambda path: open_regular(path, "a"),
        lambda path: open_descriptor(path, os.O_RDONLY),
        read_bytes,
    ):
        with pytest.raises(NotRegular, match=f"is {kind}, not a regular file"):
            attempt(made / kind)
    assert (made / "file").read_text() == "é"


def test_a_link_that_is_put_there_after_the_look_is_not_followed(made, monkeypatch):
    monkeypatch.setattr("ptm.base.regular.kind_of", lambda path: None)
    with pytest.raises(OSError, match="symbolic link"):
        open_regular(made / "a symbolic link", "w")
    with pytest.raises(NotRegular, match="a named pipe"):  # and does not wait for its other end
        open_regular(made / "a named pipe")
    with pytest.raises(NotRegular, match="a named pipe"):
        open_descriptor(made / "a named pipe", os.O_RDONLY)
    assert (made / "file").read_text() == "é"


def test_a_regular_file_is_read_written_and_made(tmp_path):
    with open_regular(tmp_path / "new", "w", encoding="utf-8") as file:
        file.write("é\r\n")
    assert read_bytes(tmp_path / "new") == b"\xc3\xa9\r\n"
    assert read_text(tmp_path / "new") == "é\r\n"
    descriptor = open_descriptor(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert read_bytes(tmp_path / "other") == b"x"
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "nothing")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "latin")


def test_strays_are_found_at_any_depth_and_links_are_not_followed(made, tmp_path):
    outside = tmp_path / "a directory" / "inside"
    outside.mkdir()
    (outside / "deep").symlink_to(tmp_path)
    found = {(path.name, kind) for path, kind in strays(tmp_path)}
    assert found == {(kind, kind) for kind in KINDS[1:]} | {("deep", "a symbolic link")}
    assert list(strays(made / "a symbolic link")) == [(made / "a symbolic link", "a symbolic link")]
    assert list(strays(made / "file")) == list(strays(made / "nothing")) == []


def test_15_17_what_a_reader_would_wait_for(made, tmp_path):
    """Links are followed: what they lead to is read. A pipe that a shell hands over has somebody at its other end."""
    (tmp_path / "to_pipe").symlink_to(made / "a named pipe")
    assert endless(made / "a named pipe") == endless(tmp_path / "to_pipe") == "a named pipe"
    assert endless(Path("/dev/zero")) == "a device"
    assert (
        endless(tmp_path) is None and endless(tmp_path / "nothing") is None and endless(Path("a\0b")) is None
    )
    reading, writing = os.pipe()
    try:
        assert endless(Path(f"/dev/fd/{reading}")) is None
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("x"), None),
        (lambda path: path.mkdir(), "this is a folder, not a file"),
        (lambda path: path.symlink_to("/nowhere/x"), "is a link to /nowhere/x, which is not there"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: os.mkfifo(path), "is a named pipe, not a file"),
        (lambda path: None, "there is no such file"),
    ],
)
def test_what_keeps_a_file_from_being_read_is_said(tmp_path, make, said):
    make(tmp_path / "a")
    assert hindrance(tmp_path / "a") == said


def test_what_may_not_be_opened_and_names_that_no_file_has_are_said(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    assert hindrance(tmp_path / "a\0") == "there is no such file"
    monkeypatch.setattr(type(tmp_path), "open", denied)
    assert hindrance(tmp_path / "a") == "cannot be read: Permission denied"
