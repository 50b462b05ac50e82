"""Which tokens of a block a masked language model has to predict, and what stands in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.base import seeds
from ptm.errors import ConfigError, ModelError
from ptm.text.blocks import SPECIAL, Blocks

IGNORED = -100  # a target that does not count
_MASKED, _REPLACED = 0.8, 0.1  # of the chosen tokens; the rest is left as it is
_EVALUATION = 0xE7A1  # in the place of a seed: masks of evaluation blocks depend on the id alone
_DRAWS = 3  # a token: which words, what becomes of it, by what it is replaced
_LONGEST_WORD = 20  # mean tokens a word above which a tokenizer cannot be said to know words


@dataclass(frozen=True)
class Masking:
    """Dynamic masking as in BERT (arXiv:1810.04805) and RoBERTa (arXiv:1907.11692).

    Of the tokens of a block that belong to words, ``fraction`` are chosen, at least one word; of the chosen tokens 80 %
    become ``mask``, 10 % one of ``others`` (int32: all tokens but special ones), 10 % stay.
    """

    fraction: float
    mask: int
    others: np.ndarray

    def apply(self, ids: np.ndarray, words: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(what the model sees, int64 [n] targets with IGNORED at all other places).

        ``ids``, ``words``: int [n] of one block; ``draws``: float64 [n, 3] in [0, 1).
        """
        selected = choose_words(words, draws[:, 0], self.fraction)
        seen = ids.copy()
        seen[selected & (draws[:, 1] < _MASKED)] = self.mask
        replaced = selected & (draws[:, 1] >= _MASKED) & (draws[:, 1] < _MASKED + _REPLACED)
        seen[replaced] = self.others[(draws[replaced, 2] * len(self.others)).astype(np.int64)]
        return seen, np.where(selected, ids, IGNORED).astype(np.int64)


def masking_of(tokenizer: Any, fraction: float, where: str) -> Masking:
    """Raises ModelError for a tokenizer without a mask token."""
    if tokenizer.mask_token_id is None:
        raise ModelError(
            "its tokenizer has no mask token",
            where=where,
            expected="a masked language model: BERT and its kin",
            cure="use task: causal-lm, or another tokenizer",
        )
    special = set(tokenizer.all_special_ids)
    others = sorted(number for number in tokenizer.get_vocab().values() if number not in special)
    return Masking(fraction, tokenizer.mask_token_id, np.array(others, dtype=np.int32))


def mask_words(blocks: Blocks, whole_words: bool) -> np.ndarray:
    """int32 [total]: the units that are masked as one, SPECIAL for what never is.

    Raises ConfigError when the tokenizer cuts texts without knowing words.
    """
    own = blocks.words >= 0
    if not whole_words:
        return np.where(own, np.arange(len(own), dtype=np.int32), SPECIAL)
    if own.sum() > _LONGEST_WORD * len(np.unique(blocks.words[own])):
        raise ConfigError(
            "the tokenizer does not tell words apart",
            where="data.whole_words",
            cure="data: {whole_words: false}",
        )
    return blocks.words


def choose_words(words: np.ndarray, draws: np.ndarray, fraction: float) -> np.ndarray:
    """bool [n]: the tokens of words drawn until about ``fraction`` of all tokens is reached; at least one word.

    A word counts where it begins: ``draws[i]`` is that of the word whose first token is i. Words are taken by rising
    draw while more than half of each fits, so that the fraction is met on average.
    """
    own: np.ndarray = words != SPECIAL
    if not own.any():
        return own
    _, firsts, numbers, lengths = np.unique(
        words[own], return_index=True, return_inverse=True, return_counts=True
    )
    by_draw = np.argsort(draws[own][firsts], kind="stable")
    reached = np.cumsum(lengths[by_draw]) - lengths[by_draw] / 2
    taken = reached <= max(1, round(fraction * int(own.sum())))
    taken[0] = True
    picked = np.zeros(len(lengths), dtype=bool)
    picked[by_draw] = taken
    chosen = np.zeros(len(words), dtype=bool)
    chosen[own] = picked[numbers]
    return chosen


def training_draws(seed: int, epoch: int, ids: np.ndarray, longest: int) -> np.ndarray:
    """float64 [ids, longest, 3]: a function of (seed, epoch, id), whatever stands beside in a batch."""
    return seeds.uniforms(seed, epoch, ids, longest * _DRAWS).reshape(len(ids), longest, _DRAWS)


def evaluation_draws(ids: np.ndarray, longest: int) -> np.ndarray:
    """The same, a function of the id alone."""
    return training_draws(_EVALUATION, 0, ids, longest)
