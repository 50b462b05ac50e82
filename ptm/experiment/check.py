"""``ptm check --data``: what a run would stumble over, without a run. It does what a run does before its first step,
and looks at the examples as nobody has the time to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptm.base.console import Silent
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset
from ptm.data.image_files import is_image
from ptm.data.image_reading import ImageReading
from ptm.data.unlabelled import labelled
from ptm.distill.assembly import examine_teachers
from ptm.errors import DataError, MissingDownload, Problem, PtmError, shorten
from ptm.experiment.prepare import WARNING, choose_trained, load_data, load_model, load_test, with_own_store
from ptm.experiment.session import missing_downloads, open_session
from ptm.experiment.smallest_batch import require_smallest_batch
from ptm.experiment.trial import Trial, try_run
from ptm.pipeline import Pipeline
from ptm.quality.figures import Figures
from ptm.quality.findings import Finding
from ptm.quality.look import look_at
from ptm.text.notes import cut_counts
from ptm.vision.images import find_unreadable

_FOLDERS = ("imagefolder", "voc", "coco", "masks")  # sources that are folders of images


@dataclass(frozen=True)
class Inspection:
    """``problems`` stop a run, ``missing`` are those of them that a download cures; ``warnings`` are told by it and
    stop nothing; ``looks`` are what else the data show, by split, with ``figures``; ``trial``: what it would cost,
    where that was asked for."""

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    looks: tuple[Finding, ...] = ()
    figures: Mapping[str, Figures] = field(default_factory=dict)
    trial: Trial | None = None
    reading: Mapping[str, Problem] = field(default_factory=dict)
    missing: tuple[Problem, ...] = ()

    def findings(self) -> list[Finding]:
        """All of it, the worst first."""
        errors = [Finding("error", "unusable", problem) for problem in self.problems]
        warnings = [
            Finding("warning", "reading", self.reading.get(line) or Problem(line.removeprefix(WARNING)))
            for line in self.warnings
        ]
        looks = [finding for level in ("warning", "note") for finding in self.looks if finding.level == level]
        return [*errors, *warnings, *looks]


class _Warnings(Silent):
    """Keeps what a run would warn of."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        if line.startswith(WARNING):
            self.lines.append(line)


def check_inputs(spec: RunSpec, *, deep: bool = False) -> Inspection:
    """What of a run's data and models cannot be used, what is not there, and what it would warn of.

    The data are read as a run reads them, the models are loaded over them and teachers are measured and audited, by the
    same functions. ``deep``: a few steps are taken as well, where nothing is wrong.
    """
    spec = with_own_store(spec)
    problems: list[Problem] = []
    missing: list[Problem] = []
    warnings = _Warnings()
    inspection = Inspection((), ())
    try:
        missing += missing_downloads(spec)
        problems += missing
        if missing and len(missing) > len(missing_downloads(spec, data=False)):
            raise MissingDownload(missing)  # there are no data to look at
        with open_session(spec, warnings) as session:
            with _undecodable_told(spec, problems, session.runtime.threads):
                data = load_data(session)
            look = look_at(
                splits_of(data), data.labels, session.runtime.threads, ImageReading.of(session.spec.data)
            )
            inspection = replace(
                inspection,
                looks=look.findings,
                figures=look.figures,
                reading={f"{WARNING}{problem}": problem for problem in data.warnings},
            )
            if not problems:
                pipeline = load_model(session, data)
                test = load_test(session, data, pipeline)
                inspection = replace(inspection, figures=_with_cuts(look.figures, pipeline, test))
                pipeline.model.to(session.runtime.device)
                if spec.teacher is not None:
                    examine_teachers(spec, session.task, data, pipeline, session.runtime, warnings)
                choose_trained(session, pipeline)
                require_smallest_batch(spec.train, pipeline, session.runtime)
        if deep and not problems:
            inspection = replace(inspection, trial=try_run(spec))
    except PtmError as error:
        problems += error.problems
        missing += error.problems if isinstance(error, MissingDownload) else ()
    return replace(
        inspection,
        problems=tuple(dict.fromkeys(problems)),
        missing=tuple(dict.fromkeys(missing)),
        warnings=tuple(warnings.lines),
    )


@contextmanager
def _undecodable_told(spec: RunSpec, problems: list[Problem], threads: int) -> Iterator[None]:
    """Where the examples in a folder of images cannot be put together, its images can still be looked at: those that
    cannot be decoded are added to ``problems``, after what is raised."""
    try:
        yield
    except DataError as error:
        kind, _, place = spec.data.source.partition(":")
        if kind not in _FOLDERS:
            raise
        folder = Path(place)
        images = sorted(path for path in folder.rglob("*") if is_image(path, folder))
        told = {problem.where for problem in error.problems}
        problems += error.problems
        found = find_unreadable(
            images,
            lambda row: str(images[row]),
            threads,
            lambda done: None,
            reading=ImageReading.of(spec.data),
        )
        problems += shorten((problem for problem in found if problem.where not in told), "images")
        raise


def splits_of(data: Dataset) -> dict[str, Any]:
    """The splits that there are, by name, in the order in which they are used; of train what is labelled."""
    splits = {name: getattr(data, name, None) for name in ("train", "eval", "test")}
    return {name: labelled(examples) for name, examples in splits.items() if examples is not None}


def _with_cuts(
    figures: Mapping[str, Figures], pipeline: Pipeline, test: Pipeline | None
) -> dict[str, Figures]:
    """With how many texts are longer than ``data.max_length``."""
    limit, facts = pipeline.effective_data.get("max_length"), pipeline.describe()
    if test is not None:
        facts = facts | {"test": test.describe()["eval"]}
    return {
        name: replace(split, cut=cut_counts(facts[name]), max_length=int(limit))
        if limit is not None and name in facts
        else split
        for name, split in figures.items()
    }
