"""Questions and their contexts to tokens: a question stands before each window of its context, as BERT reads a pair
(Devlin et al. 2018, arXiv:1810.04805, §4.2 and the authors' ``run_squad.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.data.examples import Examples
from ptm.errors import DataError, ModelError
from ptm.text.tokens import OverTokens, Tokens, no_limits, require_text
from ptm.text.windows import LongTexts, window_starts

_CHUNK = 2_000  # questions tokenised at a time: bounds the memory of Python lists
NONE = -1  # the place of a token that is none of the context


@dataclass(frozen=True)
class QuestionTokens(OverTokens):
    """The windows of a split. ``first`` and ``after``: the character of the context where a token begins, and the one
    behind its last, int32 [total]; NONE of questions and special tokens. ``start``: the token of a window that stands
    for no answer ([CLS]), int32 [windows]. ``targets``: int32 [windows, 2], the first and the last token of the answer,
    ``start`` twice where a window does not hold it; None without answers. ``answered``: windows that hold one; ``cut``:
    questions of which the beginning alone is read."""

    tokens: Tokens
    first: np.ndarray
    after: np.ndarray
    start: np.ndarray
    targets: np.ndarray | None
    answered: int
    cut: int

    def describe(self) -> dict[str, Any]:
        """Counts for the record; ``cut_to_max_length`` are the questions that are cut."""
        held = {} if self.targets is None else {"windows_with_answer": self.answered}
        return {**self.tokens.describe(), "cut_to_max_length": self.cut, **held}


@dataclass(frozen=True)
class _Window:
    """Tokens [a window]; ``places`` int32 [a window, 2] as ``first`` and ``after``; ``target`` as ``targets``."""

    ids: np.ndarray
    types: np.ndarray
    places: np.ndarray
    start: int
    target: tuple[int, int]


def tokenize_questions(
    tokenizer: Any, long_texts: LongTexts, segments: bool, examples: Examples
) -> QuestionTokens:
    """All examples of a split, from the columns ``question`` and ``context``. A question takes at most half of a
    window; its end is left out. ``long_texts``: tokens of a window, and how many two of them share, at most half of
    what is left for the context.

    Raises DataError for rows that are not text, ModelError for a tokenizer that does not tell where a token stands, or
    has no [CLS].
    """
    if not tokenizer.is_fast or tokenizer.cls_token_id is None:
        missing = "does not tell where in a text a token stands"
        raise ModelError(
            f"its tokenizer {missing if not tokenizer.is_fast else 'has no [CLS], which stands for no answer'}",
            where="model",
            expected="an encoder with a fast tokenizer (tokenizer.json) and a cls_token, such as BERT",
        )
    for role in ("question", "context"):
        require_text(examples.columns[role], role, examples)
    questions, contexts = (examples.columns[role] for role in ("question", "context"))
    windows: list[_Window] = []
    counts: list[int] = []
    cut = 0
    for begin in range(0, len(questions), _CHUNK):
        encoded = tokenizer(
            list(questions[begin : begin + _CHUNK]),
            list(contexts[begin : begin + _CHUNK]),
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=True,
            verbose=False,
        )
        for encoding in encoded.encodings:
            row = len(counts)
            answers = None if examples.targets is None else examples.targets[row]
            own, was_cut = _windows(
                encoding, tokenizer.cls_token_id, long_texts, answers, examples.where(row)
            )
            windows += own
            counts.append(len(own))
            cut += was_cut
    no_limits(getattr(tokenizer, "backend_tokenizer", None))
    places = np.concatenate([window.places for window in windows])
    targets = np.array([window.target for window in windows], dtype=np.int32).reshape(-1, 2)
    starts = np.array([window.start for window in windows], dtype=np.int32)
    return QuestionTokens(
        Tokens(
            np.concatenate([window.ids for window in windows]),
            np.concatenate([window.types for window in windows]) if segments else None,
            np.concatenate([[0], np.cumsum([len(window.ids) for window in windows], dtype=np.int64)]),
            sum(count > 1 for count in counts),
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        ),
        places[:, 0],
        places[:, 1],
        starts,
        None if examples.targets is None else targets,
        int((targets[:, 0] != starts).sum()),
        cut,
    )


def _windows(
    encoding: Any, cls: int, long_texts: LongTexts, answers: np.ndarray | None, where: str
) -> tuple[list[_Window], bool]:
    """The windows of an example, and whether its question was cut."""
    sides = np.array([-1 if side is None else side for side in encoding.sequence_ids])
    ids, types = np.array(encoding.ids, dtype=np.int32), np.array(encoding.type_ids, dtype=np.uint8)
    places = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
    places[sides != 1] = NONE
    special = int((sides == -1).sum())
    most = max(1, (long_texts.max_length - special) // 2)
    late = np.flatnonzero(sides == 0)[most:]
    ids, types, places, sides = (np.delete(array, late, axis=0) for array in (ids, types, places, sides))
    of_context = np.flatnonzero(sides == 1)
    if not len(of_context):
        raise DataError("the tokenizer makes no token of this context", where=where)
    first, after = int(of_context[0]), int(of_context[-1]) + 1
    room = long_texts.max_length - first - (len(ids) - after)
    spoken = _answer_tokens(places[first:after], answers, where)
    windows = []
    for begin in window_starts(after - first, room, min(long_texts.stride, room // 2)):
        end = min(begin + room, after - first)
        kept = np.r_[0:first, first + begin : first + end, after : len(ids)]
        start = int(np.flatnonzero((ids[kept] == cls) & (sides[kept] == -1))[0])
        target = (start, start)
        if spoken is not None and begin <= spoken[0] and spoken[1] < end:
            target = (first + spoken[0] - begin, first + spoken[1] - begin)
        windows.append(_Window(ids[kept], types[kept], places[kept], start, target))
    return windows, bool(len(late))


def _answer_tokens(
    places: np.ndarray, answers: Sequence[Any] | np.ndarray | None, where: str
) -> tuple[int, int] | None:
    """The first and the last token of the context, counted from 0, that the first answer has a character of; None where
    there is no answer."""
    if answers is None or not len(answers):
        return None
    begin, end = answers[0]
    inside = np.flatnonzero((places[:, 0] < end) & (places[:, 1] > begin))
    if not len(inside):
        raise DataError("the tokenizer makes no token of the answer", where=where, cure="remove the row")
    return int(inside[0]), int(inside[-1])
