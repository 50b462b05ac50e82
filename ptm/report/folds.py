"""A cross-validation as one page: metrics out of fold, and the labels that are likely wrong, with row and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptm.report.batch import spread_text
from ptm.report.page import render_template

# The beginning of a page: what ptm may replace.
PAGE_MARK = b'<!doctype html>\n<html lang="en" data-by="ptm finetune --folds">'
MOST_SHOWN = 200


def folds_page(
    title: str,
    record: Mapping[str, Any],
    doubts: Sequence[Mapping[str, Any]] | None,
    pictures: Mapping[str, str],
) -> str:
    """HTML that loads nothing from elsewhere. ``doubts``: lines of ``doubtful_labels.jsonl``, None where no label can
    be doubted; ``pictures``: the place of an example → a data: address."""
    return render_template(
        "folds.html.j2",
        {
            "title": title,
            "record": record,
            "metrics": list(dict.fromkeys([*record["metrics"], *record["over_folds"]])),
            "doubts": None if doubts is None else list(doubts[:MOST_SHOWN]),
            "pictures": pictures,
            "spread": spread_text,
        },
    )
