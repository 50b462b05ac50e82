"""Texts that are longer than a model reads: their two ends, or windows over all of them, put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptm.config.spec import DataSpec
from ptm.errors import ConfigError

_AT_ONCE = 2**16  # tokens of windows in a forward pass of an evaluation
_HEAD = 4  # of what can be read of a text, its beginning gets one part in so many


@dataclass(frozen=True)
class LongTexts:
    """How texts of more than ``max_length`` tokens are read. ``mode`` and ``pool`` as in the spec; ``stride``: tokens
    that neighbouring windows share."""

    max_length: int
    mode: str = "cut"
    stride: int = 0
    pool: str = "mean"

    @classmethod
    def of(cls, data: DataSpec, max_length: int, added: int) -> LongTexts:
        """``added``: special tokens around a text. Raises ConfigError for a stride too large."""
        mode, room = data.long_texts or "cut", max_length - added
        stride = room // 4 if data.stride is None else data.stride
        if mode == "windows" and stride >= room:
            raise ConfigError(
                f"windows of {room} tokens that share {stride} never get further",
                where="data.stride",
                expected=f"less than {room}: max_length {max_length} without {added} special tokens",
                cure="lower data.stride, or raise data.max_length",
            )
        return cls(max_length, mode, stride, data.pool or "mean")

    @property
    def name(self) -> str:
        """What of it decides which tokens are read; "" where texts are cut, as they always were."""
        return {"cut": "", "head_tail": "head_tail"}.get(self.mode, f"windows {self.stride}")

    def pieces(
        self, ids: np.ndarray | Sequence[int], special: np.ndarray | Sequence[int]
    ) -> list[np.ndarray]:
        """The token ids of a whole text as one or more pieces of at most ``max_length``, each with the special tokens
        that stand before and after the text. ``special``: 1 for these."""
        tokens, inside = np.asarray(ids, dtype=np.int32), np.flatnonzero(np.asarray(special) == 0)
        if len(tokens) <= self.max_length or not len(inside):
            return [tokens[: self.max_length]]
        before, after = tokens[: inside[0]], tokens[inside[-1] + 1 :]
        text = tokens[inside[0] : inside[-1] + 1]
        room = self.max_length - len(before) - len(after)
        if (
            self.mode == "head_tail"
        ):  # Sun et al. 2019, arXiv:1905.05583, §5.3.1: 128 of 510 tokens are the head
            head = room // _HEAD
            parts = [np.concatenate([text[:head], text[len(text) - (room - head) :]])]
        else:
            parts = [text[start : start + room] for start in window_starts(len(text), room, self.stride)]
        return [np.concatenate([before, part, after]) for part in parts]


def window_starts(length: int, room: int, stride: int) -> list[int]:
    """Where windows of ``room`` tokens begin that share ``stride``; the last one ends where the text does."""
    last = max(0, length - room)
    return [*range(0, last, room - stride), last]


def word_windows(begins: np.ndarray, room: int, stride: int) -> list[tuple[int, int, np.ndarray]]:
    """Windows over the tokens of a sentence: (first token, token after the last, places in the window of the words that
    are read in it). ``begins``: bool [tokens], where a word begins; each is read in one window, where it has most on
    both sides. A window begins with a word."""
    places = np.flatnonzero(begins)
    if len(begins) <= room or not len(places):
        return [(0, min(room, len(begins)), places[places < room])]
    firsts = [0]
    while firsts[-1] + room < len(begins):
        wanted = firsts[-1] + room - stride
        earlier = places[(places > firsts[-1]) & (places <= wanted)]
        later = places[places > wanted]
        if not len(earlier) and not len(later):
            break  # the rest of a word that is longer than a window
        firsts.append(int(earlier[-1]) if len(earlier) else int(later[0]))
    ends = [min(first + room, len(begins)) for first in firsts]
    # In the middle of what two windows share, words pass from one to the other.
    borders = [0, *((first + end) // 2 for first, end in zip(firsts[1:], ends, strict=False)), len(begins)]
    borders = [min(border, end) for border, end in zip(borders, [0, *ends], strict=True)]
    windows = []
    for index, (first, end) in enumerate(zip(firsts, ends, strict=True)):
        own = places[(places >= max(borders[index], first)) & (places < max(borders[index + 1], first + 1))]
        windows.append((first, end, own - first))
    return windows


def in_parts(
    call: Callable[[dict[str, Tensor]], tuple[Tensor, ...]],
    inputs: Mapping[str, Tensor],
    most: int = _AT_ONCE,
) -> tuple[Tensor, ...]:
    """What ``call`` gives for the rows of ``inputs``, [windows, tokens] each, as many at once as hold ``most`` tokens:
    one text of a megabyte is a thousand windows, which in one forward pass took gigabytes."""
    windows, tokens = next(iter(inputs.values())).shape[:2]
    rows = max(1, most // max(1, tokens))
    if windows <= rows:
        return call(dict(inputs))
    pieces = [
        call({name: tensor[start : start + rows] for name, tensor in inputs.items()})
        for start in range(0, windows, rows)
    ]
    return tuple(torch.cat(column) for column in zip(*pieces, strict=True))


def pooled(logits: Tensor, counts: Tensor, how: str) -> Tensor:
    """Logits of windows, fp [windows, classes], to those of texts [n, classes]: their mean, or in each class the
    highest. ``counts``: int64 [n], windows a text."""
    owner = torch.repeat_interleave(torch.arange(len(counts), device=logits.device), counts.to(logits.device))
    if how == "max":
        lowest = logits.new_full((len(counts), logits.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, owner[:, None].expand_as(logits), logits, "amax")
    total = logits.new_zeros((len(counts), logits.shape[1])).index_add(0, owner, logits)
    return total / counts.to(logits.device)[:, None]
