"""Shares of data, as ``data.eval`` writes them."""

from __future__ import annotations

from ptm.errors import ConfigError


def held_out_share(split: str | None) -> float | None:
    """0.2 for "20%", None for the name of a split. Raises ConfigError for no share of anything."""
    if split is None or not split.endswith("%"):
        return None
    try:
        share = float(split[:-1]) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ConfigError(
            f"data.eval is {split!r}",
            where="data.eval",
            expected="a share between 0% and 100%, such as 20%",
        )
    return share
