"""What an evaluation can measure, by name: known before anything is loaded, so that a typo costs no training.

``tests/test_contract.py`` holds these names against what evaluations give.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ptm.config.slices import SliceMetric, parse_slice_metric
from ptm.config.tags import entity_tags
from ptm.errors import ConfigError, Problem, listing

# Of these metrics the lowest value is the best one, of all others the highest.
LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_byte", "mean_squared_error", "mean_absolute_error")


def best_mode(metric: str) -> Literal["max", "min"]:
    """Which value of a metric is the best one; of a slice's, as of all examples'."""
    of_slice = parse_slice_metric(metric)
    return "min" if (of_slice.metric if of_slice else metric) in LOWER_IS_BETTER else "max"


def shown_metric(metric: str, positive: str | None) -> str:
    """A metric as people read it: ``f1[fraud]``, where it is of one of two labels."""
    return f"{metric}[{positive}]" if metric == "f1" and positive is not None else metric


@dataclass(frozen=True)
class LabelCount:
    """A condition on the number of labels, and the same in words."""

    fewest: int
    most: int | None
    words: str

    def allows(self, count: int) -> bool:
        return self.fewest <= count and (self.most is None or count <= self.most)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a task, or of a label type where a task has several, and what each of them serves.

    A name that ends in ``/`` stands for one a label: ``iou/`` for ``iou/cell``. ``by_label_count`` are metrics that are
    defined for some numbers of labels only, ``of_entities`` those of ``metrics`` that need labels which name entities
    (:mod:`ptm.config.tags`). ``unsliced`` are those that are not told for slices: they are known of batches, or of all
    examples together. ``headline`` stands for all others where there is room for one.
    ``comparison`` names what predictions of two models are compared by (:mod:`ptm.experiment.comparison`), None where
    they are not. ``audit`` is the metric by which a teacher is held against a constant answer
    (:mod:`ptm.distill.audit`), None where its single classes are looked at instead.
    """

    metrics: tuple[str, ...]
    by_label_count: Mapping[str, LabelCount] = field(default_factory=dict)
    of_entities: tuple[str, ...] = ()
    unsliced: tuple[str, ...] = ("loss",)
    headline: str
    comparison: str | None = None
    audit: str | None = None

    def names(self, labels: Sequence[str] | None = None) -> tuple[str, ...]:
        """All that may be measured. ``labels``: those of the data; None while they are not known."""
        more = (
            name for name, count in self.by_label_count.items() if labels is None or count.allows(len(labels))
        )
        without = self.of_entities if labels is not None and not entity_tags(labels) else ()
        return (*(name for name in self.metrics if name not in without), *more)

    def objection(self, name: str, labels: Sequence[str] | None = None) -> tuple[str, str] | None:
        """(what may be named, what to do) where no such metric is measured; None where it is one."""
        known = self.names(labels)
        if name in known and not name.endswith("/"):
            return None
        of_a_label = next(
            (one for one in known if one.endswith("/") and name.startswith(one) and name != one), ""
        )
        if of_a_label:
            return self._objection_to_label(of_a_label, name, labels)
        if name in self.by_label_count:
            words = self.by_label_count[name].words
            return f"one of {', '.join(known)}", f"{name} is measured with {words} labels"
        if name in self.of_entities or name.startswith(tuple(n for n in self.of_entities if n.endswith("/"))):
            cure = "name the tags in the order of their numbers: data.labels: [O, B-PER, I-PER, …]"
            return f"{name} counts entities, and these labels name none: {listing(labels or (), 5)}", cure
        readable = [f"{one}LABEL" if one.endswith("/") else one for one in known]
        begun = [one for one in readable if name.isidentifier() and one.startswith(name)]
        close = begun or difflib.get_close_matches(name, readable, n=1)
        cure = f"did you mean {close[0]}?" if close else "name one of them"
        return f"one of {', '.join(readable)}", cure

    def _objection_to_label(
        self, metric: str, name: str, labels: Sequence[str] | None
    ) -> tuple[str, str] | None:
        """``metric``: ``iou/`` for the name ``iou/cell``. Of tags, a kind of entities is what is measured."""
        if labels is None:
            return None
        kinds = dict.fromkeys(kind for _, kind in entity_tags(labels).values())
        measured = [f"{metric}{label}" for label in (kinds if metric in self.of_entities else labels)]
        if name in measured:
            return None
        close = difflib.get_close_matches(name, measured, n=1)
        return f"one of {listing(measured)}", f"did you mean {close[0]}?" if close else "name one of them"

    def objection_to_slice(
        self, name: SliceMetric, slices: Mapping[str, Sequence[str] | None], labels: Sequence[str] | None
    ) -> tuple[str, str] | None:
        """As :meth:`objection`, of a metric of a slice. ``slices``: the names of ``data.slices``, and the values that
        each has; None while they are not known."""
        if name.metric in self.unsliced:
            measured = [one for one in self.names(labels) if one not in self.unsliced]
            return f"one of {', '.join(measured)} of a slice", f"{name.metric} is not measured of slices"
        if objection := self.objection(name.metric, labels):
            return objection
        if name.slice not in slices:
            expected = f"a slice of {listing(slices)}" if slices else "a slice that data.slices names"
            return expected, f"add it: data.slices: [{', '.join([*slices, name.slice])}]"
        values = slices[name.slice]
        if values is None or name.value in values:
            return None
        close = difflib.get_close_matches(name.value, values, n=1)
        expected = f"{name.slice} is one of {listing(values)}"
        return expected, f"did you mean {name.slice}={close[0]}?" if close else "name one of them"

    def require(
        self,
        metrics: Iterable[tuple[str, str]],
        labels: Sequence[str],
        slices: Mapping[str, Sequence[str] | None] | None = None,
    ) -> None:
        """``metrics``: (where, name). Raises ConfigError with all of them that are not measured: with these labels, of
        these ``slices``."""
        problems = []
        for where, name in metrics:
            objection, of_slice = self.objection(name, labels), parse_slice_metric(name)
            if objection is not None and of_slice is not None:
                objection = self.objection_to_slice(of_slice, slices or {}, labels)
            if objection is not None:
                these = "labels" if of_slice is None else "examples"
                problems.append(Problem(f"there is no metric {name!r} with these {these}", where, *objection))
        if problems:
            raise ConfigError(problems)
