"""Bounds on metrics, such as ``accuracy: ">= 0.9"``: reading them and holding results against them."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ptm.config.evaluation import shown_metric
from ptm.config.slices import parse_slice_metric
from ptm.errors import ConfigError, ExpectationMissed, Problem

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_BOUND = re.compile(r"\s*(>=|<=|>|<|==)\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*")
# A metric, which may be of a slice: accuracy[source=mobile].
_OPTION = re.compile(r"\s*([^\s<>=\[]+(?:\[[^=]*=.*\]|\[[^=]*\])?)\s*([<>=].*)", re.DOTALL)


@dataclass(frozen=True)
class Expectation:
    """A bound and the value that was measured, on which ``split``. ``met`` is false for NaN, whatever the bound, and
    where there is no value: a metric that is not defined for the examples of a slice."""

    metric: str
    bound: str
    value: float | None
    met: bool
    split: str = "eval"

    @property
    def consistent(self) -> bool:
        """Whether ``met`` is what the bound and the value say. Raises ConfigError for what is no bound."""
        return self.met == _held(self.metric, self.bound, self.value, self.split).met

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def parse_expectation(text: str) -> tuple[str, float]:
    """``">= 0.9"`` to (``">="``, 0.9). Raises ConfigError for anything else."""
    match = _BOUND.fullmatch(text)
    if match is None:
        percent = text.rstrip().endswith("%")
        raise ConfigError(
            f"{text[:60]!r} is not a bound on a metric",
            expected=f"one of {', '.join(_OPERATORS)} and a number, such as '>= 0.9'",
            cure="write percentages as numbers up to 1: 90% is 0.9" if percent else "",
        )
    limit = float(match[2])
    if not math.isfinite(limit):
        raise ConfigError(f"{text[:60]!r} is no bound: the number is too large", expected="a finite number")
    return match[1], limit


def parse_bound(text: str) -> tuple[str, str]:
    """``"accuracy>=0.9"`` of a command line to (``"accuracy"``, ``">= 0.9"``). Raises ConfigError."""
    match = _OPTION.fullmatch(text)
    if match is None:
        raise ConfigError(
            "not a bound on a metric",
            where=f"--expect {text[:60]!r}",
            expected='a metric, a comparison and a number, such as "accuracy>=0.9"',
            cure='put it in quotes, or the shell reads ">" as a file to write to',
        )
    bound = match[2].strip()
    parse_expectation(bound)
    return match[1], bound


def check_expectations(
    bounds: Iterable[tuple[str, str]],
    metrics: Mapping[str, float],
    *,
    split: str = "eval",
    slices: Mapping[str, float] | None = None,
) -> list[Expectation]:
    """Each bound (metric, bound) against ``metrics``, in their order; a metric may have several.

    ``split``: where they were measured; ``slices``: metrics of slices, by the names that expectations have for them. Of
    a slice, a metric may not be defined, which misses the bound. Raises ConfigError that names every other metric which
    was not measured, and those that were.
    """
    chosen, values = list(bounds), {**metrics, **(slices or {})}
    names = dict.fromkeys(name for name, _ in chosen)
    absent = [name for name in names if name not in values and parse_slice_metric(name) is None]
    if absent:
        raise ConfigError([_absent(name, metrics) for name in absent])
    return [_held(metric, bound, values.get(metric), split) for metric, bound in chosen]


def require_met(expectations: Mapping[str, Iterable[Expectation]], positive: str | None = None) -> None:
    """The bounds that results hold, by the run they belong to ("" where there is only one).

    For a command that has shown its results. ``positive``: the label that ``f1`` is of. Raises
    ExpectationMissed with a problem a run that missed a bound.
    """
    problems = []
    for run, held in expectations.items():
        missed = [expectation for expectation in held if not expectation.met]
        if missed:
            values = "; ".join(f"{shown_metric(e.metric, positive)} {_valued(e)}" for e in missed)
            bounds = " and ".join(f"{shown_metric(e.metric, positive)} {e.bound}" for e in missed)
            problems.append(Problem(values, where=run, expected=bounds))
    if problems:
        raise ExpectationMissed(problems)


def _valued(missed: Expectation) -> str:
    if missed.value is None:
        return "is not defined for the examples of this slice"
    return f"is {missed.value:.4f}" + ("" if missed.split == "eval" else f" on {missed.split}")


def _held(metric: str, bound: str, value: float | None, split: str) -> Expectation:
    comparison, limit = parse_expectation(bound)
    met = value is not None and _OPERATORS[comparison](value, limit)
    return Expectation(metric, bound, value, met, split)


def _absent(name: str, metrics: Mapping[str, float]) -> Problem:
    close = difflib.get_close_matches(name, metrics, n=1)
    return Problem(
        f"there is no metric {name!r}",
        where="expect",
        expected=f"one of {', '.join(metrics)}",
        cure=f"did you mean {close[0]}?" if close else "",
    )
