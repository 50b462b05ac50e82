"""What is held out of train, as ``data.eval`` and ``data.test`` name it: percentages, and folds of cross-validation. No
torch in here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ptm.errors import ConfigError

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


def held_out_fractions(shares: Mapping[str, str | None]) -> dict[str, float]:
    """The fractions of train that are held out, by split, of what ``data:`` says of each; a split that is named has
    none. Raises ConfigError for percentages that leave nothing, or nothing over."""
    fractions = {
        split: _fraction(split, share)
        for split, share in shares.items()
        if share is not None and (share.endswith("%") or (split == "eval" and parse_fold(share)))
    }
    if parse_fold(shares["eval"]) is not None and "test" in fractions:
        raise ConfigError(
            "a test is held out of train, which the folds share out as a whole",
            where="data.test",
            expected="a test split of its own, or none",
        )
    if sum(fractions.values()) >= 1 - 1e-9:
        raise ConfigError(
            f"nothing is left to train on: {' and '.join(f'{split}: {shares[split]}' for split in fractions)}",
            where=f"data.{[*fractions][-1]}",
            expected="percentages that come to less than 100%",
        )
    return fractions


def _fraction(split: str, share: str) -> float:
    """0.2 for ``20%``, and for ``fold-1-of-5``."""
    fold = parse_fold(share)
    if fold is not None:
        return 1 / fold[1]
    try:
        fraction = float(share.removesuffix("%")) / 100
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 1:
        raise ConfigError(
            f"data.{split} is {share!r}",
            where=f"data.{split}",
            expected="a percentage between 0% and 100%, such as 20%",
        )
    return fraction
