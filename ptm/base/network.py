"""Whether there is a network, and whether it may be used."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


def offline() -> bool:
    """Whether the user forbids the network (``HF_HUB_OFFLINE=1``, ``PTM_OFFLINE=1``)."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("HF_HUB_OFFLINE", "PTM_OFFLINE")
    )


@contextmanager
def forbidden() -> Iterator[None]:
    """No network inside, whatever there is."""
    before = os.environ.get("PTM_OFFLINE")
    os.environ["PTM_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PTM_OFFLINE"]
        else:
            os.environ["PTM_OFFLINE"] = before


def reachable(url: str | None = None) -> bool:
    """Whether a connection to the host of ``url`` (default: the hub) can be opened within 3 s."""
    if offline():
        return False
    target = url or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    parts = urlsplit(proxy or target)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=3):
            return True
    except OSError:
        return False
