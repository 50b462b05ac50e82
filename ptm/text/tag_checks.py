"""Tags that contradict each other within a sentence are refused; those that may have been meant otherwise are said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ptm.config.tags import OUTSIDE, broken_entity, ends_are_named, entity_tags
from ptm.data.examples import Examples
from ptm.errors import Problem, refuse


def tag_findings(examples: Examples, labels: Sequence[str]) -> list[Problem]:
    """What is to be said of the tags of a split, whose ``targets`` are class numbers, int64 [words], a sentence. Raises
    DataError naming rows and words where entities by BIOES or BILOU have no beginning or no end."""
    known = entity_tags(labels)
    if not known:
        return []
    tags = _Tags.of(examples, labels, known)

    def broken() -> Iterator[Problem]:
        for row in tags.rows(_contradicting(tags)) if ends_are_named(known) else ():
            named = [labels[number] for number in examples.targets[row]]
            if (found := broken_entity(named, known)) is not None:
                word, how = found
                yield Problem(
                    f"word {word + 1}, {examples.columns['words'][row][word]!r}: {how}",
                    examples.where(row),
                    "entities by BIOES or BILOU, as other tags have them: each with its first and its last word",
                    "correct the tags of this sentence, or remove it",
                )

    refuse(broken(), "sentences")
    return [*_without_place(tags, labels, examples), *_begun_inside(tags, known, examples)]


@dataclass(frozen=True)
class _Tags:
    """The tags of all sentences, one after the other, each sentence with O behind it: [words + sentences]."""

    numbers: np.ndarray  # int64: the class; that of the O behind a sentence is the number of labels
    places: np.ndarray  # int8: the letter of B, I, E or S; 0 outside of entities
    kinds: np.ndarray  # int64: the kind of the entity, from 1; 0 outside
    ends: np.ndarray  # int64 [sentences]: where the O behind each stands

    @classmethod
    def of(cls, examples: Examples, labels: Sequence[str], known: Mapping[str, tuple[str, str]]) -> _Tags:
        behind = np.array([len(labels)])
        pieces = [piece for numbers in examples.targets for piece in (numbers, behind)]
        numbers = np.concatenate([np.empty(0, dtype=np.int64), *pieces])
        found = [known.get(label) for label in labels] + [None]
        kind = {name: place for place, (_, name) in enumerate(known.values(), start=1)}
        places = np.array([0 if tag is None else ord(tag[0]) for tag in found], dtype=np.int8)
        kinds = np.array([0 if tag is None else kind[tag[1]] for tag in found], dtype=np.int64)
        ends = np.flatnonzero(numbers == len(labels))
        return cls(numbers, places[numbers], kinds[numbers], ends)

    def at(self, letters: str) -> np.ndarray:
        """bool: the tags with one of these places."""
        return np.isin(self.places, [ord(letter) for letter in letters])

    def rows(self, there: np.ndarray) -> list[int]:
        """The sentences in which one of these tags, bool, stands, sorted."""
        rows = np.searchsorted(self.ends, np.flatnonzero(there))
        return [int(row) for row in np.unique(rows)]


def _before(values: np.ndarray) -> np.ndarray:
    """For each tag what is said of the one before it; of the very first one, 0."""
    return np.concatenate([np.zeros(1, values.dtype), values])[:-1]


def _contradicting(tags: _Tags) -> np.ndarray:
    """bool: the tags that do not go on with what is open before them, or go on with nothing."""
    goes_on, opened = tags.at("IE"), _before(tags.at("BI"))
    fits = goes_on & (tags.kinds == _before(tags.kinds))
    return np.asarray((opened & ~fits) | (goes_on & ~opened))


def _without_place(tags: _Tags, labels: Sequence[str], examples: Examples) -> Iterator[Problem]:
    """Of tags among which one without a place in an entity (0 for O, b-per) makes each tag a kind of its own."""
    places = {label: found[label][0] for label in labels if (found := entity_tags([label]))}
    placed = [label for label, place in places.items() if place in ("B", "I")]
    others = [number for number, label in enumerate(labels) if label not in places and label != OUTSIDE]
    if not placed or not others:
        return
    counts = np.bincount(tags.numbers, minlength=len(labels))
    for number in others:
        if counts[number]:
            yield Problem(
                f"the tag {labels[number]!r} ({counts[number]} words) names no place in an entity, as {placed[0]!r} "
                "does: so each tag counts as a kind of entity of its own",
                examples.where(tags.rows(tags.numbers == number)[0]),
                cure=f"if it was meant to be {OUTSIDE}, or has a slip, correct it",
            )


def _begun_inside(tags: _Tags, known: Mapping[str, tuple[str, str]], examples: Examples) -> Iterator[Problem]:
    """Of tags by IOB2, by which every entity begins with B: those that begin with I."""
    if {place for place, _ in known.values()} != {"B", "I"}:
        return
    # By IOB1, B stands between entities of a kind alone.
    other_kind = tags.kinds != _before(tags.kinds)
    begun = int((tags.at("B") & other_kind).sum())
    inside = np.flatnonzero(tags.at("I") & other_kind)
    if begun and len(inside):
        row = int(np.searchsorted(tags.ends, inside[0]))
        word = inside[0] - (tags.ends[row - 1] + 1 if row else 0)
        yield Problem(
            f"{len(inside)} entities begin with I, {begun} with B: those with I are read as if they began with B",
            f"{examples.where(row)}, word {word + 1}",
            cure="if the tags are by IOB2, correct those that begin with I",
        )
