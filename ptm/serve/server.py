"""The sockets: where the server listens, how long a connection may keep it waiting, and how it ends.

SIGTERM, Ctrl-C and a hang-up end it in order: nothing new is taken, what was begun is answered. A second signal ends it
at once.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ptm.base.signals import StopFlag, stop_signals
from ptm.errors import ConfigError

HEADER_SECONDS = 10.0  # for the headers of a request, and for each pause of a client that is to read
_KEEP_ALIVE_SECONDS = 5
_CONNECTIONS = 400  # more are told to come back; a process has 1,024 open files as a rule
_MOST_CONNECTIONS = 600  # more are not told anything


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at that address; nothing accepts yet. Raises ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        place = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"no address of this machine: {host!r}: {error.strerror}",
            where="--host",
            cure="leave it out, or name an address of this machine",
        ) from None
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
        place.listen()  # only now is it sure that nobody else does; who comes early waits
    except OSError as error:
        place.close()
        port_only = error.errno in (errno.EADDRINUSE, errno.EACCES)
        raise ConfigError(
            f"cannot listen at {host}:{port}: {error.strerror or error}",
            where="--port" if port_only else "--host",
            cure="choose another port, or 0 for any that is free" if port_only else "name another address",
        ) from None
    return place


def is_loopback(place: socket.socket) -> bool:
    return ipaddress.ip_address(place.getsockname()[0].partition("%")[0]).is_loopback


def address_of(place: socket.socket) -> str:
    """``http://127.0.0.1:8000``."""
    host, port = place.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Connection(H11Protocol):
    """One that is closed when it keeps the server waiting: uvicorn sets no time for headers, nor for a client that does
    not read its answer."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        self._start()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._start()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        self._stop()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _start(self) -> None:
        self._stop()
        self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """Ends as the other commands of ptm do, with an exit code instead of the signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready, self._say = ready, say
        self._flag = StopFlag()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = stop_signals()
        for number in numbers:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        known = self._flag.requested
        if self._flag.note(number):
            os._exit(128 + number)
        if not known:
            self._say(
                f"{self._flag.name}: answering what was begun, taking nothing new (again to stop at once)"
            )
        self.should_exit = True


def run_server(
    app: ASGIApp,
    place: socket.socket,
    *,
    timeout: float,
    ready: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Serve until a signal. ``ready`` is called when it accepts; requests that were begun by the signal have
    ``timeout`` seconds, and a little more, to be answered."""
    config = uvicorn.Config(
        app,
        http=_Connection,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(timeout) + 5,
    )
    server: Any = _Server(config, ready, say)
    server.run(sockets=[place])
