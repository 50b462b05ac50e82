"""``ptm models``: what can be chosen for ``model.name``, what it costs, and what is published of its quality.

Figures come from torchvision, or from the papers that the catalogues of text and vision name. None is measured by ptm.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

from ptm.config.tasks import TASKS, Modality
from ptm.errors import ConfigError
from ptm.models.catalogue import Choice, Family


class Catalogue(Protocol):
    """What the catalogue of a modality offers."""

    def choices(self) -> Iterator[Choice]: ...

    def families(self) -> Iterator[Family]: ...


_CATALOGUES: dict[Modality, str] = {"text": "ptm.text.catalogue", "image": "ptm.vision.catalogue"}


def _catalogues(task: str | None) -> Iterator[Catalogue]:
    """Those that have models for a task, imported now."""
    for modality, module in _CATALOGUES.items():
        if task is None or TASKS[task].modality == modality:
            yield cast(Catalogue, importlib.import_module(module))


def choices(task: str | None = None) -> list[Choice]:
    """All models of a task, or of all tasks; of each task the cheapest first."""
    listed = [choice for catalogue in _catalogues(task) for choice in catalogue.choices()]
    chosen = [choice for choice in listed if task in (None, choice.task)]
    tasks = list(dict.fromkeys(choice.task for choice in chosen))
    return sorted(chosen, key=lambda choice: (tasks.index(choice.task), choice.parameters or 0, choice.name))


def _trained(target: Path, task: str | None) -> Choice:
    """A run, or an export, as something to measure. ConfigError for one of another task."""
    from ptm.experiment.trained import trained_model
    from ptm.run.directory import RunDirectory

    trained = trained_model(target, [])
    if task not in (None, trained.spec.task):
        raise ConfigError(
            f"{target} is for {trained.spec.task}",
            where="--task",
            expected=task,
            cure="leave --task out: a run says what it is for",
        )
    results = None if trained.export else RunDirectory(target).read_results()
    counted = trained.export or (results and results.model)
    graph = trained.export and target / trained.export.graph
    weights = [graph] if graph else list(Path(trained.model.name).glob("*.safetensors"))
    return Choice(
        task=trained.spec.task,
        name=str(target),
        parameters=counted.parameters if counted else None,
        file_bytes=sum(path.stat().st_size for path in weights),
        trained=True,
    )


def families(task: str | None = None) -> list[Family]:
    """What is named by a pattern, of a task or of all tasks."""
    listed = [family for catalogue in _catalogues(task) for family in catalogue.families()]
    return [family for family in listed if task is None or task in family.tasks]


def choose(names: Sequence[str], task: str | None) -> list[Choice]:
    """The models of these names, each once, in this order. Raises ConfigError for a name that is not there.

    A name with a kind (``timm:…``, ``smp:…``, ``new:…``) need not be listed, but then the task must be given.
    """
    known: dict[str, Choice] = {}
    for choice in choices(task):
        known.setdefault(choice.name, choice)
    return [known.get(name) or _unlisted(name, task, tuple(known)) for name in dict.fromkeys(names)]


def _unlisted(name: str, task: str | None, known: Sequence[str]) -> Choice:
    if Path(name).is_dir():
        return _trained(Path(name), task)
    if ":" in name and task is not None:
        return Choice(task=task, name=name)
    if ":" in name:
        raise ConfigError(f"{name} is not in the list", where="--names", cure="say what for: --task TASK")
    close = difflib.get_close_matches(name, known, n=3)
    of_task = f" for {task}" if task else ""
    raise ConfigError(
        f"there is no model {name!r}{of_task}",
        where="--names",
        expected="names as ptm models lists them",
        cure=f"did you mean {' or '.join(close)}?" if close else "see ptm models",
    )
