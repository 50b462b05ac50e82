"""What a set of tags says of entities: whether it names any, and by which scheme. No torch in here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Entity = tuple[str, int, int]  # kind, first word, last word

OUTSIDE = "O"  # the tag of a word that belongs to no entity

# Where in an entity a word stands: it begins, goes on, ends, or is all of it. BILOU and BMEWO have other letters.
_PLACES: Mapping[str, str] = {"B": "B", "I": "I", "E": "E", "S": "S", "M": "I", "L": "E", "U": "S", "W": "S"}
_FIRST = re.compile(rf"([{''.join(_PLACES)}])[-_](.+)", re.DOTALL)  # B-PER, B_PER
_LAST = re.compile(rf"(.+)[-_]([{''.join(_PLACES)}])", re.DOTALL)  # PER-B


def entity_tags(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Tag → (place, kind) of every tag that stands in an entity; place is B, I, E or S. {} where none is named.

    Tags with a place name entities by IOB1, IOB2, IOE1, IOE2, BIOES, BILOU or BMEWO, which one rule reads alike
    (:func:`entities`). Tags without one, beside ``O``, are the scheme IO: words of the same tag
    that follow each other are one entity. Without ``O`` they are classes of words, such as parts of speech.
    """
    others = [label for label in labels if label != OUTSIDE]
    for pattern, place, kind in ((_FIRST, 1, 2), (_LAST, 2, 1)):
        matches = [pattern.fullmatch(label) for label in others]
        if others and all(matches):
            return {match[0]: (_PLACES[match[place]], match[kind]) for match in matches if match}
    return {label: ("I", label) for label in others} if OUTSIDE in labels else {}


def entities(tags: Sequence[str | None], known: Mapping[str, tuple[str, str]]) -> list[Entity]:
    """The entities in the tags of a sentence, by the rule of conlleval (Tjong Kim Sang 2000), which is seqeval's
    default: B and S begin one, so do I and E after O, after the end of another, or after another kind.

    ``known``: (place, kind) of the tags that stand in entities, see :func:`entity_tags`; any other tag
    ends what was before.
    """
    spans: list[Entity] = []
    open_kind, begin, before = "", 0, OUTSIDE
    for index, tag in enumerate([*tags, None]):
        place, kind = known.get(tag or OUTSIDE, (OUTSIDE, ""))
        inside = place != OUTSIDE
        starts = inside and (place in ("B", "S") or before in (OUTSIDE, "E", "S") or kind != open_kind)
        if before != OUTSIDE and (starts or not inside):
            spans.append((open_kind, begin, index - 1))
        if starts:
            open_kind, begin = kind, index
        before = place
    return spans


def ends_are_named(known: Mapping[str, tuple[str, str]]) -> bool:
    """Whether tags say both where an entity begins and where it ends, as BIOES, BILOU and BMEWO do. ``known``: as for
    :func:`entities`."""
    places = {place for place, _ in known.values()}
    return {"B", "E"} <= places or {"B", "S"} <= places


def broken_entity(tags: Sequence[str], known: Mapping[str, tuple[str, str]]) -> tuple[int, str] | None:
    """The first word (from 0) of a sentence at which its tags by BIOES, BILOU or BMEWO contradict each other, and how;
    None where they do not, and for other schemes, in which any sequence of tags has a meaning.

    ``known``: as for :func:`entities`. Where single words have a tag of their own or entities a last one beside
    a first one, an entity of several words must have both its ends.
    """
    if not ends_are_named(known):
        return None
    open_tag, open_kind = "", ""
    for index, tag in enumerate([*tags, OUTSIDE]):
        place, kind = known.get(tag, (OUTSIDE, ""))
        goes_on = place in ("I", "E")
        if open_tag and not (goes_on and kind == open_kind):
            behind = "nothing" if index == len(tags) else repr(tag)
            return index - 1, f"{open_tag!r} goes on with {behind}"
        if goes_on and not open_tag:
            return index, f"{tag!r} goes on with what has not begun"
        open_tag, open_kind = (tag, kind) if place in ("B", "I") else ("", "")
    return None
