"""Folds of cross-validation, as ``data.eval`` names them. No torch in here."""

from __future__ import annotations

import re

_FOLD = re.compile(r"fold-([1-9]\d{0,3})-of-([1-9]\d{0,3})")
MOST = 100


def fold_name(number: int, folds: int) -> str:
    """``fold-1-of-5``."""
    return f"fold-{number}-of-{folds}"


def parse_fold(name: str | None) -> tuple[int, int] | None:
    """(number from 1, folds) of a name; None for what names no fold."""
    match = _FOLD.fullmatch((name or "").strip())
    if match is None:
        return None
    number, folds = int(match[1]), int(match[2])
    return (number, folds) if number <= folds and 2 <= folds <= MOST else None


def is_share(name: str | None) -> bool:
    """Whether a split is taken out of train: a percentage, or a fold."""
    return (name or "").strip().endswith("%") or parse_fold(name) is not None
