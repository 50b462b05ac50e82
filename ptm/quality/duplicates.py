"""Inputs that stand in a data set more than once, equal or nearly so: within a split, across splits, and with labels
that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ptm.errors import Problem, listing
from ptm.quality.answers import Answer, AnswerOf
from ptm.quality.candidates import NearPairs
from ptm.quality.findings import Finding, Rows

_PLACES = 50  # where the others stand, named with a finding
_REMOVE = "remove it from one of the splits; what was trained on says nothing about new examples"


@dataclass(frozen=True)
class Duplicates:
    """Of all rows: ``groups``, int64 [n], the first row with an equal input; ``exact``, the same by inputs as they are
    written, case included; ``near``, pairs of first rows that are nearly equal, with their similarity. ``noun``: what
    an input is called."""

    rows: Rows
    noun: str
    groups: np.ndarray
    exact: np.ndarray
    near: NearPairs
    answer: AnswerOf | None

    def findings(self) -> Iterator[Finding]:
        """By rule, and by rising row in each."""
        members = _members(self.groups)
        contradictory = dict(self._contradictions())
        yield from contradictory.values()
        shared = set()
        for row, finding in self._overlaps(members):
            shared.add(row)
            yield finding
        firsts = {int(self.groups[row]) for row in contradictory}
        yield from self._near(members, shared)
        yield from self._left_out()
        for first, rows in members.items():
            if first not in firsts:
                yield from self._within(rows)

    def _answer(self, row: int) -> Answer | None:
        return None if self.answer is None else self.answer(*self.rows.place(row))

    def _contradictions(self) -> Iterator[tuple[int, Finding]]:
        if self.answer is None:
            return
        for first, rows in _members(self.exact).items():
            answers = {row: self.answer(*self.rows.place(row)) for row in rows}
            texts = {answer.key: answer.text for answer in answers.values()}
            if len(texts) > 1:
                counts = {key: sum(answer.key == key for answer in answers.values()) for key in texts}
                both = listing((f"{texts[key]} ({_rows(counts[key])})" for key in texts), separator=" and ")
                cure = "correct the labels, or remove the rows: nothing can learn both"
                problem = Problem(f"the same {self.noun} has {both}", self.rows.where(rows[0]), cure=cure)
                yield first, Finding("warning", "contradiction", problem, self._places(rows[1:]))

    def _overlaps(self, members: dict[int, list[int]]) -> Iterator[tuple[int, Finding]]:
        """Rows of a later split that stand in an earlier one."""
        for rows in members.values():
            first_split = self.rows.split(rows[0])
            for row in rows[1:]:
                split = self.rows.split(row)
                if split > first_split:
                    earlier = [other for other in rows if self.rows.split(other) < split]
                    names = " and ".join(dict.fromkeys(self.rows.names[self.rows.split(r)] for r in earlier))
                    what = f"this {self.noun} of {self.rows.names[split]} also stands in {names}"
                    problem = Problem(what, self.rows.where(row), cure=_REMOVE)
                    yield row, Finding("warning", "overlap", problem, self._places(earlier))

    def _within(self, rows: Sequence[int]) -> Iterator[Finding]:
        for number, name in enumerate(self.rows.names):
            of_split = [row for row in rows if self.rows.split(row) == number]
            if len(of_split) > 1:
                what = f"this {self.noun} stands {len(of_split)} times in {name}"
                problem = Problem(what, self.rows.where(of_split[0]))
                yield Finding("note", "duplicate", problem, self._places(of_split[1:]))

    def _near(self, members: dict[int, list[int]], shared: set[int]) -> Iterator[Finding]:
        """One finding a row: of a later split with the most similar row of an earlier one, else within its split."""
        closest: dict[tuple[bool, int], tuple[float, int]] = {}
        for first, second, similarity in self.near.found:
            groups = [members.get(row, [row]) for row in (first, second)]
            for own, others in (groups, groups[::-1]):
                for row in own:
                    split = self.rows.split(row)
                    earlier = next((r for r in others if self.rows.split(r) < split), None)
                    same = next((r for r in others if self.rows.split(r) == split and r < row), None)
                    for across, other in ((True, earlier), (False, same)):
                        if other is not None and not (across and row in shared):
                            best = closest.get((across, row), (0.0, 0))
                            closest[across, row] = max(best, (similarity, other))
        for (across, row), (similarity, other) in sorted(closest.items(), key=_across_first):
            yield self._near_finding(across, row, other, similarity)

    def _left_out(self) -> Iterator[Finding]:
        if self.near.limit is not None:
            what = f"only the {self.near.limit:,} pairs of {self.noun}s that seem most alike were compared"
            cure = f"there are more: many {self.noun}s of this data set are made alike"
            yield Finding("note", "near-limit", Problem(what, self.rows.where(0), cure=cure))

    def _near_finding(self, across: bool, row: int, other: int, similarity: float) -> Finding:
        names = [self.rows.names[self.rows.split(r)] for r in (row, other)]
        of = (
            f" of {names[0]} is nearly equal to one of {names[1]}"
            if across
            else " is nearly equal to one before it"
        )
        what = f"this {self.noun}{of} (similarity {similarity:.2f})"
        own, others = self._answer(row), self._answer(other)
        differ = own is not None and others is not None and own.key != others.key
        if differ and own is not None and others is not None:
            what += f", and they have {own.text} and {others.text}"
        level = "warning" if across or differ else "note"
        rule = "near-overlap" if across else "near-contradiction" if differ else "near-duplicate"
        problem = Problem(what, self.rows.where(row), cure=_REMOVE if across else "")
        return Finding(level, rule, problem, self._places([other]))  # type: ignore[arg-type]

    def _places(self, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.rows.where(row) for row in rows[:_PLACES])


def _members(groups: np.ndarray) -> dict[int, list[int]]:
    """First row → all rows, of groups of several."""
    order = np.argsort(groups, kind="stable")
    firsts, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    several = np.flatnonzero(counts > 1)
    return {int(firsts[k]): [int(row) for row in order[starts[k] : starts[k] + counts[k]]] for k in several}


def _across_first(item: tuple[tuple[bool, int], object]) -> tuple[bool, int]:
    (across, row), _ = item
    return not across, row


def _rows(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"
