"""Tags that contradict each other within a sentence are refused; those that may have been meant otherwise are said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ptm.config.tags import OUTSIDE, broken_entity, entity_tags
from ptm.data.examples import Examples
from ptm.errors import Problem, refuse


def tag_findings(examples: Examples, labels: Sequence[str]) -> list[Problem]:
    """What is to be said of the tags of a split, whose ``targets`` are class numbers, int64 [words], a sentence. Raises
    DataError naming rows and words where entities by BIOES or BILOU have no beginning or no end."""
    known = entity_tags(labels)
    if not known:
        return []
    sentences = [[labels[number] for number in numbers] for numbers in examples.targets]

    def place(row: int, word: int) -> str:
        return f"word {word + 1}, {examples.columns['words'][row][word]!r}"

    def broken() -> Iterator[Problem]:
        for row, tags in enumerate(sentences):
            if (found := broken_entity(tags, known)) is not None:
                word, how = found
                yield Problem(
                    f"{place(row, word)}: {how}",
                    examples.where(row),
                    "entities by BIOES or BILOU, as other tags have them: each with its first and its last word",
                    "correct the tags of this sentence, or remove it",
                )

    refuse(broken(), "sentences")
    return [*_without_place(sentences, labels, examples), *_begun_inside(sentences, known, examples)]


def _without_place(
    sentences: Sequence[Sequence[str]],
    labels: Sequence[str],
    examples: Examples,
) -> Iterator[Problem]:
    """Of tags among which one without a place in an entity (0 for O, b-per) makes each tag a kind of its own."""
    places = {label: found[label][0] for label in labels if (found := entity_tags([label]))}
    placed = [label for label, place in places.items() if place in ("B", "I")]
    others = [label for label in labels if label not in places and label != OUTSIDE]
    if not placed or not others:
        return
    counts = {label: sum(tags.count(label) for tags in sentences) for label in others}
    for label in others:
        row = next((row for row, tags in enumerate(sentences) if label in tags), None)
        if row is not None:
            yield Problem(
                f"the tag {label!r} ({counts[label]} words) names no place in an entity, as {placed[0]!r} does: so "
                "each tag counts as a kind of entity of its own",
                examples.where(row),
                cure=f"if it was meant to be {OUTSIDE}, or has a slip, correct it",
            )


def _begun_inside(
    sentences: Sequence[Sequence[str]], known: dict[str, tuple[str, str]], examples: Examples
) -> Iterator[Problem]:
    """Of tags by IOB2, by which every entity begins with B: those that begin with I."""
    if {place for place, _ in known.values()} != {"B", "I"}:
        return
    begun, inside, first = 0, 0, ""
    for row, tags in enumerate(sentences):
        before = (OUTSIDE, "")
        for word, tag in enumerate(tags):
            now = known.get(tag, (OUTSIDE, ""))
            if now[0] == "B" and before[1] != now[1]:
                begun += 1  # by IOB1, B stands between entities of a kind alone
            elif now[0] == "I" and before[1] != now[1]:
                inside += 1
                first = first or f"{examples.where(row)}, word {word + 1}"
            before = now
    if begun and inside:
        yield Problem(
            f"{inside} entities begin with I, {begun} with B: those with I are read as if they began with B",
            first,
            cure="if the tags are by IOB2, correct those that begin with I",
        )
