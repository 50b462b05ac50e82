"""Is a candidate better than its baseline? Both on the same examples, once or with several seeds: pure functions.

In ``ptm distill`` the candidate is the distilled student and the baseline its control; verdicts name them so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 10_000
LEVEL = 0.05
_CELLS = 4_000_000  # random numbers at once: 32 MB


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What the two sides are called in the rows of a verdict, and what its sentence concludes."""

    candidate: str
    baseline: str
    better: str
    worse: str


DISTILLATION = Wording(
    candidate="distilled", baseline="control", better="the teacher helped", worse="the teacher did harm"
)
RUNS = Wording(candidate="candidate", baseline="baseline", better="better", worse="worse")


@dataclass(frozen=True, kw_only=True)
class PairedScores:
    """One seed: the scores of both on each example, float64 [n] each (1 and 0 where an example is right or wrong), and
    how many things of it were judged, float64 [n]; None: one each. ``baseline_counts`` where what the baseline said
    decides its own count, as of an F1."""

    seed: int
    candidate: np.ndarray
    baseline: np.ndarray
    counts: np.ndarray | None = None
    baseline_counts: np.ndarray | None = None

    @property
    def values(self) -> tuple[float, float]:
        """The metric of the candidate, and of the baseline; 0 for 0 / 0."""
        judged = len(self.candidate) if self.counts is None else self.counts.sum()
        of_baseline = judged if self.baseline_counts is None else self.baseline_counts.sum()
        return float(self.candidate.sum() / max(judged, 1)), float(self.baseline.sum() / max(of_baseline, 1))

    @property
    def difference(self) -> float:
        candidate, baseline = self.values
        return candidate - baseline

    @property
    def only_right(self) -> tuple[int, int] | None:
        """Examples that only the candidate got right, and those that only the baseline did; None where examples are
        not just right or wrong."""
        if self.baseline_counts is not None:
            return None
        both = np.concatenate([self.candidate, self.baseline])
        if (self.counts is not None and (self.counts != 1).any()) or not np.isin(both, (0, 1)).all():
            return None
        return int((self.candidate > self.baseline).sum()), int((self.baseline > self.candidate).sum())


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test (Psychometrika 12, 1947): if both were equally good, each example
    that only one of them got right would be a fair coin's throw."""
    from scipy.stats import binomtest

    n = only_first + only_second
    return float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0


def bootstrap(differences: np.ndarray, counts: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Draws of the sum of paired differences [n] over that of ``counts`` [n] (None: over n), float64 [DRAWS].

    Examples are drawn with replacement (Efron 1979); only the counts of equal ones matter, so that a draw costs as
    many numbers as there are different ones.
    """
    n = len(differences)
    judged = np.ones(n) if counts is None else counts
    values, times = np.unique(np.stack([differences, judged], axis=1), axis=0, return_counts=True)
    random, draws = np.random.default_rng(seed), []
    at_once = max(1, _CELLS // len(values))
    for begin in range(0, DRAWS, at_once):
        size = min(at_once, DRAWS - begin)
        sums = random.multinomial(n, times / n, size=size) @ values
        draws.append(sums[:, 0] / np.maximum(sums[:, 1], 1))
    return np.concatenate(draws)


def ratio_bootstrap(pairs: Sequence[PairedScores], seed: int = 0) -> np.ndarray:
    """As :func:`bootstrap` for pairs with counts of their own: draws of the mean over pairs of the candidate's ratio
    less the baseline's, float64 [DRAWS]. The same examples are drawn for all."""
    columns: list[np.ndarray] = []
    for pair in pairs:
        assert pair.counts is not None and pair.baseline_counts is not None
        columns += [pair.candidate, pair.counts, pair.baseline, pair.baseline_counts]
    table = np.stack(columns, axis=1)  # [n, 4 * pairs]
    random, draws = np.random.default_rng(seed), []
    n = len(table)
    at_once = max(1, _CELLS // n)
    for begin in range(0, DRAWS, at_once):
        size = min(at_once, DRAWS - begin)
        sums = random.multinomial(n, np.full(n, 1 / n), size=size) @ table
        grouped = sums.reshape(size, len(pairs), 4)
        ratios = grouped[..., 0::2] / np.maximum(grouped[..., 1::2], 1)  # candidate, baseline
        draws.append((ratios[..., 0] - ratios[..., 1]).mean(1))
    return np.concatenate(draws)


def over_seeds(gains: np.ndarray, error: float, examples: int) -> tuple[float, float, float]:
    """(lower, upper bound of 95 %, two-sided p-value) of the mean of ``gains`` [k], one a seed, k > 1.

    Another mean would come of other examples, by the standard error ``error`` over ``examples``, and of other seeds, by
    that of the gains seen. Both squares add up; a t-test with as many degrees of freedom as Welch (Biometrika 34, 1947)
    and Satterthwaite give such a sum. So one lucky seed of three proves nothing, however many examples there are.
    """
    from scipy.stats import t

    k = len(gains)
    parts = np.array([error**2, gains.var(ddof=1) / k])
    mean, total = float(gains.mean()), float(parts.sum())
    if total == 0:
        return mean, mean, 1.0 if mean == 0 else 0.0
    freedom = total**2 / float((parts**2 / np.array([max(1, examples - 1), k - 1])).sum())
    half = float(t.ppf(0.975, freedom)) * math.sqrt(total)
    return mean - half, mean + half, float(2 * t.sf(abs(mean) / math.sqrt(total), freedom))


def spread(values: Sequence[float]) -> dict[str, Any]:
    """``{"mean", "sd", "interval_95"}``; of one value neither sd nor interval."""
    from statistics import fmean, stdev

    mean = fmean(values)
    if len(values) < 2:
        return {"mean": mean, "sd": None, "interval_95": None}
    from scipy.stats import t

    sd = stdev(values)
    half = float(t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
    return {"mean": mean, "sd": sd, "interval_95": [mean - half, mean + half]}


def compare(
    pairs: Sequence[PairedScores],
    *,
    metric: str = "accuracy",
    things: str = "examples",
    higher_is_better: bool = True,
    wording: Wording = DISTILLATION,
) -> dict[str, Any]:
    """Gain, its spread and its p-value, with a sentence that says it all. ``gain`` is above 0 where the candidate is
    better, of errors too.

    One pair whose examples are right or wrong: McNemar; one of another kind: the bootstrap over examples. Both speak of
    these two runs alone. Several pairs: :func:`over_seeds`. ``metric`` is what the scores' sum over the counts' is,
    ``things`` what the counts count.
    """
    sign = 1 if higher_is_better else -1
    gains = sign * np.array([pair.difference for pair in pairs])
    own_counts = pairs[0].baseline_counts is not None
    counts = None if own_counts else pairs[0].counts
    seeds = [_seed_row(pair, sign, wording) for pair in pairs]
    differences = sign * np.mean([pair.candidate.astype(float) - pair.baseline for pair in pairs], axis=0)
    draws = sign * ratio_bootstrap(pairs) if own_counts else bootstrap(differences, counts)
    if len(pairs) > 1:
        test = "examples and seeds, Welch"
        lower, upper, p = over_seeds(gains, float(draws.std()), len(differences))
    else:
        lower, upper = map(float, np.quantile(draws, [0.025, 0.975]))
        exact = "p_mcnemar" in seeds[0]
        tail = min((draws <= 0).mean(), (draws >= 0).mean())
        p = seeds[0]["p_mcnemar"] if exact else float(min(1.0, max(2 * tail, 1 / DRAWS)))
        test = "McNemar, exact" if exact else "bootstrap over examples"
    verdict: dict[str, Any] = {
        "metric": metric,
        "higher_is_better": higher_is_better,
        "examples": len(differences),
        "things": things,
        "ratio": own_counts,
        "judged": int(len(differences) if counts is None else counts.sum()),
        "gain": float(gains.mean()),
        "spread": float(gains.std(ddof=1)) if len(gains) > 1 else None,
        "interval_95": [lower, upper],
        "p": p,
        "test": test,
        "shown": "no difference" if p >= LEVEL else "better" if gains.mean() > 0 else "worse",
        "seeds": seeds,
    }
    return {**verdict, "sentence": sentence(verdict, wording)}


def _seed_row(pair: PairedScores, sign: int, wording: Wording) -> dict[str, Any]:
    """One of ``seeds`` of a verdict."""
    candidate, baseline = pair.values
    row = {
        "seed": pair.seed,
        wording.candidate: candidate,
        wording.baseline: baseline,
        "gain": sign * pair.difference,
    }
    only_right = pair.only_right
    if only_right is None:
        return row
    return {
        **row,
        f"only_{wording.candidate}_right": only_right[0],
        f"only_{wording.baseline}_right": only_right[1],
        "p_mcnemar": mcnemar(*only_right),
    }


def sentence(verdict: Mapping[str, Any], wording: Wording = DISTILLATION) -> str:
    """``+0.46 points is 4 of 872 examples, p = 0.62 (McNemar, exact): no difference shown``; of an error:
    ``mean squared error 0.310 instead of 0.432, 0.122 better, p = …``."""
    gain, spread, seeds = verdict["gain"], verdict["spread"], verdict["seeds"]
    over = "" if spread is None else f" over {len(seeds)} seeds"
    here = "" if len(seeds) > 1 else " with this seed"
    conclusion = {
        "better": f"{wording.better}{here}",
        "worse": f"{wording.worse}{here}",
        "no difference": "no difference shown",
    }[verdict["shown"]]
    arms = (wording.candidate, wording.baseline)
    end = f"p = {verdict['p']:.2g} ({verdict['test']}): {conclusion}"
    if not verdict["higher_is_better"]:
        candidate, baseline = (np.mean([row[arm] for row in seeds]) for arm in arms)
        by = f"{abs(gain):.3g}" + ("" if spread is None else f" ± {spread:.2g}")
        name = verdict["metric"].replace("_", " ")
        word = "better" if gain > 0 else "worse"
        return f"{name} {candidate:.4g} instead of {baseline:.4g}, {by} {word}{over}, {end}"
    if verdict.get("ratio"):  # there is no number of things that are right
        candidate, baseline = (np.mean([row[arm] for row in seeds]) for arm in arms)
        points = f"{100 * gain:+.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}") + " points"
        values = f"{verdict['metric']} {candidate:.4g} instead of {baseline:.4g}"
        return f"{points}{over}, {values} on {verdict['judged']} {verdict['things']}, {end}"
    points = f"{100 * gain:+.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}") + " points"
    difference = abs(gain) * verdict["judged"]
    whole = math.isclose(difference, round(difference), abs_tol=1e-6) or difference >= 1000
    count = f"{difference:.0f}" if whole else f"{difference:.1f}"
    return f"{points}{over} is {count} of {verdict['judged']} {verdict['things']}, {end}"
