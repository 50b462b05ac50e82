"""Texts to the blocks of tokens that a language model learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.data.examples import Examples
from ptm.errors import DataError, ModelError
from ptm.text.pieces import encode_bare, in_batches
from ptm.text.tokens import OverTokens, Tokens, no_limits, require_text

SPECIAL = -1  # word number of a token that is no part of a text


@dataclass(frozen=True)
class Blocks(OverTokens):
    """Blocks of tokens, end to end in ``tokens``."""

    tokens: Tokens
    words: np.ndarray  # int32 [total]: the number of the word that a token is a part of, or SPECIAL
    rows: np.ndarray  # int64 [blocks]: the row of the text in which a block begins
    text_bytes: int  # UTF-8 bytes of the texts in them, those that were cut off left out
    texts: int  # how many texts they hold

    def describe(self) -> dict[str, Any]:
        """Counts for the record."""
        counts = self.tokens.describe()
        return {"texts": self.texts, "tokens": counts.pop("tokens"), "text_bytes": self.text_bytes, **counts}


@dataclass(frozen=True)
class Ends:
    """What stands around texts: ``begin`` before the first of a block, ``end`` after each."""

    begin: int
    end: int


def ends_of(tokenizer: Any) -> Ends:
    """``[CLS]`` and ``[SEP]`` of BERT, ``<|endoftext|>`` of GPT-2. Raises ModelError for a tokenizer that has no such
    tokens."""
    begin = _first(tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    end = _first(tokenizer.sep_token_id, tokenizer.eos_token_id)
    if begin is None or end is None:
        raise ModelError(
            "its tokenizer has no token that ends a text",
            where="model.tokenizer",
            expected="one with sep_token or eos_token",
            cure="take another model or tokenizer",
        )
    return Ends(begin, end)


def make_blocks(tokenizer: Any, examples: Examples, max_length: int, *, pack: bool, overlap: bool) -> Blocks:
    """All texts of a split as blocks of at most ``max_length`` tokens.

    ``pack``: the texts, in the order of their rows, an end token after each, make one stream, which is cut every
    ``max_length`` - 1 tokens, wherever that is; the rest becomes a shorter last block. Attention crosses the ends of
    texts within a block. Every block gets one token in
    front: the begin token, or with ``overlap`` the last token of the block before, so that a model that predicts each
    token from those before it in the block predicts every token of the stream exactly once. Without ``pack``, a text is
    a block: begin token, text, end token; of a longer text its beginning is kept, with ``overlap`` without the end
    token, for the text does not end there. Raises DataError for rows that are not text.
    """
    ends = ends_of(tokenizer)
    texts = _encode(tokenizer, examples)
    if pack:
        return _packed(texts, ends, max_length, overlap=overlap, text_bytes=int(texts.sizes.sum()))
    return _one_each(texts, ends, max_length, keep_end=not overlap)


@dataclass(frozen=True)
class _Texts:
    """Texts as tokens, end to end, without special ones."""

    ids: np.ndarray  # int32 [total]
    words: np.ndarray  # int32 [total]: rising, different in different texts
    byte_ends: np.ndarray  # int32 [total]: bytes of its text up to the end of a token
    starts: np.ndarray  # int64 [n + 1]
    sizes: np.ndarray  # int64 [n]: UTF-8 bytes

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)


def _encode(tokenizer: Any, examples: Examples) -> _Texts:
    texts: Sequence[str] = examples.columns["text"]
    require_text(texts, "text", examples)
    columns: dict[str, list[np.ndarray]] = {"ids": [], "words": [], "byte_ends": []}
    lengths, sizes = np.zeros(len(texts), dtype=np.int64), np.zeros(len(texts), dtype=np.int64)
    special = tokenizer.all_special_ids
    next_word = 0
    for batch in in_batches(tokenizer, texts):
        encoded = encode_bare(tokenizer, [piece for _, piece in batch])
        for (row, piece), ids, encoding in zip(
            batch, encoded["input_ids"], encoded.encodings or (), strict=True
        ):
            words = np.array([SPECIAL if w is None else w for w in encoding.word_ids], dtype=np.int32)
            words[np.isin(ids, special)] = SPECIAL  # a text may hold the words "[SEP]" or "[MASK]"
            columns["ids"].append(np.array(ids, dtype=np.int32))
            columns["words"].append(np.where(words == SPECIAL, SPECIAL, words + next_word))
            columns["byte_ends"].append(_byte_ends(piece, encoding) + np.int32(sizes[row]))
            next_word += 1 + int(words.max(initial=0))
            lengths[row] += len(ids)
            sizes[row] += len(piece.encode())
    no_limits(getattr(tokenizer, "backend_tokenizer", None))
    if lengths.min() == 0:
        where = examples.where(int(lengths.argmin()))
        raise DataError("the tokenizer makes no token of this text", where=where)
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return _Texts(**{k: np.concatenate(v) for k, v in columns.items()}, starts=starts, sizes=sizes)


def _byte_ends(text: str, encoding: Any) -> np.ndarray:
    ends = np.array([end for _, end in encoding.offsets], dtype=np.int32)
    if text.isascii():
        return ends
    before = np.concatenate([[0], np.cumsum([len(letter.encode()) for letter in text])])
    return before[ends].astype(np.int32)


def _packed(texts: _Texts, ends: Ends, max_length: int, *, overlap: bool, text_bytes: int) -> Blocks:
    lengths = texts.lengths
    places = texts.starts[1:]  # an end token stands after each text
    stream = np.insert(texts.ids, places, ends.end)
    words = np.insert(texts.words, places, SPECIAL)
    row_of = np.repeat(np.arange(len(lengths)), lengths + 1)
    cuts = np.arange(0, len(stream), max_length - 1)
    if not overlap and len(cuts) > 1 and (words[cuts[-1] :] == SPECIAL).all():
        cuts, stream, words = cuts[:-1], stream[: cuts[-1]], words[: cuts[-1]]  # nothing to predict there
    front = np.full(len(cuts), ends.begin, dtype=np.int32)
    if overlap:
        front[1:] = stream[cuts[1:] - 1]
    ids = np.insert(stream, cuts, front)
    starts = np.append(cuts + np.arange(len(cuts)), len(ids))
    tokens = Tokens(ids, None, starts, cut=0)
    return Blocks(tokens, np.insert(words, cuts, SPECIAL), row_of[cuts], text_bytes, len(lengths))


def _one_each(texts: _Texts, ends: Ends, max_length: int, *, keep_end: bool) -> Blocks:
    lengths = texts.lengths
    cut = lengths > max_length - 2
    ended = ~cut | keep_end
    own_lengths = np.minimum(lengths, max_length - 1 - ended)
    places = np.repeat(texts.starts[:-1], own_lengths) + _counting(own_lengths)
    bounds = np.concatenate([[0], np.cumsum(own_lengths)])
    ids, words = texts.ids[places], texts.words[places]
    ids, words = np.insert(ids, bounds[1:][ended], ends.end), np.insert(words, bounds[1:][ended], SPECIAL)
    sizes = own_lengths + ended
    front = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    ids, words = np.insert(ids, front, ends.begin), np.insert(words, front, SPECIAL)
    starts = np.concatenate([[0], np.cumsum(sizes + 1)])
    last = texts.byte_ends[texts.starts[:-1] + own_lengths - 1]
    text_bytes = int(np.where(cut, last, texts.sizes).sum())
    tokens = Tokens(ids, None, starts.astype(np.int64), int(cut.sum()))
    return Blocks(tokens, words, np.arange(len(sizes)), text_bytes, len(sizes))


def _counting(lengths: np.ndarray) -> np.ndarray:
    """0, 1, … for each length, end to end: [2, 3] to 0, 1, 0, 1, 2."""
    counted: np.ndarray = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return counted


def _first(*numbers: int | None) -> int | None:
    return next((number for number in numbers if number is not None), None)
