"""Near-duplicate texts: pairs that share most of their character n-grams, found without comparing all with all.

MinHash (Broder 1997, "On the resemblance and containment of documents") with locality-sensitive hashing (Leskovec,
Rajaraman, Ullman, "Mining of Massive Datasets", 3.4): rows that agree in one of 21 bands of 3 minima are candidates,
which the n-grams themselves then confirm. In numpy over many texts at once: datasketch, the library for it, hashes one
n-gram after the other in Python and leaves the confirmation to its user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from operator import eq

import numpy as np

from ptm.quality.candidates import Candidates, NearPairs

NEAR = 0.8  # Jaccard similarity of the sets of n-grams (Lee et al. 2022, arXiv:2107.06499, call this near)
_EDIT = 0.1  # of the characters of a text may differ in one place, as a typing error does, without digits among them
_BANDS, _ROWS = 21, 3
_SAME_WORDS = 0.99  # said of texts that differ in punctuation alone, however short they are
_WORD = re.compile(r"\w+")
_CANDIDATE = 0.45  # share of equal minima below which a pair is not looked at
_NEIGHBOURS = 12  # rows of a band with the same minima that a row is held against
_SHORT, _LONG = 3, 5  # characters of an n-gram; long texts share most of their trigrams whatever they say
_FROM, _UP_TO = (
    240,
    360,
)  # characters: texts in between are looked at both ways, so that no border parts a pair
_CHARACTERS = 1 << 20  # that are hashed at a time
# What is confirmed takes about 10 s, 20 s: texts made from one template are a hundred candidates each.
MOST_PAIRS = 400_000
MOST_CHARACTERS = 100_000_000  # of both texts of all pairs
_DRAW = np.random.default_rng(20)
_FACTORS = _DRAW.integers(0, 2**64, _BANDS * _ROWS, dtype=np.uint64) | np.uint64(1)
_TERMS = _DRAW.integers(0, 2**64, _BANDS * _ROWS, dtype=np.uint64)


def near_pairs(texts: Sequence[str]) -> NearPairs:
    """Different texts that are nearly equal.

    Time grows with the number of texts, not with its square: 67,000 sentences take 5 s; memory is 252 bytes a text. A
    pair of similarity 0.8 is missed less than once in a million, where a text has fewer than a dozen such neighbours.
    Of more candidates than MOST_PAIRS or MOST_CHARACTERS allow, those are confirmed whose minima agree most.
    """
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    pairs: dict[tuple[int, int], float] = {}
    complete, compared = True, 0
    for size, rows in (
        (_SHORT, np.flatnonzero((lengths > 0) & (lengths <= _UP_TO))),
        (_LONG, np.flatnonzero(lengths >= _FROM)),
    ):
        if len(rows) > 1:
            candidates = _candidates(_minima([texts[int(row)] for row in rows], size))
            likely = candidates.codes[np.argsort(255 - candidates.scores, kind="stable")]
            characters = lengths[rows[likely // len(rows)]] + lengths[rows[likely % len(rows)]]
            count = int(np.searchsorted(np.cumsum(characters), MOST_CHARACTERS, side="right"))
            complete = complete and candidates.complete and count >= len(likely)
            for code in np.sort(likely[:count]):
                first, second = int(rows[code // len(rows)]), int(rows[code % len(rows)])
                similarity = near(texts[first], texts[second], size)
                compared += 1
                if similarity:
                    pairs[first, second] = max(similarity, pairs.get((first, second), 0.0))
    first_with: dict[str, int] = {}
    for row, text in enumerate(texts):
        words = " ".join(_WORD.findall(text))
        other = first_with.setdefault(words, row)
        if other != row and words:
            pairs[other, row] = _SAME_WORDS
    found = [(i, j, similarity) for (i, j), similarity in sorted(pairs.items())]
    return NearPairs(found, None if complete else compared)


def near(a: str, b: str, size: int = _SHORT) -> float:
    """How similar two texts are, from 0 to 1, where they are nearly equal; else 0."""
    if min(len(a), len(b)) < NEAR / 2 * max(len(a), len(b)):
        return 0.0
    first, second = _grams(a, size), _grams(b, size)
    shared = len(first & second)
    jaccard = shared / (len(first) + len(second) - shared)
    return jaccard if jaccard >= NEAR else _one_edit(a, b)


def _one_edit(a: str, b: str) -> float:
    """The share of characters outside of the one place in which two texts differ; 0 where that is more than a tenth."""
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    places = [text[start : len(text) - end] for text in (a, b)]
    share = max(map(len, places)) / max(len(a), len(b))
    numbers = any(character.isdigit() for place in places for character in place)
    return 0.0 if share > _EDIT or numbers else 1.0 - share


def _common(a: str, b: str) -> int:
    """How many characters both begin with."""
    return sum(takewhile(bool, map(eq, a, b)))


def _grams(text: str, size: int) -> set[str]:
    padded = f"\n{text}\n"
    return {padded[i : i + size] for i in range(max(1, len(padded) - size + 1))}


def _minima(texts: Sequence[str], size: int) -> np.ndarray:
    """The least value of each hash function over the n-grams of each text, uint32 [n, bands * rows]."""
    minima = np.empty((len(texts), _BANDS * _ROWS), dtype=np.uint32)
    for start, stop in _portions(texts):
        padded = [f"\n{text}\n".ljust(size, "\n") for text in texts[start:stop]]
        codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        counts = np.array([len(text) - size + 1 for text in padded])
        begins = np.concatenate([[0], np.cumsum([len(text) for text in padded])[:-1]])
        firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        # The place of each n-gram in the codes; none reaches from one text into the next.
        places = np.arange(int(counts.sum())) + np.repeat(begins - firsts, counts)
        grams = np.zeros(len(places), dtype=np.uint64)
        for offset in range(size):
            grams = _mixed(grams ^ codes[places + offset])
        for number, (factor, term) in enumerate(zip(_FACTORS, _TERMS, strict=True)):
            values = ((grams * factor + term) >> np.uint64(32)).astype(np.uint32)
            minima[start:stop, number] = np.minimum.reduceat(values, firsts)
    return minima


def _portions(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts that together have about so many characters."""
    start = total = 0
    for row, text in enumerate(texts):
        total += len(text)
        if total >= _CHARACTERS:
            yield start, row + 1
            start, total = row + 1, 0
    if start < len(texts):
        yield start, len(texts)


def _mixed(values: np.ndarray) -> np.ndarray:
    """A permutation of 64 bits in which each depends on all (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed: np.ndarray = values ^ (values >> np.uint64(29))
    return mixed


def _candidates(minima: np.ndarray) -> Candidates:
    """Pairs that agree in a band and in enough of all minima."""
    found = Candidates()
    for band in range(_BANDS):
        keys = np.zeros(len(minima), dtype=np.uint64)
        for column in range(band * _ROWS, (band + 1) * _ROWS):
            keys = _mixed(keys ^ minima[:, column].astype(np.uint64))
        found = found.with_others(*_neighbours(keys, minima), MOST_PAIRS)
    return found


def _neighbours(keys: np.ndarray, minima: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes i * n + j of pairs with equal keys, i < j, whose minima agree often enough, int64, and how many do."""
    count = len(keys)
    # Equal rows of minima come to stand side by side, however many rows share a key.
    order = np.lexsort((minima[:, 0], minima[:, -1], keys))
    ordered = keys[order]
    codes, agreements = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint8)]
    for distance in range(1, _NEIGHBOURS + 1):
        places = np.flatnonzero(ordered[distance:] == ordered[:-distance])
        if not len(places):
            break
        first, second = order[places], order[places + distance]
        low, high = np.minimum(first, second), np.maximum(first, second)
        for part in np.array_split(np.arange(len(low)), len(low) // 100_000 + 1):
            agreement = (minima[low[part]] == minima[high[part]]).sum(axis=1, dtype=np.uint8)
            enough = agreement >= _CANDIDATE * minima.shape[1]
            codes.append(low[part][enough].astype(np.int64) * count + high[part][enough])
            agreements.append(agreement[enough])
    return np.concatenate(codes), np.concatenate(agreements)
