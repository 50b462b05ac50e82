"""``ptm check --data``: what a run would stumble over, without a run."""

from __future__ import annotations

from ptm.config.spec import RunSpec
from ptm.errors import Problem, PtmError
from ptm.experiment.session import missing_downloads, require_named_metrics
from ptm.pipeline import task_module


def check_inputs(spec: RunSpec) -> list[Problem]:
    """What of a run's data cannot be used, and what is not there. Reads data, builds no model."""
    problems: list[Problem] = []
    try:
        problems += missing_downloads(spec)
        require_named_metrics(spec, task_module(spec.task).load_data(spec))
    except PtmError as error:
        problems += error.problems
    return list(dict.fromkeys(problems))
