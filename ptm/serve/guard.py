"""What stands before the application: who may ask, what every answer says of itself, and what becomes of a bug."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ptm.errors import Problem, PtmError
from ptm.serve.answers import Refused, refused

# Nothing of this server is for other sites; a page says itself what it may load.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_NO_CONTENT = "default-src 'none'; frame-ancestors 'none'"
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(?P<host>[^/]+)", re.IGNORECASE)
_LOCAL = ("localhost", "127.0.0.1", "::1")


def host_of(value: str) -> str:
    """The name in a ``Host`` header, without its port, in small letters; "" for what is none."""
    match = _HOST.fullmatch(value)
    return match["name"].strip("[]").lower() if match else ""


def known_hosts(host: str, more: tuple[str, ...], *, loopback: bool) -> frozenset[str] | None:
    """Names under which the server may be called; None: any. On a loopback address a page of the internet could
    otherwise ask it under a name of its own, which it has lead here (DNS rebinding)."""
    if not (loopback or more):
        return None
    return frozenset(name.lower() for name in (*_LOCAL, host, *more))


class Guard:
    """ASGI. ``hosts``: as :func:`known_hosts` gives them; ``answered`` is told path, status and seconds of each
    request; ``say`` of what is a bug."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str] | None,
        answered: Callable[[str, int, float], None],
        say: Callable[[str], None],
    ) -> None:
        self._app, self._hosts, self._answered, self._say = app, hosts, answered, say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", _NO_CONTENT)
            await send(message)

        try:
            try:
                self._require_welcome(scope)
                scope["app"] = self  # or its router would answer by itself where nothing is
                await self._app(scope, receive, guarded)
            except ClientDisconnect:
                status = 499  # as nginx counts who has gone
            except Exception as error:
                if status:
                    raise
                await self._refusal(error, scope).response()(scope, receive, guarded)
        finally:
            self._answered(scope["path"], status, time.perf_counter() - begun)

    def _refusal(self, error: Exception, scope: Scope) -> Refused:
        if isinstance(error, Refused):
            return error
        if isinstance(error, HTTPException):
            what = "no such page" if error.status_code == 404 else f"{scope['method']:.20} is not served here"
            return Refused(error.status_code, Problem(what, scope["path"][:200]), headers=error.headers)
        if isinstance(error, PtmError):
            return refused(error)
        what = f"a bug of ptm's: {type(error).__name__}: {error}"
        self._say(f"warning: {what}")
        return Refused(500, Problem("a bug of ptm's", cure="please report it"), exit_code=1)

    def _require_welcome(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        name = host_of(headers.get("host", ""))
        if self._hosts is not None and name not in self._hosts:
            cure = f"ask it under that name, or start it with --allow-host {name}" if name else ""
            raise Refused(
                421,
                Problem(
                    f"this server is not called {headers.get('host', '')!r:.80}",
                    "Host",
                    ", ".join(sorted(self._hosts)),
                    cure,
                ),
            )
        if scope["method"] in ("GET", "HEAD"):
            return
        origin = headers.get("origin")
        match = _ORIGIN.fullmatch(origin or "")
        own = match is not None and match["host"].lower() == headers.get("host", "").lower()
        foreign = origin is not None and not own
        if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Refused(
                403,
                Problem(
                    f"a page of another site asks: {origin!r:.80}",
                    "Origin",
                    "a page of this server, or a program",
                    "let the server of that site ask",
                ),
            )
