"""Texts to token ids once, kept in flat arrays; batches are cut from them by index."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptm.base.growing import Growing
from ptm.config.model_ref import ModelRef
from ptm.data.examples import Examples
from ptm.data.texts import text_problems
from ptm.errors import ConfigError, DataError, ModelError, refuse
from ptm.text.pieces import beginning, whole_texts
from ptm.text.windows import LongTexts

DEFAULT_MAX_LENGTH = 128
_CHUNK = 20_000  # texts tokenised at a time: bounds the memory of Python lists


@dataclass(frozen=True)
class Tokens:
    """Token ids of all rows end to end: row i is ``ids[starts[i]:starts[i+1]]``. A row is an example, or, with
    ``windows``, one of the windows ``windows[i]:windows[i+1]`` of example i."""

    ids: np.ndarray  # int32 [total]
    types: np.ndarray | None  # uint8 [total]: 0 first text, 1 second; None for models without segments
    starts: np.ndarray  # int64 [rows + 1]
    cut: int  # examples longer than max_length
    windows: np.ndarray | None = None  # int64 [n + 1]

    def __len__(self) -> int:
        return len(self.starts if self.windows is None else self.windows) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Of examples, all their windows together: int64 [n]."""
        return np.diff(self.starts if self.windows is None else self.starts[self.windows])

    def span(self, index: int) -> slice:
        """Where the tokens of an example stand."""
        first, after = (index, index + 1) if self.windows is None else self.windows[index : index + 2]
        return slice(int(self.starts[first]), int(self.starts[after]))

    def counts(self, examples: np.ndarray) -> np.ndarray:
        """Rows of each of these examples, int64 [n]."""
        return (
            np.ones(len(examples), dtype=np.int64)
            if self.windows is None
            else np.diff(self.windows)[examples]
        )

    def rows(self, examples: np.ndarray) -> np.ndarray:
        """The rows of these examples, one after the other."""
        if self.windows is None:
            return examples
        return np.concatenate([np.arange(*self.windows[index : index + 2]) for index in examples.tolist()])

    def describe(self) -> dict[str, Any]:
        """Counts for the record."""
        return {
            "tokens": int(self.starts[-1]),
            "longest_tokens": int(self.lengths.max()),
            "cut_to_max_length": 0 if self.windows is not None else self.cut,
            **({} if self.windows is None else {"in_windows": self.cut, "windows": len(self.starts) - 1}),
        }

    def pad(self, examples: np.ndarray, pad_id: int) -> dict[str, Tensor]:
        """``input_ids`` int64 [rows, longest]; a mask only if needed, for attention without is faster."""
        rows = self.rows(examples)
        lengths = np.diff(self.starts)[rows]
        width = int(lengths.max())
        real = np.arange(width) < lengths[:, None]  # bool [n, width]
        places = (self.starts[rows][:, None] + np.arange(width))[real]
        input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
        input_ids[real] = self.ids[places]
        inputs = {"input_ids": torch.from_numpy(input_ids)}
        if self.types is not None:
            types = np.zeros((len(rows), width), dtype=np.int64)
            types[real] = self.types[places]
            inputs["token_type_ids"] = torch.from_numpy(types)
        if not real.all():
            inputs["attention_mask"] = torch.from_numpy(real.astype(np.int64))
        return inputs

    def pad_beside(self, examples: np.ndarray, flat: np.ndarray, fill: int) -> np.ndarray:
        """Values that stand beside the tokens, [total], of these examples: int64 [rows, longest]."""
        rows = self.rows(examples)
        lengths = np.diff(self.starts)[rows]
        width = int(lengths.max())
        real = np.arange(width) < lengths[:, None]
        padded = np.full((len(rows), width), fill, dtype=np.int64)
        padded[real] = flat[(self.starts[rows][:, None] + np.arange(width))[real]]
        return padded


class OverTokens:
    """What is told of ``tokens``: their ids and lengths are those of it."""

    tokens: Tokens

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def ids(self) -> np.ndarray:
        return self.tokens.ids

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths


def tokenize(
    tokenizer: Any,
    examples: Examples,
    max_length: int,
    *,
    segments: bool,
    long_texts: LongTexts | None = None,
) -> Tokens:
    """All texts of a split; with token types where there are pairs and the model has ``segments``. ``long_texts``: how
    longer texts are read, where they are not cut.

    Raises DataError for rows that are not text.
    """
    if long_texts is not None and long_texts.mode != "cut":
        return _tokenize_whole(tokenizer, examples, long_texts)
    texts, pairs = examples.columns["text"], examples.columns.get("text_pair")
    for role, column in examples.columns.items():
        require_text(column, role, examples)
    with_types = segments and pairs is not None
    ids, types, starts = Growing("<i4"), Growing("u1"), Growing("<i8")
    starts.extend([0])
    total = cut = 0
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        if pairs is None:  # of a pair, how long both are decides what is cut of each
            chunk = [beginning(tokenizer, text, max_length) for text in chunk]
        encoded = tokenizer(
            chunk,
            None if pairs is None else list(pairs[start : start + _CHUNK]),
            truncation="longest_first",
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=with_types,
        )
        sizes = [len(row) for row in encoded["input_ids"]]
        if 0 in sizes:
            empty = start + sizes.index(0)
            raise DataError("the tokenizer makes no token of this text", where=examples.where(empty))
        starts.extend(total + np.cumsum(sizes))
        total += sum(sizes)
        cut += sum(bool(getattr(e, "overflowing", None)) for e in (encoded.encodings or ()))
        ids.extend(
            np.fromiter((t for row in encoded["input_ids"] for t in row), dtype=np.int32, count=sum(sizes))
        )
        if with_types:
            types.extend(
                np.fromiter(
                    (t for r in encoded["token_type_ids"] for t in r), dtype=np.uint8, count=sum(sizes)
                )
            )
    no_limits(getattr(tokenizer, "backend_tokenizer", None))  # or they would be saved with the model
    return Tokens(ids.array(), types.array() if with_types else None, starts.array(), cut)


def _tokenize_whole(tokenizer: Any, examples: Examples, long_texts: LongTexts) -> Tokens:
    """Single texts, of which more is read than their beginning."""
    texts = examples.columns["text"]
    require_text(texts, "text", examples)
    pieces: list[np.ndarray] = []
    counts: list[int] = []
    longer = 0
    for ids, special in whole_texts(tokenizer, texts):
        if not len(ids):
            raise DataError("the tokenizer makes no token of this text", where=examples.where(len(counts)))
        own = long_texts.pieces(ids, special)
        longer += len(ids) > long_texts.max_length
        pieces += own
        counts.append(len(own))
    no_limits(getattr(tokenizer, "backend_tokenizer", None))
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)])
    windows = (
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]) if long_texts.mode == "windows" else None
    )
    return Tokens(np.concatenate(pieces), None, starts, longer, windows)


def longest_text(requested: int | None, longest: int | None, model: ModelRef, *, added: int) -> int:
    """Tokens that a text is cut to: ``data.max_length`` as ``requested``, or 128, or what the ``model`` takes.

    ``longest``: what the model takes; None: anything. A teacher that takes less than its student reads as much as it
    takes. ``added``: special tokens that the tokenizer adds to a text. Raises ConfigError when the model does not take
    so much, or nothing is left for a text.
    """
    max_length = requested or min(DEFAULT_MAX_LENGTH, longest or DEFAULT_MAX_LENGTH)
    if model.role == "teacher" and longest is not None:
        max_length = min(max_length, longest)
    if longest is not None and max_length > longest:
        raise ConfigError(
            f"max_length {max_length} is more than the {longest} tokens that {model.name} takes",
            where="data.max_length",
            cure=f"set it to {longest} or less",
        )
    if max_length <= added:
        raise ConfigError(
            f"max_length {max_length} leaves no room for a text: the tokenizer adds {added} tokens",
            where="data.max_length",
            cure=f"set it to {added + 1} or more",
        )
    return max_length


def separate_pairs(tokenizer: Any, where: str) -> None:
    """Put a separator between the texts of a pair where the tokenizer has none: those of decoders join them, and two
    pairs with the border elsewhere would be the same tokens.

    The separator is ``sep_token``, else ``eos_token``, as a delimiter token parts the texts in GPT-1's fine-tuning
    (Radford et al. 2018, §3.3). It becomes a part of the tokenizer and is saved with it. Raises ModelError for a
    tokenizer that can be given none.
    """
    if _separates(tokenizer):
        return
    separator = tokenizer.sep_token or tokenizer.eos_token
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if separator is not None and backend is not None:
        from tokenizers import processors

        number = tokenizer.convert_tokens_to_ids(separator)
        template = processors.TemplateProcessing(
            single="$A", pair=f"$A {separator} $B:1", special_tokens=[(separator, number)]
        )
        own = [] if backend.post_processor is None else [backend.post_processor]
        backend.post_processor = processors.Sequence([*own, template])
    if not _separates(tokenizer):
        raise ModelError(
            "its tokenizer joins the two texts of a pair with nothing between them",
            where=where,
            expected="a tokenizer with sep_token or eos_token",
            cure="take another model or tokenizer",
        )


def _separates(tokenizer: Any) -> bool:
    """Whether a special token stands between the texts of a pair."""
    if not tokenizer.is_fast:
        alone, both = (tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True))
        return bool(both > alone)
    numbers = tokenizer("a", "b").encodings[0].sequence_ids
    return None in numbers[numbers.index(0) : numbers.index(1)]


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of all that decides how the tokenizer cuts a text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    no_limits(backend)
    description = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(description.encode()).hexdigest()


def no_limits(backend: Any) -> None:
    """Back to whole texts: a call of a tokenizer sets lengths in the backend and leaves them there."""
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def require_text(column: Sequence[Any], role: str, examples: Examples) -> None:
    """DataError with the rows whose value is not a text or holds no word."""
    refuse(text_problems(column, role, examples.where))
