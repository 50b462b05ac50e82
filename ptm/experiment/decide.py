"""A temperature and thresholds for a trained classifier, fitted on its evaluation split: never on the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ptm.config.spec import RunSpec
from ptm.errors import DataError, NotFinite
from ptm.experiment.session import Session
from ptm.metrics.decisions import Decisions, LogitCollector, fit_decisions
from ptm.pipeline import Pipeline
from ptm.training.evaluation import Outputs, merge


def decide(session: Session, pipeline: Pipeline, outputs: Outputs) -> Decisions:
    """What ``decisions:`` comes to on the evaluation split, of which ``outputs`` are this process's. The same in every
    process.

    Raises NotFinite for outputs that are no numbers.
    """
    spec = session.spec
    assert spec.decisions is not None
    collector = LogitCollector()
    for batch, output in outputs:
        collector.update(batch, output)
    collected = merge(collector, session.runtime)
    assert isinstance(collected, LogitCollector)
    _, targets, logits = collected.accumulator.labelled()
    if not np.isfinite(logits).all():
        raise NotFinite(
            "an output is no finite number", where="decisions", cure="train with runtime.precision: fp32"
        )
    decisions = fit_decisions(
        spec.decisions,
        logits,
        targets,
        pipeline.labels,
        spec.data.label_type,
        spec.positive_of(pipeline.labels),
    )
    session.reporter.say(told(decisions))
    return decisions


def require_decidable(spec: RunSpec, labels: tuple[str, ...]) -> None:
    """DataError for thresholds of more than two labels of which one applies: the highest probability decides."""
    decisions = spec.decisions
    if (
        decisions is None
        or decisions.thresholds == "none"
        or not spec.label_type.exclusive
        or len(labels) == 2
    ):
        return
    raise DataError(
        f"there are {len(labels)} labels, of which the one with the highest probability is the answer",
        where="decisions.thresholds",
        expected="two labels, or label_type: classes",
        cure="remove thresholds; ptm predict --reject-below keeps back what is unsure",
    )


def told(decisions: Decisions) -> str:
    """One line of what was fitted, and what it brings on the split that it was fitted on."""
    gains = {name: value for name, value in decisions.fitted.items() if isinstance(value, Mapping)}
    parts = [f"temperature {decisions.temperature:.3f}"] if "loss" in gains else []
    if decisions.thresholds:
        pairs = [f"{label} {threshold:.3f}" for label, threshold in decisions.thresholds.items()]
        parts.append("thresholds: " + ", ".join(pairs[:5]) + (", …" if len(pairs) > 5 else ""))
    parts += [f"{name} {_change(value)}" for name, value in gains.items()]
    return f"decisions, fitted on eval: {'; '.join(parts)}"


def _change(gain: Mapping[str, Any]) -> str:
    return f"{gain['before']:.4f} → {gain['after']:.4f}"
