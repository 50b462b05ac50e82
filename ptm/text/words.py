"""Lists of words to token ids, with the place of every word kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.data.examples import Examples
from ptm.data.texts import word_problems
from ptm.errors import DataError, ModelError, refuse
from ptm.text.tokens import OverTokens, Tokens, no_limits
from ptm.text.windows import LongTexts, word_windows

_CHUNK = 20_000  # sentences tokenised at a time: bounds the memory of Python lists


@dataclass(frozen=True)
class WordTokens(OverTokens):
    """Tokens of sentences that came as words."""

    tokens: Tokens
    words: np.ndarray  # int32 [total]: which word of its sentence begins with this token, -1 if none does
    count: int  # words in all
    cut: int  # words that lie beyond max_length
    unseen: int  # words before it of which the tokenizer makes no token

    def describe(self) -> dict[str, Any]:
        """Counts for the record."""
        return {
            **self.tokens.describe(),
            "words": self.count,
            "words_cut_off": self.cut,
            "words_without_token": self.unseen,
        }

    def pad(self, examples: np.ndarray, flat: np.ndarray, fill: int) -> np.ndarray:
        """Values that stand beside the tokens, [total], of these examples: int64 [rows, longest]."""
        return self.tokens.pad_beside(examples, flat, fill)


def tokenize_words(
    tokenizer: Any, examples: Examples, max_length: int, long_texts: LongTexts | None = None
) -> WordTokens:
    """All sentences of a split, from the column ``words``, each cut to ``max_length`` tokens, or read in windows of so
    many.

    Raises DataError for rows that are no lists of words, ModelError for a tokenizer that cannot tell where a word
    begins.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            "its tokenizer does not tell which token belongs to which word",
            where="model",
            expected="a model with a fast tokenizer (tokenizer.json)",
        )
    sentences = examples.columns["words"]
    require_words(sentences, examples)
    ids: list[np.ndarray] = []
    words: list[np.ndarray] = []
    counts: list[int] = []
    in_windows = long_texts is not None and long_texts.mode == "windows"
    cut_sentences = cut = unseen = 0
    for start in range(0, len(sentences), _CHUNK):
        chunk = [list(words) for words in sentences[start : start + _CHUNK]]
        encoded = tokenizer(
            chunk,
            is_split_into_words=True,
            truncation=not in_windows,
            max_length=None if in_windows else max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        for sentence, encoding in zip(chunk, encoded.encodings, strict=True):
            begins = _beginnings(encoding.word_ids)
            seen = begins[begins >= 0]
            if not len(seen):
                where = examples.where(len(counts))
                raise DataError("the tokenizer makes no token of this sentence", where=where)
            beyond = len(sentence) - 1 - int(seen[-1]) if encoding.overflowing else 0
            cut_sentences += bool(encoding.overflowing) or len(encoding.ids) > max_length
            cut += beyond
            unseen += len(sentence) - len(seen) - beyond
            own = [(np.array(encoding.ids, dtype=np.int32), begins)]
            if in_windows and long_texts is not None:
                own = _windows(
                    *own[0], np.array(encoding.special_tokens_mask) == 0, max_length, long_texts.stride
                )
            ids += [piece for piece, _ in own]
            words += [places for _, places in own]
            counts.append(len(own))
    no_limits(getattr(tokenizer, "backend_tokenizer", None))  # or they would be saved with the model
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids], dtype=np.int64)])
    windows = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]) if in_windows else None
    tokens = Tokens(np.concatenate(ids), None, starts, cut_sentences, windows)
    return WordTokens(tokens, np.concatenate(words), sum(map(len, sentences)), cut, unseen)


def _windows(
    ids: np.ndarray, begins: np.ndarray, inside: np.ndarray, max_length: int, stride: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(token ids, number of the word that is read at each or -1) of the windows of a sentence; ``inside``: bool, which
    tokens are of its words."""
    places = np.flatnonzero(inside)
    first, after = int(places[0]), int(places[-1]) + 1
    before, behind, text = ids[:first], ids[after:], ids[first:after]
    own = begins[first:after]
    windows = []
    for start, end, read in word_windows(own >= 0, max_length - len(before) - len(behind), stride):
        numbers = np.full(len(before) + end - start + len(behind), -1, dtype=np.int32)
        numbers[len(before) + read] = own[start + read]
        windows.append((np.concatenate([before, text[start:end], behind]), numbers))
    return windows


def _beginnings(word_ids: Sequence[int | None]) -> np.ndarray:
    """The number of a word at its first token, -1 elsewhere; int32 [tokens]."""
    words = np.array([-1 if word is None else word for word in word_ids], dtype=np.int32)
    before = np.concatenate([[-1], words[:-1]])
    return np.where(words != before, words, -1).astype(np.int32)


def require_words(sentences: Sequence[Any], examples: Examples) -> None:
    """Every row is a list of words, or DataError naming those that are none."""
    refuse(word_problems(sentences, examples.where))
