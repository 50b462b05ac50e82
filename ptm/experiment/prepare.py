"""From a spec to all that training needs: data, model, teachers, what is minimised, and the record of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from ptm.base.collector import collect_as_usual
from ptm.base.console import Reporter, parameters
from ptm.config.load import dump_config
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, singleton_labels
from ptm.data.labels import cut_label
from ptm.distill.assembly import Distillation, open_distillation, open_frozen_backbone
from ptm.errors import listing
from ptm.experiment.decide import require_decidable
from ptm.experiment.effective import effective_spec
from ptm.experiment.micro_batch import with_micro_batch
from ptm.experiment.session import (
    Session,
    open_session,
    require_downloads,
    require_named_metrics,
    require_readable,
)
from ptm.experiment.slices import require_sliced
from ptm.experiment.smallest_batch import require_smallest_batch
from ptm.metrics import training_loss
from ptm.models import adapters
from ptm.models.layers import layers_of, whole_modules
from ptm.models.weights import weights_digest
from ptm.objective import Objective, Supervised
from ptm.pipeline import Pipeline
from ptm.run.lockfile import Pins, require_unchanged
from ptm.run.manifest import Manifest
from ptm.run.provenance import manifest_of, of_config
from ptm.training import optim
from ptm.training.memory import memory_errors, recompute_layers
from ptm.training.runtime import bf16_units
from ptm.training.sampling import effective_epoch

WARNING = "warning: "  # before a line that tells of what may be wrong and stops nothing
_LABELS_TOLD = 10
_MODULES_TOLD = 8
MATRICES_COUNT = 1_000_000  # parameters, from which on products of matrices are most of a step


@dataclass(frozen=True)
class Prepared:
    """A run before its first step. ``session`` has the spec with what `auto` came to; ``config`` is the YAML of the run
    with every value that it uses; ``test`` is the model over the third split, where there is one; ``manifest`` is None
    in all processes but the first."""

    session: Session
    config: str
    data: Dataset
    pipeline: Pipeline
    test: Pipeline | None
    objective: Objective
    distillation: Distillation | None
    manifest: Manifest | None


def prepare(session: Session, pins: Pins | None = None) -> Prepared:
    """Load everything and hold it against ``pins``. Nothing is written. Raises a PtmError for what cannot be used."""
    data = load_data(session)
    pipeline = load_model(session, data)
    test = load_test(session, data, pipeline)
    several = session.runtime.ranks > 1
    digests = {"model": weights_digest(pipeline.model)} if several or session.runtime.main else {}
    session.runtime.require_alike(
        {"config": dump_config(session.spec), "data": dict(data.digests), "model": digests.get("model")}
    )
    pipeline.model.to(session.runtime.device)
    collect_as_usual()
    objective, distillation = choose_objective(session, data, pipeline)
    teachers = distillation.pipelines if distillation else {}
    config = dump_config(effective_spec(session.spec, pipeline, tuple(teachers.values())))
    manifest = None
    if session.runtime.main:
        weights = digests | (distillation.digests if distillation else {})
        manifest = manifest_of(
            session.spec,
            config,
            data,
            session.runtime,
            {"model": pipeline, **teachers},
            weights,
            test,
        )
        if pins is not None:
            require_unchanged(pins, Pins.of(manifest), session.spec.model.name)
    choose_trained(session, pipeline)
    if session.spec.train.micro_batch_size == "auto":
        session = with_micro_batch(session, pipeline, objective)
        config = dump_config(effective_spec(session.spec, pipeline, tuple(teachers.values())))
        manifest = None if manifest is None else of_config(manifest, config)
    require_smallest_batch(session.spec.train, pipeline, session.runtime)
    _say_idle_processes(session)
    return Prepared(session, config, data, pipeline, test, objective, distillation, manifest)


def _say_idle_processes(session: Session) -> None:
    """A batch of fewer micro-batches than processes leaves some without work; how it is cut is not for the number of
    processes to decide, for dropout and batch norms depend on it."""
    train, ranks = session.spec.train, session.runtime.ranks
    pieces = math.ceil(train.batch_size / train.forward_size)
    if pieces < ranks:
        share = max(1, train.batch_size // ranks)
        session.reporter.say(
            f"warning: {ranks - pieces} of {ranks} processes only evaluate: a batch of {train.batch_size} is "
            f"{pieces} micro-batch{'es' if pieces > 1 else ''} of {train.forward_size}; "
            f"train.micro_batch_size: {share} gives each a share, in one process and in {ranks} alike"
        )


def with_own_store(spec: RunSpec) -> RunSpec:
    """The outputs of its teachers in ptm's own cache: a config may be a stranger's, and a directory that it names is
    written to by a training alone."""
    if spec.distill is None or spec.distill.store in ("auto", "off"):
        return spec
    return replace(spec, distill=replace(spec.distill, store="auto"))


def without_stores(spec: RunSpec) -> RunSpec:
    """For a few steps: teachers and frozen backbones are computed for each batch, not for all examples beforehand."""
    model = replace(spec.model, store_features="off")
    return replace(spec, model=model, distill=spec.distill and replace(spec.distill, store="off"))


def load_data(session: Session) -> Dataset:
    """All splits, checked against what the config names."""
    with memory_errors(
        "the data", "data.max_train_examples, or a smaller data.image_size or data.max_length"
    ):
        data = session.task.load_data(session.spec)
    require_named_metrics(session.spec, data)
    require_decidable(session.spec, data.labels)
    labels = f", labels {_listed(data.labels)}" if data.labels else ""
    sizes = ", ".join(f"{size} {split}" for split, size in data.sizes.items())
    session.reporter.say(f"data: {sizes}{labels}")
    for line in imbalance_told(session.spec, data):
        session.reporter.say(line)
    for warning in data.warnings:
        session.reporter.say(f"{WARNING}{warning}")
    for label, where in singleton_labels(data):
        session.reporter.say(f"{WARNING}the label {label!r} has one training example, {where}: a typo?")
    return data


def imbalance_told(spec: RunSpec, data: Dataset) -> list[str]:
    """What is done about rare classes, a line each. Raises ConfigError for labels that the data do not have."""
    train = spec.train
    if data.train is None or data.train.targets is None or not spec.descriptor.classifies:
        return []
    lines = training_loss.told(train, spec.data.label_type, data.train.targets, data.labels)
    if train.sampling == "balanced":
        lines.append(effective_epoch(data.train.targets, data.labels))
    return lines


def load_model(session: Session, data: Dataset) -> Pipeline:
    """The model that is trained, over these data."""
    spec = session.spec
    with memory_errors(f"the model {spec.model.name} and its inputs", "a smaller model, or less data"):
        pipeline = session.task.build(spec, data, model=spec.model.ref(), complete=False)
    size_of_model = sum(p.numel() for p in pipeline.model.parameters())
    session.reporter.say(f"model: {spec.model.name}, {parameters(size_of_model)}; {pipeline.load_report}")
    for line in pipeline.told:
        session.reporter.say(line)
    _say_precision(session, size_of_model)
    if spec.train.gradient_checkpointing:
        recompute_layers(pipeline.model, spec.model.ref().where, session.runtime.recomputation)
    for note in pipeline.notes():
        session.reporter.say(f"{WARNING}{note}")
    require_readable(session, pipeline)
    require_sliced(spec, pipeline)
    return pipeline


def _say_precision(session: Session, size: int) -> None:
    """What ``precision: auto`` came to; or that it would bring something, where the model is large enough for that."""
    units, runtime = bf16_units(session.runtime.device), session.runtime
    if session.chosen_precision:
        why = f"the device has {units}" if units else "the device has no units for bf16"
        session.reporter.say(f"precision: {runtime.precision}, {why}")
    elif units and runtime.precision == "fp32" and size >= MATRICES_COUNT:
        session.reporter.say(
            f"precision: fp32; the device has {units}, which --set runtime.precision=auto uses"
        )


def load_test(session: Session, data: Dataset, pipeline: Pipeline) -> Pipeline | None:
    """The same model over the third split: what cannot be used of it is refused before the first step."""
    if data.test is None:
        return None
    with memory_errors("the test examples", "data.max_test_examples"):
        test = pipeline.evaluating(data.test)
    require_readable(session, test)
    return test


def load_teachers(session: Session, data: Dataset) -> dict[str, Pipeline]:
    """The teachers that the config names, by their role in the record."""
    spec = session.spec
    teachers = {
        f"teacher {number}" if number > 1 else "teacher": session.task.build(
            spec, data, model=teacher, complete=True
        )
        for number, teacher in enumerate(spec.teacher.refs() if spec.teacher else (), start=1)
    }
    for teacher in teachers.values():
        for line in teacher.load_report.warnings:
            session.reporter.say(f"{WARNING}{line}")
    return teachers


def choose_objective(
    session: Session, data: Dataset, pipeline: Pipeline
) -> tuple[Objective, Distillation | None]:
    """What is minimised: the labels alone, a head over stored features, or the labels and teachers."""
    spec, runtime, reporter = session.spec, session.runtime, session.reporter
    if spec.teacher is not None:
        distillation = session.resources.enter_context(
            open_distillation(spec, session.task, data, pipeline, runtime, reporter)
        )
        return distillation.objective, distillation
    backbone = open_frozen_backbone(spec, data, pipeline, runtime, reporter)
    return session.resources.enter_context(backbone) or Supervised(pipeline, spec.data.views), None


def choose_trained(session: Session, pipeline: Pipeline) -> None:
    """Add the adapter, or freeze what is not trained, and say how much is. The engine freezes as well.

    Raises ConfigError for what the model cannot do.
    """
    spec, model = session.spec, pipeline.model
    for key in ("layer_decay", "unfreeze_every"):
        if getattr(spec.train, key) is not None:
            layers_of(model, pipeline.head, pipeline.embeddings, where=f"train.{key}")
    if spec.model.adapter is not None:
        adapted = adapters.add_adapter(
            model, spec.model.adapter, pipeline.learns_with_adapter, seed=spec.train.seed
        )
        session.reporter.say(f"adapter: rank {spec.model.adapter.rank}, beside {len(adapted)} layers")
    optim.freeze(model, spec.model, pipeline.head, pipeline.embeddings, pipeline.new_parameters)
    total, trained = sum(p.numel() for p in model.parameters()), trainable_parameters(model)
    if trained < total:
        learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        left = {name for name, _ in model.named_parameters()} - learning
        module_lists = [
            listing(whole_modules(model, names), most=_MODULES_TOLD) for names in (learning, left)
        ]
        session.reporter.say(
            f"trained: {trained:,} of {total:,} parameters: {module_lists[0]}; left as it is: {module_lists[1]}"
        )


def trainable_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def make_pins(spec: RunSpec, reporter: Reporter) -> Pins:
    """``ptm lock``: what the experiment is made of now. Loads data, model and teachers."""
    require_downloads(spec)
    with open_session(spec, reporter) as session:
        data = session.task.load_data(spec)
        model = session.task.build(spec, data, model=spec.model.ref(), complete=False)
        pipelines = {"model": model, **load_teachers(session, data)}
        # A test adds its digest, which the data have already.
        return Pins.of(manifest_of(spec, dump_config(spec), data, session.runtime, pipelines, {}))


def _listed(labels: Sequence[str]) -> str:
    more = f", … ({len(labels)})" if len(labels) > _LABELS_TOLD else ""
    return ", ".join(map(cut_label, labels[:_LABELS_TOLD])) + more
