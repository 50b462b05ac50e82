"""When two image files are one picture: by what is shown, not by how it was written."""

from __future__ import annotations

import hashlib
import io
import warnings

from PIL import Image

# Without loss, so that the same pixels can be written in many ways; programs for others would be started by Pillow.
_LOSSLESS = ("PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_MOST_PIXELS = 89_478_485  # Pillow's own threshold, where it only warns
_JPEG = b"\xff\xd8"
_SCAN = 0xDA  # the marker before the compressed pixels
_APPLICATIONS, _COMMENT = range(0xE0, 0xF0), 0xFE  # markers of what is said about the pixels
_ADOBE = 0xEE  # says what the channels mean
_ORIENTATION = 0x0112  # EXIF


def picture_digest(content: bytes, page: int | None = None) -> bytes:
    """SHA-256 that is the same for files that show the same on ``page``, the first one where none is chosen.

    Of a JPEG without what is said about it (EXIF but its orientation, comments, thumbnails): nothing is decoded then;
    of other formats over the pixels, for they are compressed in many ways. Of a file that cannot be decoded, over its
    bytes: whoever reads the image says so.
    """
    try:
        if content[:2] == _JPEG and not page:
            with Image.open(io.BytesIO(content), formats=("JPEG", "MPO")) as image:
                turned = image.getexif().get(_ORIENTATION, 1)
            return hashlib.sha256(b"jpeg%d" % turned + _without_remarks(content)).digest()
        return _pixel_digest(content, page or 0)
    except Exception:  # a broken file can raise anything
        return hashlib.sha256(content).digest()


def _without_remarks(content: bytes) -> bytes:
    """A JPEG without the segments that change no pixel. Raises ValueError for what is none."""
    kept: list[bytes] = []
    at = len(_JPEG)
    while content[at] == 0xFF:
        marker, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _SCAN:
            return b"".join(kept) + content[at:]
        if marker == _ADOBE or (marker not in _APPLICATIONS and marker != _COMMENT):
            kept.append(content[at : at + 2 + size])
        at += 2 + size
    raise ValueError("no segment of a JPEG")


def _pixel_digest(content: bytes, page: int) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=_LOSSLESS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError("too many pixels")
            image.seek(page)
            if image.width * image.height > _MOST_PIXELS:  # pages may differ
                raise ValueError("too many pixels")
            turned = image.getexif().get(_ORIENTATION, 1)
            # More than 8 bits a channel are kept as they are.
            deep = image.mode.startswith(("I", "F"))
            pixels = (image if deep else image.convert("RGBA")).tobytes()
            head = f"{image.size} {image.mode if deep else 'RGBA'} {turned}"
    return hashlib.sha256(head.encode() + pixels).digest()
