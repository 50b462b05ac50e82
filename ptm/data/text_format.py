"""How files of text are written: what a config says of them, and what their bytes say otherwise."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
import shlex
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ptm.config.data_section import DataSpec
from ptm.data.packed import is_packed, unpacked, unpacked_stream, unpacking
from ptm.errors import DataError

UTF8 = "utf-8"
ROWS, LINES = "a header row and rows, or JSON objects", "a text a line"  # what is expected of a file
# First bytes of files that are no text: what they are, and what makes a text of them.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip archive", "unpack it: gunzip -k {name}"),
    (b"BZh", "a bzip2 archive", "unpack it: bunzip2 -k {name}"),
    (b"\xfd7zXZ", "an xz archive", "unpack it: unxz -k {name}"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it: unzstd {name}"),
    (
        b"PK\x03\x04",
        "a zip archive, or a workbook of Excel",
        "a workbook: write xlsx: in data.source; an archive: unpack it",
    ),
    (b"PAR1", "a parquet file", "write parquet: in data.source, or name it .parquet"),
    (b"\xd0\xcf\x11\xe0", "a workbook of Excel", "export the sheet as CSV"),
    (b"%PDF", "a PDF", "take its text out first"),
)
_ISO_8859 = ("iso8859-1", "iso8859-15")
_SINGLE_BYTE = (*_ISO_8859, "cp1252")
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"  # of byte order
_BLOCK = 2**22  # bytes read at a time
_BEGINNING = 2000  # bytes that show an order
_WINDOWS = bytes(range(0x80, 0xA0))  # control characters in ISO-8859-1, letters and quotes in Windows-1252


@dataclass(frozen=True)
class TextFormat:
    """What ``data:`` says of its files; None where it says nothing, and the kind of the file decides."""

    delimiter: str | None = None
    quoting: str | None = None
    encoding: str | None = None
    header: bool | None = None
    columns: tuple[str, ...] | None = None
    sheet: str | None = None

    @classmethod
    def of(cls, data: DataSpec, kind: str | None = None) -> TextFormat:
        """That of a config, for files of the ``kind`` of its source (default); nothing for those of another."""
        if kind is not None and kind != data.source.partition(":")[0]:
            return cls()
        return cls(data.delimiter, data.quoting, data.encoding, data.header, data.columns, data.sheet)

    def dialect(self, usual: Mapping[str, Any]) -> dict[str, Any]:
        """Options of ``csv.reader``; ``usual``: those of the kind of file."""
        options = dict(usual)
        if self.delimiter is not None:
            options["delimiter"] = self.delimiter
        if self.quoting == "none":
            options |= {"quoting": csv.QUOTE_NONE, "strict": False}
        elif self.quoting == "standard":
            options |= {"quoting": csv.QUOTE_MINIMAL, "strict": True}
        return options

    @property
    def first_row_is_header(self) -> bool:
        return self.columns is None if self.header is None else self.header

    @property
    def codec(self) -> str:
        """The name of the encoding, as Python has it; "utf-8" takes a byte order mark as well."""
        return codecs.lookup(self.encoding or UTF8).name


def read_text(path: Path, holds: str = ROWS, text_format: TextFormat | None = None) -> tuple[str, str]:
    """The text of a file and the SHA-256 of its bytes. Raises DataError for what is no text in its encoding."""
    codec = (text_format or TextFormat()).codec
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    unpacked_raw = unpacked(raw, path) if is_packed(path) else raw
    refuse_other_kinds(unpacked_raw[:16], path, codec)
    content = unpacked_raw.removeprefix(codecs.BOM_UTF8) if codec == UTF8 else unpacked_raw
    _refuse_utf8(content, path, codec)
    _refuse_windows(content, path, codec)
    try:
        text = content.decode(codec).removeprefix(_MARK)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise undecoded(content[error.start], content, path, line, codec) from None
    if "\0" in text:
        raise has_nul(path, text[: text.index("\0")].count("\n") + 1, text)
    if not text.strip():
        raise is_empty(path, holds)
    return text, hashlib.sha256(raw).hexdigest()


@contextmanager
def opened_text(
    path: Path, holds: str = ROWS, text_format: TextFormat | None = None, *, newline: str = ""
) -> Iterator[tuple[Iterator[str], str]]:
    """(lines with their ends, SHA-256 of the bytes) of a file of any size, as :func:`read_text` has them all at once;
    ``newline`` as of ``open()``. What is no text in its encoding is refused before the first line, with the same words.
    """
    codec = (text_format or TextFormat()).codec
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    with file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not _is_text(_content(file, path), codec):
            text, digest = read_text(path, holds, text_format)  # which says why
            yield io.StringIO(text, newline=newline), digest  # UTF-16 without a mark, which no stream takes
            return
        with suppress(UnicodeError):  # there was none when it was looked at
            yield _lines(_content(file, path), path, codec, newline), digest
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                return
        raise DataError("the file was changed while it was read", where=path, cure="try it again")


def _content(file: BinaryIO, path: Path) -> BinaryIO:
    """What is in it, from the beginning."""
    file.seek(0)
    return unpacked_stream(file, path) if is_packed(path) else file


def _is_text(content: BinaryIO, codec: str) -> bool:
    """Whether :func:`read_text` finds nothing to refuse."""
    decoder = codecs.getincrementaldecoder(codec)()
    utf8 = codecs.getincrementaldecoder(UTF8)() if codec in _SINGLE_BYTE else None
    ascii_only, shows = True, False
    try:
        block = content.read(_BLOCK)
        refuse_other_kinds(block[:16], "-", codec)
        while block:
            text = decoder.decode(block)
            if "\0" in text or (codec in _ISO_8859 and _has_controls(block)):
                return False
            shows = shows or bool(text.strip().strip(_MARK))
            if utf8 is not None:
                ascii_only = ascii_only and block.isascii()
                utf8 = utf8 if _goes_on(utf8, block) else None
            block = content.read(_BLOCK)
        decoder.decode(b"", final=True)
        is_utf8 = utf8 is not None and not ascii_only and _goes_on(utf8, b"", final=True)
    except (DataError, UnicodeError, EOFError, OSError, zlib.error):
        return False
    return shows and not is_utf8


def _goes_on(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _lines(content: BinaryIO, path: Path, codec: str, newline: str) -> Iterator[str]:
    with unpacking(path):
        lines = io.TextIOWrapper(content, encoding=codec, newline=newline)
        try:
            first = next(lines, "").removeprefix(_MARK)
            if first:
                yield first.removeprefix(_MARK) if codec == UTF8 else first
            yield from lines
        finally:
            with suppress(ValueError):  # it was closed before
                lines.detach()  # whoever opened it closes it


def _refuse_utf8(content: bytes, path: Path, codec: str) -> None:
    """DataError for UTF-8 that is to be read as an encoding of one byte a character: every byte is something there, so
    that it would come out as other letters, and nobody would be told."""
    if codec not in _SINGLE_BYTE or content.isascii():
        return
    try:
        content.decode(UTF8)
    except UnicodeDecodeError:
        return
    line = content[: next(i for i, byte in enumerate(content) if byte > 0x7F)].count(b"\n") + 1
    cure = "take data.encoding away; of several files, convert one: iconv"
    raise DataError(
        f"this is UTF-8, not {codec}", where=f"{path}:{line}", expected=f"text in {codec}", cure=cure
    )


def _refuse_windows(content: bytes, path: Path, codec: str) -> None:
    """DataError for Windows-1252 that is to be read as ISO-8859: its quotes and dashes would be control characters."""
    if codec not in _ISO_8859 or not _has_controls(content):
        return
    place = next(i for i, byte in enumerate(content) if byte in _WINDOWS)
    raise _wrong_encoding(
        f"byte 0x{content[place]:02x} is a control character in {codec}",
        f"{path}:{content[:place].count(10) + 1}",
        path,
        "WINDOWS-1252",
        codec,
    )


def _has_controls(content: bytes) -> bool:
    return len(content.translate(None, _WINDOWS)) < len(content)


def refuse_other_kinds(first: bytes, path: object, codec: str = UTF8) -> None:
    """DataError for files that are no text, by their first bytes, and for UTF-16 where nobody says so."""
    for magic, what, cure in _MAGIC:
        if first.startswith(magic):
            name = shlex.quote(str(path))
            raise DataError(f"this is {what}", where=path, expected="text", cure=cure.format(name=name))
    if codec == UTF8 and first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _wrong_encoding("the file is in UTF-16", path, path, "UTF-16")


def undecoded(byte: int, context: bytes, path: object, line: int, codec: str = UTF8) -> DataError:
    """For a byte that the encoding does not have. ``context``: bytes of the file, or of the line."""
    encoding = "ISO-8859-1"
    if any(other in context for other in _WINDOWS):
        encoding = "WINDOWS-1252"
        try:
            context.decode("cp1252")
        except UnicodeDecodeError:
            encoding = ""
    encoding = _wide(context[:_BEGINNING]) or encoding
    codec_name = "UTF-8" if codec == UTF8 else codec
    return _wrong_encoding(
        f"byte 0x{byte:02x} is not {codec_name}", f"{path}:{line}", path, encoding, codec_name
    )


def _wide(beginning: bytes) -> str:
    """UTF-16, by the order of its bytes, of what holds a 0 in every second one, as the letters of most languages do; ""
    of anything else."""
    first, second = beginning[::2].count(0), beginning[1::2].count(0)
    if 3 * (first + second) <= len(beginning):
        return ""
    return "UTF-16BE" if first > second else "UTF-16LE"


def has_nul(path: object, line: int, text: str = "") -> DataError:
    wide = _wide(text[:_BEGINNING].encode("latin-1", "replace"))
    cure = "is this a text file?"
    if wide:
        cure = f"it seems to be UTF-16 without a mark: --set data.encoding=utf-16-{wide[-2:].lower()}"
    return DataError("a NUL character", where=f"{path}:{line}", expected="plain text", cure=cure)


def is_empty(path: object, expected: str) -> DataError:
    """``path``: of a file, or the name of a stream."""
    what = "the file is empty" if isinstance(path, Path) else "it is empty"
    return DataError(what, where=path, expected=expected)


def _wrong_encoding(
    what: str, where: object, path: object, encoding: str, expected: str = "UTF-8"
) -> DataError:
    if not encoding:
        cure = "whoever wrote the file knows its encoding: data.encoding, or save it as UTF-8"
        return DataError(what, where=where, expected=f"text in {expected}", cure=cure)
    source = Path(str(path))
    target = source.with_name(f"utf8_{source.name}")
    command = f"iconv -f {encoding} -t UTF-8 {shlex.quote(str(source))} > {shlex.quote(str(target))}"
    cure = f"say so: --set data.encoding={encoding.lower()}; or convert it: {command}"
    return DataError(what, where=where, expected=f"text in {expected}", cure=cure)
