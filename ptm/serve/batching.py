"""Inputs of requests that come at the same time go through the model together.

An input waits a few milliseconds for others, and while the model computes; one thread computes. Where a batch fails,
each of its inputs is computed alone, so that one that cannot be used fails for itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from ptm.errors import DataError, PtmError
from ptm.experiment.prediction_table import Row
from ptm.experiment.predictor import Input

Compute = Callable[[Sequence[Input]], list[Row]]
Answer = Row | Exception


class QueueFull(Exception):
    """More inputs than may wait."""


class _Waiting(NamedTuple):
    input: Input
    since: float  # the loop's time
    answer: asyncio.Future[Row]


class Batcher:
    """``compute`` predicts for up to ``most`` inputs; each waits ``wait`` seconds for others; ``room``: how many
    may."""

    def __init__(
        self,
        compute: Compute,
        *,
        most: int,
        wait: float,
        room: int,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._compute, self._most, self._wait, self._room, self._observe = compute, most, wait, room, observe
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def predict(self, inputs: Sequence[Input]) -> list[Row]:
        """What the model says of each. Raises QueueFull, or the PtmError of all inputs that cannot be used."""
        if len(self._waiting) + len(inputs) > self._room:
            raise QueueFull
        loop = asyncio.get_running_loop()
        entries = [_Waiting(each, loop.time(), loop.create_future()) for each in inputs]
        self._waiting.extend(entries)
        self._arrived.set()
        try:
            answers = await asyncio.gather(*(entry.answer for entry in entries), return_exceptions=True)
        finally:
            for entry in entries:
                entry.answer.cancel()
        return _all_or_error(answers)

    async def run(self) -> None:
        """Compute what comes, until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "predict") as pool:
            while True:
                entries = await self._next()
                self._observe(len(entries))
                inputs = [entry.input for entry in entries]
                answers = await loop.run_in_executor(pool, _answers, self._compute, inputs)
                for entry, answer in zip(entries, answers, strict=True):
                    if entry.answer.done():  # whoever asked has gone
                        continue
                    if isinstance(answer, Exception):
                        entry.answer.set_exception(answer)
                    else:
                        entry.answer.set_result(answer)

    async def _next(self) -> list[_Waiting]:
        """The next batch; never empty."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            while len(self._waiting) < self._most and self._waiting:
                left = self._waiting[0].since + self._wait - loop.time()
                if left <= 0:
                    break
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), left)
            entries: list[_Waiting] = []
            while self._waiting and len(entries) < self._most:
                entry = self._waiting.popleft()
                if not entry.answer.done():
                    entries.append(entry)
            if not self._waiting:
                self._arrived.clear()
            else:
                self._arrived.set()
            if entries:
                return entries


def _answers(compute: Compute, inputs: list[Input]) -> Sequence[Answer]:
    try:
        return compute(inputs)
    except Exception as error:
        if len(inputs) == 1:
            return [error]
    return [answer for each in inputs for answer in _answers(compute, [each])]


def _all_or_error(answers: Sequence[Row | BaseException]) -> list[Row]:
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if not errors:
        return [answer for answer in answers if not isinstance(answer, BaseException)]
    for error in errors:
        if not isinstance(error, DataError):
            raise error
    raise DataError(
        [problem for error in errors if isinstance(error, PtmError) for problem in error.problems]
    )
