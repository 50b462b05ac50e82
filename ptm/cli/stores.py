"""``ptm cache``: what is stored of teachers, for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ptm.distill import cache
from ptm.distill.store import root_directory, size_limit
from ptm.errors import ModelError


def list_stores(place: Path | None) -> Iterator[str]:
    """A line a store, the one used last first, and a line for all."""
    root = place or root_directory("auto")
    found = cache.entries(root)
    for entry in found:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        full = f"{entry.blocks_filled / entry.blocks:.0%} full" if entry.blocks else "metrics"
        yield f"{entry.name}  {entry.bytes / 1e6:9.2f} MB  {used}  {entry.split:5}  {full:9}  {entry.teacher}"
    total = sum(entry.bytes for entry in found)
    yield f"{len(found)} stores, {total / 1e6:.2f} MB of at most {size_limit() / 1e9:g} GB, in {root}"


def verify_stores(place: Path | None) -> Iterator[str]:
    """A line a store. Raises ModelError after the last one if any is damaged."""
    damaged = []
    for entry in cache.entries(place or root_directory("auto")):
        problems = cache.verify(entry.path)
        yield f"{entry.name}  {'damaged' if problems else 'as it was written'}"
        yield from (f"  {problem}" for problem in problems)
        damaged += [entry.path] if problems else []
    if damaged:
        raise ModelError(
            f"{len(damaged)} stores of teacher outputs are damaged",
            where=", ".join(map(str, damaged)),
            cure="nothing needs to be done: what is damaged is computed anew when it is needed; or delete them",
        )


def prune_stores(place: Path | None, limit: float) -> Iterator[str]:
    """Remove stores until at most ``limit`` bytes are left; a line for each."""
    lines: list[str] = []
    freed = cache.prune(place or root_directory("auto"), limit, lines.append)
    yield from lines
    yield f"{freed / 1e6:.2f} MB freed"
