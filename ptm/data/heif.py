"""HEIC and HEIF, as telephones write photos: read by pi-heif (extra ``heif``), the reader of pillow-heif without its
encoders; by pillow-heif where that is installed instead."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from io import BufferedIOBase
from pathlib import Path

from PIL import Image

from ptm.base.extras import install
from ptm.data.image_reading import Unfit

FORMAT = "HEIF"  # as Pillow calls it
_PACKAGES = ("pi_heif", "pillow_heif")
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_HEAD = 64  # bytes with the brands of a file


def is_heif(head: bytes) -> bool:
    """Whether the first bytes of a file are those of HEIC or HEIF, and not of AVIF (ISO/IEC 23008-12, 10.2)."""
    size = int.from_bytes(head[:4], "big")
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS and b"avif" not in head[8 : min(size, _HEAD)]


def prepare(source: Path | bytes | BufferedIOBase) -> bool:
    """Whether this is a file of HEIF, which Pillow can then open. Raises Unfit where no package reads it, OSError."""
    if not is_heif(_head(source)):
        return False
    if FORMAT not in Image.OPEN:
        package = next((name for name in _PACKAGES if find_spec(name) is not None), None)
        if package is None:
            raise Unfit(
                "is a HEIC image, and no package is installed that reads it",
                "JPEG, PNG or another common format, or the package pi-heif",
                install("heif"),
            )
        import_module(package).register_heif_opener()
    return True


def _head(source: Path | bytes | BufferedIOBase) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(_HEAD)
    if isinstance(source, bytes):
        return source[:_HEAD]
    at = source.tell()
    try:
        return source.read(_HEAD)
    finally:
        source.seek(at)
