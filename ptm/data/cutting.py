"""Texts to words: as the words of the training data were cut, so that a model meets what it has learned."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from ptm.data.arrow_values import occurrences

CONFIG_KEY = "word_cut"  # of a saved model's config.json
_MOST_SUFFIXES = 40
_PIECE = re.compile(r"\S+")
# Scripts that write no blanks between words.
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class CutText(list[str]):
    """The words of a ``text``, and where in it each begins, in characters: ``starts``."""

    def __init__(self, text: str, spans: Iterable[tuple[int, int]]) -> None:
        spans = list(spans)
        super().__init__(text[start:end] for start, end in spans)
        self.text = text
        self.starts = [start for start, _ in spans]


@dataclass(frozen=True)
class WordCut:
    """How words stand in a text: at blanks, and punctuation around them apart.

    ``joined``: punctuation that stays with the word beside it; ``suffixes``: what is cut off at the end of a word, such
    as ``'s``; ``ideographs``: whether each of them is a word.
    """

    joined: str = ""
    suffixes: tuple[str, ...] = ()
    ideographs: bool = False

    def cut(self, text: str) -> CutText:
        """The words of a text."""
        spans = (span for piece in _PIECE.finditer(text) for span in self._spans(text, *piece.span()))
        return CutText(text, spans)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "suffixes": list(self.suffixes)}

    def _spans(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """Of a piece without blanks."""
        first, last = start, end
        while first < end and self._apart(text[first]):
            first += 1
        while last > first and self._apart(text[last - 1]):
            last -= 1
        inner = self._ideographs(text, first, last) if self.ideographs else self._suffixed(text, first, last)
        return [*_runs(text, start, first), *inner, *_runs(text, last, end)]

    def _apart(self, character: str) -> bool:
        return is_punctuation(character) and character not in self.joined

    def _suffixed(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        word = text[start:end]
        suffix = next((s for s in self.suffixes if word.endswith(s) and len(s) < len(word)), "")
        border = end - len(suffix)
        return [span for span in ((start, border), (border, end)) if span[0] < span[1]]

    def _ideographs(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        for place in range(start, end):
            alone = _IDEOGRAPH.match(text[place]) or self._apart(text[place])
            if not alone and spans and spans[-1][1] == place and not _IDEOGRAPH.match(text[place - 1]):
                spans[-1] = (spans[-1][0], place + 1)
            else:
                spans.append((place, place + 1))
        return spans


def learn_cut(sentences: Sequence[Sequence[str]]) -> WordCut:
    """How the words of these sentences were cut from their texts.

    Punctuation is ``joined`` where it is more often the first or last character of a longer word than a word by
    itself; what does not occur stands apart, as in the treebanks and shared tasks that most tagged texts come from.
    """
    alone: Counter[str] = Counter()
    attached: Counter[str] = Counter()
    suffixes: Counter[str] = Counter()
    single = longer = 0
    for word, count in occurrences(sentences):
        if all(map(is_punctuation, word)):
            alone.update(dict.fromkeys(word, count))
            continue
        attached.update({c: count for c in (word[0], word[-1]) if is_punctuation(c)})
        if word[0] in "'’" and word[1:].isalpha() and len(word) <= 4:
            suffixes[word] += count
        if _IDEOGRAPH.search(word):
            single, longer = single + count * (len(word) == 1), longer + count * (len(word) > 1)
    return WordCut(
        joined="".join(sorted(c for c, count in attached.items() if count >= alone[c])),
        suffixes=tuple(suffix for suffix, _ in suffixes.most_common(_MOST_SUFFIXES)),
        ideographs=single > longer,
    )


def cut_of(config: Any) -> WordCut:
    """How a saved model's texts are cut: as its config says; by default with all punctuation apart."""
    saved = getattr(config, CONFIG_KEY, None)
    if not isinstance(saved, Mapping):
        return WordCut()
    suffixes = saved.get("suffixes")
    return WordCut(
        joined=str(saved.get("joined", "")),
        suffixes=tuple(map(str, suffixes)) if isinstance(suffixes, list | tuple) else (),
        ideographs=saved.get("ideographs") is True,
    )


def joined_words(words: Sequence[str]) -> CutText:
    """Words as they are, in a text that has a blank between each two."""
    spans, place = [], 0
    for word in words:
        spans.append((place, place + len(word)))
        place += len(word) + 1
    return CutText(" ".join(words), spans)


def has_ideographs(text: str) -> bool:
    """Whether there are characters of a script that writes no blanks between words."""
    return _IDEOGRAPH.search(text) is not None


def is_punctuation(character: str) -> bool:
    """Punctuation and symbols of Unicode."""
    return unicodedata.category(character)[0] in "PS"


def _runs(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Punctuation, a word each but where the same character is repeated: ``...``."""
    spans, place = [], start
    for _, same in groupby(text[start:end]):
        length = len(list(same))
        spans.append((place, place + length))
        place += length
    return spans
