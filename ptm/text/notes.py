"""What a user should know of texts beside a model before the first step: how many are cut, how finely words are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST_PIECES = 2.0  # tokens a word above which a tokenizer hardly knows the language
_SAMPLE = 200  # texts looked at
_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


# What becomes of texts that are too long, by ``data.long_texts``.
_READ = {
    "cut": "are cut",
    "head_tail": "are read at their beginning and their end alone",
    "windows": "are read in windows",
}


def cut_note(
    splits: Mapping[str, Mapping[str, Any]], limit: int, longest: int | None, mode: str | None = None
) -> str:
    """One line of how many texts are longer than ``limit`` tokens; "" where none is.

    ``splits``: what the record says of each, ``examples``, ``cut_to_max_length`` and, of words, ``words_cut_off``; of
    two sides, each by its name. ``longest``: what the model takes; ``mode``: ``data.long_texts``.
    """
    parts = [part for split, facts in splits.items() if (part := _cut_part(split, facts))]
    if not parts:
        return ""
    more = f"; the model takes up to {longest} (data.max_length)" if longest and longest > limit else ""
    return f"texts longer than {limit} tokens {_READ[mode or 'cut']}: {', '.join(parts)}{more}"


def cut_counts(facts: Mapping[str, Any]) -> dict[str, int]:
    """How many examples of a split are cut, by side: "" where there is one."""
    sides = {"": facts, **{name: value for name, value in facts.items() if isinstance(value, Mapping)}}
    counts = {name: side.get("cut_to_max_length") for name, side in sides.items()}
    return {name: count for name, count in counts.items() if isinstance(count, int) and count > 0}


def _cut_part(split: str, facts: Mapping[str, Any]) -> str:
    examples = int(facts["examples"])
    sides = [
        f"{count:,} of {examples:,} {name + ' texts of ' if name else ''}{split} ({count / examples:.0%})"
        for name, count in cut_counts(facts).items()
    ]
    if facts.get("in_windows"):
        longer, windows = int(facts["in_windows"]), int(facts["windows"])
        sides.append(
            f"{longer:,} of {examples:,} {split} ({longer / examples:.0%}), {windows:,} windows in all"
        )
    words = facts.get("words_cut_off", 0)
    return ", ".join(sides) + (f", {words:,} words without a tag" if words else "")


def pieces_note(tokenizer: Any, texts: Sequence[Any]) -> str:
    """A hint where a word comes to many tokens on average; else "". ``texts``: texts, or lists of words."""
    pieces = pieces_per_word(tokenizer, texts)
    if pieces <= MOST_PIECES:
        return ""
    return (
        f"the tokenizer cuts a word of these texts into {pieces:.1f} pieces on average (about 1.4 is usual): "
        "does the model know their language?"
    )


def pieces_per_word(tokenizer: Any, texts: Sequence[Any]) -> float:
    """Tokens a word, over at most 200 texts, evenly spread; an ideograph is a word. 0 where there are no words."""
    rows = np.unique(np.linspace(0, max(0, len(texts) - 1), min(_SAMPLE, len(texts))).round().astype(int))
    sample = [text if isinstance(text, str) else " ".join(text) for text in (texts[int(row)] for row in rows)]
    words = sum(len(_WORD.findall(text)) for text in sample)
    if not words:
        return 0.0
    ids = tokenizer(sample, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    return sum(map(len, ids)) / words
