"""From a spec to what is minimised: teachers loaded, evaluated and audited, their stores opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptm.base import files
from ptm.base.cache import root_directory
from ptm.base.console import Reporter, parameters
from ptm.config.spec import DistillSpec, RunSpec
from ptm.data.examples import Dataset
from ptm.distill.audit import audit_teacher
from ptm.distill.evaluation import evaluate_teacher
from ptm.distill.features import Features, build_features
from ptm.distill.identity import block_size, store_description, store_identity
from ptm.distill.objective import Distilled, HeadOnly
from ptm.distill.teacher import Teacher
from ptm.errors import ConfigError, ModelError, StorageError
from ptm.models.size import describe_size
from ptm.models.weights import weights_digest
from ptm.objective import all_counts, new_counts
from ptm.pipeline import Pipeline, TaskModule
from ptm.run.checkpoint import SpaceNeeded
from ptm.training.optim import StepCounts
from ptm.training.runtime import Runtime


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher that passed its audit. ``summary`` is what results.json says of it, ``digest`` that of its weights."""

    teacher: Teacher
    summary: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Distillation:
    """The objective of a distillation, and its teachers."""

    objective: Distilled
    settings: DistillSpec
    teachers: tuple[LoadedTeacher, ...]

    @property
    def roles(self) -> dict[str, LoadedTeacher]:
        """The teachers as manifests and lock files call them: teacher, teacher 2, …"""
        return {f"teacher {n}" if n > 1 else "teacher": each for n, each in enumerate(self.teachers, start=1)}

    @property
    def digests(self) -> dict[str, str]:
        """Of the teachers' weights, by role."""
        return {role: each.digest for role, each in self.roles.items()}

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """By role."""
        return {role: each.teacher.pipeline for role, each in self.roles.items()}

    def teacher_summary(self) -> dict[str, Any]:
        """results.json: ``teacher``."""
        first, *others = (each.summary for each in self.teachers)
        return {**first, **({"others": others} if others else {})}

    def distill_summary(self, step_seconds: float, runtime: Runtime) -> dict[str, Any]:
        """results.json: ``distill``. ``step_seconds`` include waiting for a teacher. All processes call this."""
        counts = all_counts(runtime.gather(self.objective.counts))
        used, computed = int(counts["used"]), int(counts["computed"])
        stores = [each.teacher.store for each in self.teachers if each.teacher.store is not None]
        no_store = next((each.teacher.no_store for each in self.teachers if each.teacher.no_store), "")
        return {
            "teacher_seconds": round(counts["teacher_seconds"], 3),
            "student_seconds": round(step_seconds - counts["step_seconds"], 3),
            "store": {
                "used": bool(stores),
                **({"reason": no_store} if no_store else {}),
                "hits": max(0, used - computed),
                "misses": computed,
                "hit_rate": round(max(0, used - computed) / used, 4) if used else None,
                "bytes": sum(path.stat().st_size for store in stores for path in store.path.glob("*.bin")),
                "precision": self.settings.store_precision,
                "top_k": self.settings.top_k,
                "names": [store.path.name for store in stores],
            },
            "views": {"random": self.teachers[0].teacher.random_views, "in_rotation": self.settings.views},
        }


@dataclass(frozen=True)
class ExaminedTeacher:
    """A teacher that fits its student and passed its audit. ``digest`` is that of its weights, ``summary`` what
    results.json says of it."""

    name: str
    pipeline: Pipeline
    digest: str
    summary: dict[str, Any]


def examine_teachers(
    spec: RunSpec, task: TaskModule, data: Dataset, student: Pipeline, runtime: Runtime, reporter: Reporter
) -> tuple[list[ExaminedTeacher], Features | None]:
    """Load, evaluate and audit the teachers of a run; the comparison of features with the first of them, if one is to
    be made.

    Raises ConfigError and ModelError for a teacher that cannot teach these data to this student.
    """
    assert spec.teacher is not None and spec.distill is not None
    if not student.distillable:
        raise ConfigError(f"{spec.task} cannot be distilled", where="teacher", cure="remove teacher:")
    examined: list[ExaminedTeacher] = []
    features: Features | None = None
    for index, ref in enumerate(spec.teacher.refs()):
        pipeline = task.build(spec, data, model=ref, complete=True)
        if index == 0:
            features = build_features(
                spec.distill, student, pipeline, seed=spec.train.seed, device=runtime.device
            )
        _require_comparable_rows(pipeline, student, ref.name)
        examined.append(_examine(spec, spec.distill, data, pipeline, ref.name, runtime, reporter))
    return examined, features


@contextmanager
def open_distillation(
    spec: RunSpec, task: TaskModule, data: Dataset, student: Pipeline, runtime: Runtime, reporter: Reporter
) -> Iterator[Distillation]:
    """Load, evaluate and audit the teachers of a run. Their stores are held open until the block ends.

    Raises ModelError for a teacher that cannot teach these data.
    """
    assert spec.teacher is not None and spec.distill is not None
    settings, counts = spec.distill, new_counts()
    examined, features = examine_teachers(spec, task, data, student, runtime, reporter)
    loaded: list[LoadedTeacher] = []
    with ExitStack() as stores:
        for index, each in enumerate(examined):
            requested = features.teacher_features if features and index == 0 else ()
            teacher = Teacher(
                each.pipeline,
                student,
                runtime,
                settings,
                requested=requested,
                seed=spec.train.seed,
                counts=counts,
            )
            stores.callback(teacher.close)
            _choose_store(spec, settings, data, teacher, student, each, runtime, reporter)
            loaded.append(LoadedTeacher(teacher, each.summary, each.digest))
        objective = Distilled(
            student,
            [each.teacher for each in loaded],
            settings,
            counts,
            teacher_weights=spec.teacher.shares,
            features=features,
            label_type=spec.data.label_type,
        )
        yield Distillation(objective, settings, tuple(loaded))


@contextmanager
def open_frozen_backbone(
    spec: RunSpec, data: Dataset, pipeline: Pipeline, runtime: Runtime, reporter: Reporter
) -> Iterator[HeadOnly | None]:
    """A head over stored features, where the backbone is frozen and the inputs are the same in every epoch.

    None where that is not so, was switched off, or the features cannot be stored. The store is held open until the
    block ends.
    """
    chosen = spec.model.freeze == "backbone" and spec.model.store_features == "auto"
    why_not = _no_stored_features(spec, pipeline) if chosen else ""
    if why_not:
        reporter.say(f"model: what the frozen backbone says is computed in every epoch ({why_not})")
    if not chosen or why_not:
        yield None
        return
    settings, counts = DistillSpec(), new_counts()
    backbone = Teacher(
        pipeline,
        pipeline,
        runtime,
        settings,
        requested=(pipeline.head_input,),
        seed=spec.train.seed,
        counts=counts,
        logits=False,
    )
    digest = weights_digest(pipeline.model, without=pipeline.head)
    with ExitStack() as stores:
        stores.callback(backbone.close)
        _open_store(spec, settings, data, backbone, pipeline, spec.model.name, digest, runtime)
        if backbone.no_store:
            reporter.say(f"model: what the frozen backbone says is not stored ({backbone.no_store})")
        yield None if backbone.no_store else HeadOnly(pipeline, backbone, counts)


def _no_stored_features(spec: RunSpec, pipeline: Pipeline) -> str:
    """Why a frozen backbone cannot run once for all epochs; "" when it can."""
    if pipeline.random_views:
        return "the inputs differ from epoch to epoch: data.augment"
    if not pipeline.head_input:
        return "what its head reads is not one feature that is the same each time: dropout before it, or several heads"
    below = [name for name in pipeline.new_parameters if not name.startswith(tuple(pipeline.head))]
    if below:
        return f"{min(below)} is new, and learns"
    return "a compiled model is run whole" if spec.runtime.compile else ""


def _require_comparable_rows(teacher: Pipeline, student: Pipeline, name: str) -> None:
    """ModelError where rows are tokens or pixels, and the teacher's are others than the student's."""
    if not teacher.per_example and teacher.input_fingerprint != student.input_fingerprint:
        raise ModelError(
            "it reads its inputs in other pieces than the student, so their outputs cannot be compared one by one",
            where=f"teacher {name}",
            expected="the same tokenizer and length, or the same size of images",
        )


def _examine(
    spec: RunSpec,
    settings: DistillSpec,
    data: Dataset,
    pipeline: Pipeline,
    name: str,
    runtime: Runtime,
    reporter: Reporter,
) -> ExaminedTeacher:
    """Evaluate and audit a teacher."""
    digest = weights_digest(pipeline.model)
    evaluation = evaluate_teacher(spec, settings, data, pipeline, name, digest, runtime)
    summary = {**describe_size(name, pipeline.model), "metrics": evaluation.metrics}
    size = parameters(summary["parameters"])
    headline = evaluation.headline(spec.evaluation.headline)
    reporter.say(f"teacher: {name}, {size}, {headline} on the eval split")
    if pipeline.reads:
        reporter.say(f"teacher: it reads {pipeline.reads}")
    for line in pipeline.load_report.warnings:
        reporter.say(f"warning: {line}")
    audit_teacher(spec, settings, data, pipeline, name, evaluation, reporter)
    return ExaminedTeacher(name, pipeline, digest, summary)


def _choose_store(
    spec: RunSpec,
    settings: DistillSpec,
    data: Dataset,
    teacher: Teacher,
    student: Pipeline,
    examined: ExaminedTeacher,
    runtime: Runtime,
    reporter: Reporter,
) -> None:
    """Open the store of a teacher's outputs, or say why there is none."""
    if settings.store == "off":
        teacher.no_store = "distill.store: off"
        return
    if examined.pipeline.per_example:
        _open_store(spec, settings, data, teacher, student, examined.name, examined.digest, runtime)
    else:
        teacher.no_store = "a store keeps a row an example; these have one a word, token or pixel"
    if teacher.no_store:
        reporter.say(f"teacher: outputs are not stored ({teacher.no_store})")


def _open_store(
    spec: RunSpec,
    settings: DistillSpec,
    data: Dataset,
    teacher: Teacher,
    student: Pipeline,
    name: str,
    digest: str,
    runtime: Runtime,
) -> None:
    """Store a teacher's outputs on the training split; where that cannot be, its ``no_store`` says why."""
    examples = len(data.train or ())
    counts = StepCounts.of(spec.train, examples)
    epochs = -(-counts.steps // counts.steps_per_epoch)
    try:
        root = root_directory(settings.store)
        same_disk = files.disk_of(root) == files.disk_of(Path(spec.output))
    except StorageError as error:
        teacher.no_store = error.problems[0].what
        return
    teacher.open_store(
        root,
        store_identity(spec, data, "train", teacher.pipeline, digest, runtime),
        store_description(spec, name, "train"),
        block=block_size(spec),
        views=(settings.views or epochs) if teacher.random_views else 1,
        reserve=SpaceNeeded.of(spec, student.model, None, examples).bytes if same_disk else 0,
    )
