"""Texts of any length to a tokenizer, a bounded number of characters at a time: it holds some hundred bytes for each
token, so that one line of 50 MB took 8 GB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

_CHUNK = 20_000  # texts at a time: bounds the memory of Python lists
MOST = 2**20  # characters of a text that are tokenised at once
_AT_ONCE = 2**21  # characters of all texts that are
_AROUND = 200  # characters on both sides of a cut by which it is tried
_NEAR = 20_000  # characters in which a place to cut is looked for
_TRIES = 50
_PLACE = re.compile(r"(?<=\S)(?=\s)|(?<=[^\w\s])(?=\w)")


def in_pieces(tokenizer: Any, text: str, most: int = MOST) -> Iterator[str]:
    """A text in pieces of at most ``most`` characters, whose tokens one after the other are those of the whole. Where
    no place to cut is found, the rest is one piece."""
    start = 0
    while len(text) - start > most:
        end = _safe_end(tokenizer, text, start + most // 2, start + most)
        if end is None:
            break
        yield text[start:end]
        start = end
    yield text[start:] if start else text


def in_batches(
    tokenizer: Any, texts: Sequence[str], *, most: int = MOST, at_once: int = _AT_ONCE
) -> Iterator[list[tuple[int, str]]]:
    """(row, piece of its text) of all texts in their order, in batches of bounded length."""
    batch: list[tuple[int, str]] = []
    size = 0
    for start in range(0, len(texts), _CHUNK):
        for row, text in enumerate(list(texts[start : start + _CHUNK]), start):
            for piece in in_pieces(tokenizer, text, most):
                if batch and (len(batch) == _CHUNK or size + len(piece) > at_once):
                    yield batch
                    batch, size = [], 0
                batch.append((row, piece))
                size += len(piece)
    if batch:
        yield batch


def whole_texts(
    tokenizer: Any, texts: Sequence[str], **bounds: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(ids, 1 for those of special tokens around it) of each text, all of it: int32 and uint8 [tokens]."""
    current = 0
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in in_batches(tokenizer, texts, **bounds):
        encoded = tokenizer(
            [piece for _, piece in batch],
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_special_tokens_mask=True,
            verbose=False,
        )
        masks = encoded["special_tokens_mask"]
        for (row, _), own, mask in zip(batch, encoded["input_ids"], masks, strict=True):
            if parts and row != current:
                yield _joined(parts)
                parts = []
            current = row
            parts.append((np.array(own, dtype=np.int32), np.array(mask, dtype=np.uint8)))
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Pieces as one text: special tokens stand before the first and after the last alone."""
    if len(parts) == 1:
        return parts[0]
    kept = []
    for number, (_, special) in enumerate(parts):
        inside = np.flatnonzero(special == 0)
        begin = 0 if number == 0 else int(inside[0])
        kept.append(slice(begin, None if number == len(parts) - 1 else int(inside[-1]) + 1))
    cut = [(ids[own], special[own]) for (ids, special), own in zip(parts, kept, strict=True)]
    return np.concatenate([ids for ids, _ in cut]), np.concatenate([special for _, special in cut])


def beginning(tokenizer: Any, text: str, tokens: int, most: int = MOST) -> str:
    """So much of the beginning of a text as has more than ``tokens`` tokens, if it is long; else all of it."""
    if len(text) <= most or getattr(tokenizer, "truncation_side", "right") != "right":
        return text
    first = next(in_pieces(tokenizer, text, most))
    return first if len(encode_bare(tokenizer, [first])["input_ids"][0]) > tokens else text


def _safe_end(tokenizer: Any, text: str, first: int, last: int) -> int | None:
    """The last place up to ``last`` where both sides have the tokens, and the words, that they have together."""
    if not tokenizer.is_fast:
        return None
    begin = max(first, last - _NEAR)
    places = [begin + match.start() for match in _PLACE.finditer(text[begin : last + 1])]
    for place in islice((place for place in reversed(places) if place > first), _TRIES):
        left, right = text[max(0, place - _AROUND) : place], text[place : place + _AROUND]
        encoded = encode_bare(tokenizer, [left + right, left, right])
        whole, before, after = encoded["input_ids"]
        words = encoded.encodings[0].word_ids
        border = len(before)
        if whole == before + after and 0 < border < len(whole) and words[border - 1] != words[border]:
            return place
    return None


def encode_bare(tokenizer: Any, texts: list[str]) -> Any:
    """Whole texts without the special tokens around them."""
    return tokenizer(
        texts,
        add_special_tokens=False,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
