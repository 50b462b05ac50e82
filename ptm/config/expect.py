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
from ptm.errors import ConfigError, ExpectationMissed, Problem

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_BOUND = re.compile(r"\s*(>=|<=|>|<|==)\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*")
_OPTION = re.compile(r"\s*([^\s<>=]+)\s*([<>=].*)", re.DOTALL)


@dataclass(frozen=True)
class Expectation:
    """A bound and the value that was measured. ``met`` is false for NaN, whatever the bound."""

    metric: str
    bound: str
    value: float
    met: bool

    @property
    def consistent(self) -> bool:
        """Whether ``met`` is what the bound and the value say. Raises ConfigError for what is no bound."""
        comparison, limit = parse_expectation(self.bound)
        return self.met == _OPERATORS[comparison](self.value, limit)

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


def check_expectations(bounds: Iterable[tuple[str, str]], metrics: Mapping[str, float]) -> list[Expectation]:
    """Each bound (metric, bound) against ``metrics``, in their order; a metric may have several.

    Raises ConfigError that names every metric which was not measured, and those that were.
    """
    chosen = list(bounds)
    absent = [name for name in dict.fromkeys(name for name, _ in chosen) if name not in metrics]
    if absent:
        raise ConfigError([_absent(name, metrics) for name in absent])
    return [_held(metric, bound, metrics[metric]) for metric, bound in chosen]


def require_met(expectations: Mapping[str, Iterable[Expectation]], positive: str | None = None) -> None:
    """The bounds that results hold, by the run they belong to ("" where there is only one).

    For a command that has shown its results. ``positive``: the label that ``f1`` is of. Raises
    ExpectationMissed with a problem a run that missed a bound.
    """
    problems = []
    for run, held in expectations.items():
        missed = [expectation for expectation in held if not expectation.met]
        if missed:
            values = "; ".join(f"{shown_metric(e.metric, positive)} is {e.value:.4f}" for e in missed)
            bounds = " and ".join(f"{shown_metric(e.metric, positive)} {e.bound}" for e in missed)
            problems.append(Problem(values, where=run, expected=bounds))
    if problems:
        raise ExpectationMissed(problems)


def _held(metric: str, bound: str, value: float) -> Expectation:
    comparison, limit = parse_expectation(bound)
    return Expectation(metric, bound, value, _OPERATORS[comparison](value, limit))


def _absent(name: str, metrics: Mapping[str, float]) -> Problem:
    close = difflib.get_close_matches(name, metrics, n=1)
    return Problem(
        f"there is no metric {name!r}",
        where="expect",
        expected=f"one of {', '.join(metrics)}",
        cure=f"did you mean {close[0]}?" if close else "",
    )
