"""A trained model that a command was given: that of a run, that of an export, or the one that a config names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ptm.config.load import load_config
from ptm.config.spec import ModelSpec, RunSpec
from ptm.data.examples import Dataset
from ptm.errors import ConfigError, ModelError
from ptm.experiment.session import Session
from ptm.export.directory import CONFIG, DESCRIPTION, is_export, require_export
from ptm.export.pipelines import open_pipeline, require_readable_format
from ptm.export.record import ExportRecord
from ptm.models.seals import require_intact
from ptm.models.size import describe_size
from ptm.pipeline import Pipeline, task_module
from ptm.run.opening import require_run
from ptm.run.results import ModelSize

EXPECTED = "a run directory, an export or a config file"


@dataclass(frozen=True)
class Trained:
    """``spec`` to evaluate under, and where the model's weights, labels and preprocessing are: ``model``; in the graph
    of ``export`` where there is one."""

    target: Path
    spec: RunSpec
    model: ModelSpec
    export: ExportRecord | None = None

    def build(self, session: Session, data: Dataset) -> Pipeline:
        """Its pipeline over ``data``. Raises ModelError."""
        if self.export is None:
            return session.task.build(self.spec, data, model=self.model.ref(), complete=True)
        return open_pipeline(self.target, self.export, self.spec, data, session.task, session.runtime)

    def size(self, pipeline: Pipeline) -> ModelSize:
        """Of an export the bytes of its graph, and the parameters of the model that it was made from."""
        if self.export is None:
            return ModelSize(**describe_size(self.model.name, pipeline.model))
        count = self.export.parameters
        size = (self.target / self.export.graph).stat().st_size
        return ModelSize(name=str(self.target), parameters=count, trainable_parameters=0, bytes=size)


def trained_model(target: Path, overrides: list[str]) -> Trained:
    """What ``target`` is. Raises RunDirectoryError, ConfigError, ModelError."""
    if not target.is_dir():
        spec = load_config(target, overrides)
        return Trained(target, spec, spec.model)
    if is_export(target):
        record = require_export(target)
        require_readable_format(target, record)
        place = target.resolve() / DESCRIPTION
        spec = _spec_of(target / CONFIG, place, overrides)
        return Trained(target, spec, ModelSpec(name=str(place)), record)
    require_run(target, EXPECTED)
    model = target.resolve() / "model"
    if not model.is_dir():
        raise ModelError(
            "the run is not finished: there is no model/ yet", where=target, cure="continue it with --resume"
        )
    require_intact(model)
    return Trained(target, _spec_of(target / "config.yaml", model, overrides), ModelSpec(name=str(model)))


# What a finished model is. Such a change was read by nobody, so that another model than was named was measured.
_OF_THE_MODEL = ("task", "model", "decisions")


def _spec_of(config: Path, model: Path, overrides: list[str]) -> RunSpec:
    """The config with its changes; where these name other data than the model was trained on, their labels are matched
    with those of the model, by what the data call them: the config of a run names all labels, whoever chose them.

    Raises ConfigError for changes of the model."""
    for change in overrides:
        key = change.partition("=")[0].strip()
        if key.partition(".")[0] in _OF_THE_MODEL:
            raise ConfigError(
                f"{key} cannot be another: the model is that in {model}",
                where=f"--set {change}",
                cure="leave it out, or name a config, whose model.name is measured",
            )
    spec, saved = load_config(config, overrides), load_config(config)
    own = spec.data.labels is not None and spec.data.labels == task_module(spec.task).stored_labels(
        str(model)
    )
    if spec.data.source == saved.data.source or spec.data.labels != saved.data.labels or not own:
        return spec
    return replace(spec, data=replace(spec.data, labels=None))
