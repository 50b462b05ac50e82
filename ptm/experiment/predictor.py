"""A trained model ready to predict: the one way from inputs to predictions, of a command and of a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ptm import engine
from ptm.base.collector import collect_as_usual
from ptm.base.console import Reporter
from ptm.config.spec import ModelSpec, RunSpec
from ptm.config.tasks import CAUSAL_LM
from ptm.data.examples import Dataset, Examples
from ptm.data.given import Given
from ptm.data.image_reading import ImageReading
from ptm.data.inputs import Inputs
from ptm.data.labels import choose_labels
from ptm.errors import ConfigError, DataError, ModelError, refuse
from ptm.experiment.prediction_table import Row
from ptm.experiment.rejection import Rejection, least_in_set, require_rejectable
from ptm.experiment.session import Session, open_session, require_downloads
from ptm.experiment.trained import Trained, trained_model
from ptm.pipeline import Pipeline, Prediction, TaskModule, task_module
from ptm.training.finite import require_finite_weights
from ptm.training.runtime import Runtime

if TYPE_CHECKING:
    from ptm.vision.images import Fits


@dataclass(frozen=True)
class Input:
    """What is predicted of: ``values`` by role, and what messages call it."""

    values: Mapping[str, Any]
    where: str


def require_predictable(
    trained: Trained, threshold: float | None, reject_below: float | None, coverage: float | None
) -> float | None:
    """The least score of what is predicted, see :attr:`ptm.pipeline.Pipeline.least_score`. Raises ConfigError, or
    MissingDownload, for what can be seen before anything is loaded."""
    spec, target = trained.spec, trained.target
    if trained.export is not None and spec.task == CAUSAL_LM.name:
        raise ConfigError(
            "an export of a causal language model scores texts, it writes none",
            where=target,
            cure="name the run itself, or score texts with the export: python predict.py, or ptm eval",
        )
    if threshold is not None and not spec.descriptor.boxes:
        raise ConfigError(f"{spec.task} finds no boxes", where="--threshold", cure="leave it out")
    if reject_below is not None:
        require_rejectable(spec)
    if not target.is_dir():  # the model of a run is all there
        require_downloads(spec, teacher=False, data=False)
    return threshold if coverage is None else least_in_set(trained, coverage)


def output_labels(trained: Trained) -> tuple[str, ...]:
    """The names of the outputs, by the precedence of all loaders: there are no rows that could name any."""
    spec = trained.spec
    module: TaskModule = task_module(spec.task)
    labels = choose_labels(spec.data.labels, module.stored_labels(trained.model.name), None, tuple)
    if not labels and spec.descriptor.labelled and spec.label_type.named:
        cure = "name them, in the order of its outputs: data.labels: […]"
        raise ConfigError("the model does not say the names of its labels", where=trained.target, cure=cure)
    return labels


def open_pipeline(
    trained: Trained, session: Session, examples: Examples, labels: tuple[str, ...], least_score: float | None
) -> Pipeline:
    """The model over ``examples``, on the session's machine. Raises ModelError, and NotFinite for weights that are
    no numbers: a detector then finds nothing, and a translation is of some one word."""
    pipeline = trained.build(session, Dataset(None, examples, labels, {}))
    require_finite_weights(pipeline.model, str(trained.target))
    pipeline.least_score = least_score
    pipeline.model.to(session.runtime.device)
    collect_as_usual()
    return pipeline


def predict_all(
    pipeline: Pipeline, runtime: Runtime, *, batch_size: int, batch_key: str
) -> Iterator[Prediction]:
    """What the model says of each example, in their order."""
    metrics = engine.evaluate(pipeline, runtime, batch_size=batch_size, batch_key=batch_key)
    return metrics.predictions()


class _ImageTask(Protocol):
    def size_check(self, spec: RunSpec, /) -> Fits: ...


def size_check(spec: RunSpec, model: ModelSpec) -> Fits:
    """What raises for a width and height that the model of an image task cannot be given."""
    task = cast(_ImageTask, task_module(spec.task))
    return task.size_check(replace(spec, model=model))


@dataclass(frozen=True)
class Predictor:
    """A model that stays loaded, for inputs that come one by one. Its ``predict`` is for one thread at a time; ``read``
    for any."""

    trained: Trained
    session: Session
    pipeline: Pipeline
    roles: tuple[str, ...]
    reject_below: float | None = None

    @property
    def spec(self) -> RunSpec:
        return self.trained.spec

    @property
    def columns(self) -> tuple[str, ...]:
        """What the values of an input are called, in the order of ``roles``."""
        data = self.spec.data
        names = dict.fromkeys(("text", "words", "context"), data.text)
        names |= {"text_pair": data.text_pair, "question": data.question}
        return tuple(names.get(role) or role for role in self.roles)

    @property
    def joined(self) -> bool:
        """Whether several inputs may be in one forward pass. Not so where scales are found anew in each, for one input
        would change those of the others."""
        export = self.trained.export
        return export is None or export.calibration != "dynamic"

    def read(self, values: Sequence[Any], wanted: Callable[[], bool] = lambda: True) -> list[Input]:
        """Inputs as the model takes them. DataError names all that cannot be used, by their place in ``values``; images
        are decoded whole, one after the other, as long as they are ``wanted``."""
        (examples,) = self.session.task.read_inputs(self.spec, [Given(values)])
        if "image" in examples.columns:
            self._require_images(examples, wanted)
        columns = examples.columns
        return [
            Input({role: column[row] for role, column in columns.items()}, examples.where(row))
            for row in range(len(examples))
        ]

    def _require_images(self, examples: Examples, wanted: Callable[[], bool]) -> None:
        from ptm.vision.images import find_unreadable

        reading = ImageReading.of(self.spec.data)
        size_fits = size_check(self.spec, self.trained.model)

        def fits(width: int, height: int) -> None:
            if not wanted():  # asked before each image is decoded, which may take seconds
                raise DataError("not decoded: whoever asked has gone")
            size_fits(width, height)

        images = examples.columns["image"]
        refuse(find_unreadable(images, examples.where, 1, lambda done: None, fits, reading), noun="images")

    def predict(self, inputs: Sequence[Input], batch_size: int) -> list[Row]:
        """What the model says of each input, whatever stands beside it. Raises DataError for what only the model finds
        out, ModelError, OutOfMemory, NotFinite."""
        columns = {role: [each.values[role] for each in inputs] for role in self.roles}
        examples = Inputs(columns, None, lambda row: inputs[row].where)
        of_piece = self.pipeline.with_examples(examples)
        size = batch_size if self.joined else 1
        runtime = self.session.runtime
        rows: list[Row] = []
        keep = Rejection(self.reject_below).before(rows.append)
        for row in predict_all(of_piece, runtime, batch_size=size, batch_key="--max-batch"):
            keep({**row})
        return rows


@contextmanager
def open_predictor(
    target: Path,
    overrides: Sequence[str],
    *,
    threshold: float | None = None,
    reject_below: float | None = None,
    coverage: float | None = None,
    reporter: Reporter,
) -> Iterator[Predictor]:
    """Load the model of a run, an export or a config. Raises a PtmError for whatever is wrong with it."""
    trained = trained_model(target, list(overrides))
    least_score = require_predictable(trained, threshold, reject_below, coverage)
    labels = output_labels(trained)
    with open_session(trained.spec, reporter) as session:
        (nothing,) = session.task.read_inputs(trained.spec, [Given(())])
        pipeline = open_pipeline(trained, session, nothing, labels, least_score)
        if session.runtime.ranks > 1:
            raise ModelError("a server is one process", where=target, cure="start it without torchrun")
        yield Predictor(trained, session, pipeline, tuple(nothing.columns), reject_below)
