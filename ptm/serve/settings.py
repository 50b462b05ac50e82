"""What ``ptm serve`` can be told."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
_MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``port`` 0: any that is free. ``wait_ms``: how long an input waits for others to be computed with; ``queue``: how
    many inputs may wait; ``timeout``: seconds a request may take, from its first byte to its answer; ``body_mb``: None:
    1 for texts, 16 for images. ``hosts``: names under which the server may be called besides its own."""

    host: str = LOOPBACK
    port: int = 8000
    batch: int = 32
    wait_ms: float = 2.0
    queue: int = 256
    body_mb: float | None = None
    timeout: float = 30.0
    hosts: tuple[str, ...] = ()

    def body_bytes(self, *, images: bool) -> int:
        """The most bytes of a request's body."""
        return int((self.body_mb or (16 if images else 1)) * _MEGABYTE)
