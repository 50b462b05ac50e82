"""What the evaluations of a model say of each split, as results.json has it; which of them is judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from ptm.config.expect import Expectation, check_expectations
from ptm.config.spec import RunSpec
from ptm.data.examples import Examples
from ptm.experiment.session import beside
from ptm.experiment.slices import measure_slices
from ptm.pipeline import Metrics, Pipeline
from ptm.run.results import Judged, Slice, SplitResults, Throughput, slice_metrics
from ptm.training.finite import finite_values
from ptm.training.memory import memory_errors


def split_results(
    spec: RunSpec, metrics: Metrics, pipeline: Pipeline, examples: Examples, seconds: float, split: Judged
) -> SplitResults:
    """``pipeline`` has ``examples`` as its evaluation split; ``split`` is what they are in the config, eval or test.

    Raises NotFinite for a model that gives numbers that are none.
    """
    number, classes = pipeline.size("eval"), len(pipeline.labels)
    with memory_errors(
        f"the results of {number:,} examples and {classes:,} classes", f"data.max_{split}_examples"
    ):
        values = finite_values(metrics, pipeline, spec.model.name)
        slices = measure_slices(spec, metrics, pipeline, examples)
    named = spec.data.test if split == "test" else spec.data.eval
    return SplitResults(
        **Throughput.of(named, number, seconds),
        metrics=values,
        **beside(spec, metrics, values),
        slices=slices,
    )


class Evaluated(TypedDict):
    """The keys of results.json that an evaluation fills."""

    metrics: dict[str, float]
    constant: dict[str, float]
    positive_label: str | None
    absent_labels: tuple[str, ...]
    warnings: tuple[str, ...]
    slices: tuple[Slice, ...]
    eval: Throughput
    test: SplitResults | None


def evaluated(on_eval: SplitResults, on_test: SplitResults | None) -> Evaluated:
    """The evaluation split stands at the top, the test in a section of its own."""
    speed = {key: getattr(on_eval, key) for key in ("split", "examples", "seconds", "examples_per_second")}
    return Evaluated(
        metrics=on_eval.metrics,
        constant=on_eval.constant,
        positive_label=on_eval.positive_label,
        absent_labels=on_eval.absent_labels,
        warnings=on_eval.warnings,
        slices=on_eval.slices,
        eval=Throughput(**speed),
        test=on_test,
    )


def expectations_of(
    bounds: Iterable[tuple[str, str]],
    on_eval: SplitResults,
    on_test: SplitResults | None,
    alone: Judged | None = None,
) -> tuple[Expectation, ...]:
    """The bounds held against what is judged: the test where there is one. ``alone``: what ``on_eval`` is of, where one
    split alone was measured."""
    judged, split = (on_eval, alone or "eval") if on_test is None else (on_test, "test")
    slices = slice_metrics(judged.slices)
    return tuple(check_expectations(bounds, judged.metrics, split=split, slices=slices))
