"""The body of a request to the values in it. Nothing is unpacked, nothing is written to a disk, no path is opened."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from ptm.base import strict_json
from ptm.errors import DataError, Problem, first_line
from ptm.serve.answers import Refused, busy, hung_up

Kind = Literal["json", "form", "image"]

_NEVER = 2**62  # bytes that no part of a form has: no part goes to a disk
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,40};base64,")
_BODY = "body"


class Room:
    """Bytes of bodies that may be held at once, over all requests."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """What holds so many more bytes until the end, as they come: who only announces bytes, or sends them slowly,
        takes no room from others. It raises Refused where there are none left."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if size > self._left:
                raise busy("too many bytes of requests are held already")
            self._left -= size
            held += size

        try:
            yield hold
        finally:
            self._left += held


def kind_of(headers: Mapping[str, str], *, images: bool) -> Kind:
    """What a body is, by its headers. Raises Refused, with 415."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        what = f"a body that is packed: {encoding[:40]}"
        raise hung_up(415, Problem(what, "Content-Encoding", "a body as it is", "send it without packing it"))
    name = headers.get("content-type", "").partition(";")[0].strip().lower()
    if name == "application/json":
        return "json"
    if images and name == "multipart/form-data":
        return "form"
    if images and (name.startswith("image/") or name == "application/octet-stream"):
        return "image"
    more = ", multipart/form-data, or the bytes of an image as image/…" if images else ""
    what = f"a body of type {name[:60]}" if name else "a body without a type"
    raise hung_up(415, Problem(what, "Content-Type", f"application/json{more}", "say what the body is"))


def refuse_announced(headers: Mapping[str, str], most: int) -> None:
    """Raises Refused, with 413, for a body that will be too large, where its headers say so."""
    said = headers.get("content-length", "")
    if said.isascii() and said.isdecimal() and (len(said) >= 20 or int(said) > most):
        raise _too_large(most)


async def read_body(request: Request, most: int, hold: Callable[[int], None]) -> bytes:
    """All of it; ``hold`` is told of each part. Raises Refused, with 413, as soon as there is too much."""
    body = bytearray()
    async for part in request.stream():
        if len(body) + len(part) > most:
            raise _too_large(most)
        hold(len(part))
        body += part
    return bytes(body)


def _too_large(most: int) -> Refused:
    cure = "send less at once; whoever runs the server sets the limit by --max-body"
    return hung_up(413, Problem("a body that is too large", _BODY, f"at most {most:,} bytes", cure))


def json_values(body: bytes, *, images: bool) -> list[Any]:
    """The list ``inputs`` of a JSON object; images decoded from base64. Raises Refused with 400, DataError."""
    try:
        content = strict_json.loads(body, parse_constant=_no_number)
    except ValueError as error:
        problem = Problem(f"not JSON: {first_line(error)}", _BODY, '{"inputs": [ … ]}', "correct the body")
        raise Refused(400, problem) from None
    expected = '{"inputs": [ … ]}, a list with at least one input'
    if not isinstance(content, dict) or "inputs" not in content:
        what = "an object without 'inputs'" if isinstance(content, dict) else "no JSON object"
        raise Refused(422, Problem(what, _BODY, expected), exit_code=DataError.exit_code)
    unknown = sorted(set(content) - {"inputs"})
    if unknown:
        problem = Problem(f"no such key: {unknown[0]!r:.60}", _BODY, expected, "leave it out")
        raise Refused(422, problem, exit_code=DataError.exit_code)
    values = content["inputs"]
    if not isinstance(values, list) or not values:
        what = "an empty list" if values == [] else f"no list: {values!r:.60}"
        raise Refused(422, Problem(what, "inputs", expected), exit_code=DataError.exit_code)
    return [_image_bytes(value, f"inputs[{n}]") for n, value in enumerate(values)] if images else values


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _image_bytes(value: Any, where: str) -> bytes:
    expected = 'an image file in base64, as a text or as {"image": "…"}'
    text = value.get("image") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise DataError(f"no image: {value!r:.60}", where=where, expected=expected)
    begin = _DATA_URL.match(text)
    try:
        return base64.b64decode(text[begin.end() if begin else 0 :], validate=True)
    except (binascii.Error, ValueError) as error:
        cure = "send the bytes of the file, not its name" if len(text) < 500 else "encode the file again"
        raise DataError(f"not base64: {error}", where=where, expected=expected, cure=cure) from None


def _last_boundary(headers: Headers) -> bytes:
    """What ends a form; nothing where its header names no boundary, which the parser says."""
    _, options = parse_options_header(headers.get("content-type", ""))
    return b"--" + options[b"boundary"] + b"--" if b"boundary" in options else b""


class _InMemory(MultiPartParser):
    spool_max_size = _NEVER


async def form_files(headers: Headers, body: bytes, most: int) -> list[bytes]:
    """The files of a form, in their order; other fields are refused. Raises Refused, with 400 or 422."""

    async def parts() -> AsyncGenerator[bytes, None]:
        yield body

    # The parser would leave a last part out, silently.
    if _last_boundary(headers) not in body:
        problem = Problem(
            "a form that is cut off, or none", _BODY, "its boundary with -- behind it", "curl -F image=@FILE"
        )
        raise Refused(400, problem)
    try:
        form = await _InMemory(headers, parts(), max_files=most, max_fields=most).parse()
    except Exception as error:  # the parsers of forms have no common error
        what = f"not multipart/form-data: {first_line(error)}"
        raise Refused(400, Problem(what, _BODY, "a file a part", "curl -F image=@FILE")) from None
    others = [name for name, value in form.multi_items() if not isinstance(value, UploadFile)]
    files = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    await form.close()
    if others or not files:
        what = f"the field {others[0]!r:.60} is no file" if others else "a form without a file"
        problem = Problem(what, _BODY, "a file a part", "curl -F image=@FILE")
        raise Refused(422, problem, exit_code=DataError.exit_code)
    return files
