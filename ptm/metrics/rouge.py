"""ROUGE of written texts: which words, pairs of words and orders of words they share with those they should be.

Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries" (ROUGE-N, section 2; ROUGE-L of whole texts, section
3.1), as F1 without stemming. Values of English texts are those of Google's package rouge-score, which needs nltk for
its stemmer; it drops letters other than a to z, here they are letters of words, and each character of Chinese and
Japanese, which are written without blanks, is a word (Hu et al. 2015, LCSTS, arXiv:1506.05865, section 4).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

SIGNATURE = (
    "F1, mean over texts, words of letters and digits (Han and kana: each one), lower case, no stemming"
)
_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # kana and Han
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")


def rouge(written: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """``rouge1``, ``rouge2``, ``rougeL`` from 0 to 100: means over texts."""
    pairs = [(_words(text), _words(target)) for text, target in zip(written, targets, strict=True)]
    scores = {f"rouge{n}": [_of_sequences(*pair, n) for pair in pairs] for n in (1, 2)}
    scores["rougeL"] = [_f1(_longest_common(*pair), len(pair[0]), len(pair[1])) for pair in pairs]
    return {name: 100 * float(np.mean(values)) for name, values in scores.items()}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _of_sequences(written: list[str], target: list[str], n: int) -> float:
    ours, theirs = (Counter(zip(*(words[k:] for k in range(n)), strict=False)) for words in (written, target))
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def _f1(shared: int, written: int, target: int) -> float:
    return 2 * shared / (written + target) if shared else 0.0


def _longest_common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, a bit a word of ``a`` (Hyyrö 2004, "Bit-parallel LCS-length computation
    revisited"): long texts take no time."""
    places: dict[str, int] = defaultdict(int)
    for place, word in enumerate(a):
        places[word] |= 1 << place
    whole = row = (1 << len(a)) - 1
    for word in b:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & whole
    return len(a) - row.bit_count()
