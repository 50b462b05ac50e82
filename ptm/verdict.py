"""Did it help? Two models on the same examples, once or with several seeds: pure functions of who was right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 10_000
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One seed: for each example whether the distilled student and its control were right, bool [n]."""

    seed: int
    distilled: np.ndarray
    control: np.ndarray

    @property
    def only_distilled(self) -> int:
        return int((self.distilled & ~self.control).sum())

    @property
    def only_control(self) -> int:
        return int((self.control & ~self.distilled).sum())

    @property
    def gain(self) -> float:
        return float(self.distilled.mean() - self.control.mean())


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test (Psychometrika 12, 1947): if both were equally good, each example
    that only one of them got right would be a fair coin's throw."""
    from scipy.stats import binomtest

    n = only_first + only_second
    return float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0


def bootstrap(differences: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """(lower, upper bound of 95 %, two-sided p-value) of a mean of paired differences [n] (Efron 1979, percentiles).

    Examples are drawn with replacement; only the counts of equal differences matter, so that a draw costs as
    many numbers as there are different values.
    """
    values, counts = np.unique(differences, return_counts=True)
    n = len(differences)
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=DRAWS) @ values / n
    lower, upper = np.quantile(draws, [0.025, 0.975])
    tail = min((draws <= 0).mean(), (draws >= 0).mean())
    return float(lower), float(upper), float(min(1.0, max(2 * tail, 1 / DRAWS)))


def compare(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Gain, its spread and its p-value, with a sentence that says it all. One pair: McNemar; more: the bootstrap
    over examples of the mean over seeds, and the standard deviation over seeds."""
    n = len(pairs[0].distilled)
    gains = np.array([pair.gain for pair in pairs])
    seeds = [
        {
            "seed": pair.seed,
            "distilled": float(pair.distilled.mean()),
            "control": float(pair.control.mean()),
            "gain": pair.gain,
            "only_distilled_right": pair.only_distilled,
            "only_control_right": pair.only_control,
            "p_mcnemar": mcnemar(pair.only_distilled, pair.only_control),
        }
        for pair in pairs
    ]
    differences = np.mean([pair.distilled.astype(float) - pair.control for pair in pairs], axis=0)
    lower, upper, p_bootstrap = bootstrap(differences)
    p = seeds[0]["p_mcnemar"] if len(pairs) == 1 else p_bootstrap
    verdict: dict[str, Any] = {
        "metric": "accuracy",
        "examples": n,
        "gain": float(gains.mean()),
        "spread": float(gains.std(ddof=1)) if len(gains) > 1 else None,
        "interval_95": [lower, upper],
        "p": p,
        "test": "McNemar, exact" if len(pairs) == 1 else "paired bootstrap over examples",
        "shown": "better" if p < LEVEL and gains.mean() > 0 else "worse" if p < LEVEL else "no difference",
        "seeds": seeds,
    }
    return {**verdict, "sentence": sentence(verdict)}


def sentence(verdict: Mapping[str, Any]) -> str:
    """``+0.46 points is 4 of 872 examples, p = 0.62 (McNemar, exact): no difference shown``."""
    gain, n, seeds = verdict["gain"], verdict["examples"], verdict["seeds"]
    spread = verdict["spread"]
    points = f"{100 * gain:+.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}") + " points"
    over = "" if spread is None else f" over {len(seeds)} seeds"
    moved = abs(gain) * n
    examples = f"{moved:.0f}" if math.isclose(moved, round(moved), abs_tol=1e-6) else f"{moved:.1f}"
    shown = {
        "better": "the teacher helped",
        "worse": "the teacher did harm",
        "no difference": "no difference shown",
    }[verdict["shown"]]
    return (
        f"{points}{over} is {examples} of {n} examples, p = {verdict['p']:.2g} ({verdict['test']}): {shown}"
    )
