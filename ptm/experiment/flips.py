"""The examples on which two sides of a comparison differ, over all seeds, as a reader wants to see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptm.experiment.comparison import Row
from ptm.experiment.verdict import PairedScores

MOST_FLIPS = 200  # of each direction in the record and on the page
# Of an example as it stands in predictions.jsonl.
_SHOWN = ("where", "input", "label", "tags", "answers")
_SAID = (
    "prediction",
    "predicted_tags",
    "answer",
    "rank",
)  # what a model says: of each task one of them, or none


def flips_of(
    pairs: Sequence[PairedScores], rows: Sequence[tuple[Mapping[int, Row], Mapping[int, Row]]]
) -> dict[str, Any] | None:
    """The examples that one of them got right in more of the seeds than the other; None for other measures.

    ``rows``: of each seed, the candidate's and the baseline's. What an example shows is of the first seed in which it
    flipped that way; ``seeds`` counts these, and ``of`` all.
    """
    first = rows[0][0]
    alike = all(ours.keys() == first.keys() for ours, _ in rows)
    if not alike or any(pair.only_right is None for pair in pairs):
        return None
    ids = np.array(sorted(first))
    signs = np.stack([np.sign(pair.candidate - pair.baseline) for pair in pairs])  # [seeds, examples]
    found = {}
    for name, sign in (("only_candidate_right", 1), ("only_baseline_right", -1)):
        chosen = np.flatnonzero(np.sign(signs.sum(axis=0)) == sign)
        flipped = signs == sign
        examples = [
            _flip(int(ids[k]), *rows[int(flipped[:, k].argmax())])
            | ({"seeds": int(flipped[:, k].sum())} if len(pairs) > 1 else {})
            for k in chosen[:MOST_FLIPS]
        ]
        found[name] = {"count": len(chosen), "of": len(pairs), "examples": examples}
    return found


def _flip(index: int, ours: Mapping[int, Row], theirs: Mapping[int, Row]) -> dict[str, Any]:
    row, other = ours[index], theirs[index]
    fields = {key: row[key] for key in _SHOWN if key in row}
    said = next((key for key in _SAID if key in row), "")
    return {"id": index, **fields, "candidate": row.get(said), "baseline": other.get(said)}
