"""``ptm check --data``: what a run would stumble over, without a run. It does what a run does before its first step."""

from __future__ import annotations

from dataclasses import dataclass

from ptm.base.console import Silent
from ptm.config.spec import RunSpec
from ptm.distill.assembly import examine_teachers
from ptm.errors import Problem, PtmError
from ptm.experiment.prepare import WARNING, choose_trained, load_data, load_model
from ptm.experiment.session import missing_downloads, open_session
from ptm.experiment.smallest_batch import require_smallest_batch


@dataclass(frozen=True)
class Inspection:
    """``problems`` stop a run; ``warnings`` are told and stop nothing."""

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


class _Warnings(Silent):
    """Keeps what a run would warn of."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        if line.startswith(WARNING):
            self.lines.append(line)


def check_inputs(spec: RunSpec) -> Inspection:
    """What of a run's data and models cannot be used, what is not there, and what it would warn of.

    The data are read as a run reads them, the models are loaded over them and teachers are measured and audited, by the
    same functions.
    """
    problems: list[Problem] = []
    heard = _Warnings()
    try:
        problems += missing_downloads(spec)
        with open_session(spec, heard) as session:
            data = load_data(session)
            if not problems:
                pipeline = load_model(session, data)
                pipeline.model.to(session.runtime.device)
                if spec.teacher is not None:
                    examine_teachers(spec, session.task, data, pipeline, session.runtime, heard)
                choose_trained(session, pipeline)
                require_smallest_batch(spec.train, pipeline, session.runtime)
    except PtmError as error:
        problems += error.problems
    return Inspection(tuple(dict.fromkeys(problems)), tuple(heard.lines))
