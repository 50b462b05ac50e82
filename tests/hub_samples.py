"""A hub that is served here, for as long as a test needs it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubHandler(BaseHTTPRequestHandler):
    """Answers as a hub does; what is asked for is up to ``do_GET`` of a subclass. ``server.asked``: its paths."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        raise NotImplementedError

    def answer(self, content: Any, status: int = 200) -> None:
        """Bytes as they are, anything else as JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self._send(status, data, {"Content-Type": kind, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def miss(self, code: str) -> None:
        """404, with the reason as the hub gives it: RepoNotFound, EntryNotFound."""
        self._send(404, b"", {"X-Error-Code": code})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "X-Repo-Commit": COMMIT, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *words: Any) -> None: ...


@contextmanager
def serving(handler: type[HubHandler]) -> Iterator[Any]:
    """The server, with its ``address``, and ``asked`` for the handler to fill."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.address, server.asked = f"http://127.0.0.1:{server.server_address[1]}", []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
