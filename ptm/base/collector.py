"""When Python looks for objects that refer to each other and to which nothing else does."""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
# Young objects only, and rarely: nothing of what a start makes is garbage.
_STARTING = (100_000, 1_000, 1_000)


def collect_rarely() -> None:
    """While a command starts: Python goes through all objects again and again as they become more, a fifth of the time
    that the imports of torch and transformers take (docs/performance.md)."""
    gc.set_threshold(*_STARTING)


def collect_as_usual() -> None:
    """From the first computation on, over what is made from now on; what the start made stays, unsearched. Only after
    :func:`collect_rarely`: a process of somebody else collects as it did."""
    if gc.get_threshold() == _STARTING:
        gc.freeze()
        gc.set_threshold(*_USUAL)
