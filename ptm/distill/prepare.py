"""From a spec to what a student learns from: teachers loaded, examined, their outputs found or to be stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ptm import engine
from ptm.base.console import Reporter, parameters
from ptm.config.spec import DistillSpec, RunSpec, TeacherSpec
from ptm.data.examples import Dataset
from ptm.distill import audit
from ptm.distill.features import build_features
from ptm.distill.objective import Distilled, HeadOnly
from ptm.distill.store import Store, root_directory
from ptm.distill.teacher import Teacher, arithmetic
from ptm.errors import ConfigError, ModelError, Problem, StorageError
from ptm.models.size import describe_size
from ptm.objective import all_counts, new_counts
from ptm.pipeline import Pipeline
from ptm.run import manifest as record
from ptm.training.optim import StepCounts
from ptm.training.runtime import Runtime


@dataclass(frozen=True)
class Distillation:
    """The objective of a distillation, and what is to be written down of its teachers."""

    objective: Distilled
    facts: dict[str, Any]  # results.json: teacher
    digests: dict[str, str]  # of the teachers' weights
    teachers: tuple[Teacher, ...]
    without_store: str  # why there is no store, "" where there is one

    def results(self, step_seconds: float, spec: DistillSpec, runtime: Runtime) -> dict[str, Any]:
        """results.json: ``distill``. ``step_seconds`` include waiting for a teacher. All processes call this."""
        counts = all_counts(runtime.gather(self.objective.counts))
        used, computed = int(counts["used"]), int(counts["computed"])
        stores = [t.store for t in self.teachers if t.store is not None]
        return {
            "teacher_seconds": round(counts["teacher_seconds"], 3),
            "student_seconds": round(step_seconds - counts["step_seconds"], 3),
            "store": {
                "used": bool(stores),
                **({"reason": self.without_store} if self.without_store else {}),
                "hits": max(0, used - computed),
                "misses": computed,
                "hit_rate": round(max(0, used - computed) / used, 4) if used else None,
                "bytes": sum(path.stat().st_size for store in stores for path in store.path.glob("*.bin")),
                "precision": spec.store_precision,
                "top_k": spec.top_k,
                "names": [store.path.name for store in stores],
            },
            "views": {"random": self.teachers[0].random_views, "in_rotation": spec.views},
        }

    def close(self) -> None:
        for teacher in self.teachers:
            if teacher.store is not None:
                teacher.store.close()


def prepare_distillation(
    spec: RunSpec, module: ModuleType, data: Dataset, student: Pipeline, runtime: Runtime, reporter: Reporter
) -> Distillation:
    """Load, measure and examine the teachers of a run. Raises ModelError for one that cannot teach this."""
    assert spec.teacher is not None
    if not student.distillable:
        raise ConfigError(f"{spec.task} cannot be distilled", where="teacher", cure="remove teacher:")
    distill = spec.distill or DistillSpec()
    names = (spec.teacher.name, *spec.teacher.others)
    counts = new_counts()
    loaded: list[Loaded] = []
    features = None
    for index, name in enumerate(names):
        chosen = spec.teacher if index == 0 else TeacherSpec(name=name, labels=spec.teacher.labels)
        pipeline: Pipeline = module.build(spec, data, model=chosen, complete=True)
        if index == 0:
            features = build_features(distill, student, pipeline, seed=spec.train.seed, device=runtime.device)
        requested = features.teacher_features if features else ()
        teacher = Teacher(
            pipeline, student, runtime, distill, requested=requested, seed=spec.train.seed, counts=counts
        )
        if not pipeline.per_example and pipeline.input_fingerprint != student.input_fingerprint:
            raise ModelError(
                "it reads its inputs in other pieces than the student, so their outputs cannot be compared one by one",
                where=f"teacher {name}",
                expected="the same tokenizer and length, or the same size of images",
            )
        loaded.append(_examined(spec, data, teacher, chosen, runtime, reporter))
    teachers, facts = [each.teacher for each in loaded], [each.facts for each in loaded]
    digests = {f"teacher {i + 1}" if i else "teacher": each.digest for i, each in enumerate(loaded)}
    reasons = [each.without_store for each in loaded]
    objective = Distilled(
        student,
        teachers,
        distill,
        counts,
        shares=spec.teacher.shares,
        features=features,
        label_type=spec.data.label_type,
    )
    told = {**facts[0], **({"others": facts[1:]} if len(facts) > 1 else {})}
    return Distillation(objective, told, digests, tuple(teachers), next((r for r in reasons if r), ""))


def prepare_head_only(
    spec: RunSpec, data: Dataset, pipeline: Pipeline, runtime: Runtime, reporter: Reporter
) -> HeadOnly | None:
    """With a frozen backbone and inputs that are the same in every epoch: train the head on what the backbone said
    once. None where that is not so, was not wanted, or cannot be stored."""
    wanted = spec.model.freeze == "backbone" and spec.model.store_features == "auto"
    if not wanted or pipeline.random_views or not pipeline.head_input or spec.runtime.compile:
        return None
    counts, settings = new_counts(), DistillSpec()
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
    chosen = TeacherSpec(name=spec.model.name)
    digest = record.weights_digest(pipeline.model, without=pipeline.head)
    reason = _open_store(spec, data, backbone, chosen, digest, runtime)
    if reason:
        reporter.say(f"model: what the frozen backbone says is not stored ({reason})")
        return None
    return HeadOnly(pipeline, backbone, counts)


@dataclass(frozen=True)
class Loaded:
    """A teacher that may teach, and what is written down of it."""

    teacher: Teacher
    facts: dict[str, Any]
    digest: str
    without_store: str


def _examined(
    spec: RunSpec,
    data: Dataset,
    teacher: Teacher,
    chosen: TeacherSpec,
    runtime: Runtime,
    reporter: Reporter,
) -> Loaded:
    """Measure and audit a teacher, open its store."""
    pipeline, distill = teacher.pipeline, spec.distill or DistillSpec()
    digest = record.weights_digest(pipeline.model)
    found = _evaluated(spec, data, pipeline, chosen, digest, runtime)
    facts = {**describe_size(chosen.name, pipeline.model), "metrics": found["metrics"]}
    reporter.say(
        f"teacher: {chosen.name}, {parameters(facts['parameters'])}, "
        f"{_headline(found['metrics'])} on the eval split"
    )
    _audit(chosen, pipeline, found, distill, spec, data, reporter)
    if distill.store == "off":
        return Loaded(teacher, facts, digest, "distill.store: off")
    if pipeline.per_example:
        reason = _open_store(spec, data, teacher, chosen, digest, runtime) or ""
    else:
        reason = "a store keeps a row an example; these have one a word, token or pixel"
    if reason:
        reporter.say(f"teacher: outputs are not stored ({reason})")
    return Loaded(teacher, facts, digest, reason)


def _headline(metrics: Mapping[str, float]) -> str:
    """The metric that stands for the others, and its value."""
    others = [name for name in metrics if name != "loss"]
    name = next((name for name in ("accuracy", "pearson", "auroc_macro") if name in metrics), *others[:1])
    return f"{name} {metrics[name]:.4f}"


def data_identity(spec: RunSpec, data: Dataset, split: str) -> dict[str, Any]:
    """What decides which examples a split has, and in what order."""
    wanted = spec.data
    share = wanted.eval if wanted.eval is not None and wanted.eval.strip().endswith("%") else None
    limit = wanted.max_train_examples if split == "train" else wanted.max_eval_examples
    return {
        "split": split,
        "digest": data.digests[split],
        "columns": [wanted.text, wanted.text_pair, wanted.image, wanted.label],
        **({} if wanted.label_type == "class" else {"label_type": wanted.label_type}),
        "labels": list(data.labels),
        "held_out": share,
        "limit": limit,
    }


def _evaluated(
    spec: RunSpec, data: Dataset, pipeline: Pipeline, chosen: TeacherSpec, digest: str, runtime: Runtime
) -> dict[str, Any]:
    """The teacher's metrics, targets and predictions on the eval split; from the store if it was asked before."""
    distill = spec.distill or DistillSpec()
    batch_size = spec.train.eval_batch_size or engine.DEFAULT_EVAL_BATCH_SIZE
    identity = {
        "weights": digest,
        "output_fingerprint": pipeline.output_fingerprint,
        "view": pipeline.input_fingerprint,
        "data": data_identity(spec, data, "eval"),
        "arithmetic": arithmetic(runtime),
        "block": batch_size,
    }
    store = None
    if distill.store != "off" and runtime.main:
        try:
            store = Store(root_directory(distill.store), identity, (), _about(spec, chosen, "eval"))
        except StorageError:
            store = None
    found = runtime.gather(store.read_facts() if store is not None else None)[0]
    if found is None or not {"metrics", "targets", "predicted"} <= set(found):
        pipeline.model.to(runtime.device)
        metrics = engine.evaluate(pipeline, runtime, batch_size=batch_size)
        pairs = list(_class_pairs(metrics.predictions(), pipeline.labels))
        found = {
            "metrics": metrics.compute(),
            "targets": [target for target, _ in pairs],
            "predicted": [predicted for _, predicted in pairs],
        }
        if store is not None and np.isfinite(list(found["metrics"].values())).all():
            store.write_facts(found)
    if store is not None:
        store.close()
    return found


def _class_pairs(
    predictions: Iterable[Mapping[str, Any]], labels: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Class numbers (true, predicted) of each example, or of each word; none where several classes may apply."""
    number = {name: index for index, name in enumerate(labels)}
    for row in predictions:
        if "predicted_tags" in row:
            pairs = zip(row["tags"], row["predicted_tags"], strict=True)
            yield from ((number[tag], number[said]) for tag, said in pairs if said is not None)
        elif isinstance(row.get("label"), str):
            yield number[row["label"]], number[row["prediction"]]


def _open_store(
    spec: RunSpec, data: Dataset, teacher: Teacher, chosen: TeacherSpec, digest: str, runtime: Runtime
) -> str | None:
    distill = spec.distill or DistillSpec()
    identity = {
        "weights": digest,
        "data": data_identity(spec, data, "train"),
        "arithmetic": arithmetic(runtime),
    }
    counts = StepCounts.of(spec.train, len(data.train or ()))
    epochs = -(-counts.steps // counts.steps_per_epoch)
    views = (distill.views or epochs) if teacher.random_views else 1
    block = spec.train.eval_batch_size or engine.DEFAULT_EVAL_BATCH_SIZE
    about = _about(spec, chosen, "train")
    return teacher.open_store(root_directory(distill.store), identity, about, block=block, views=views)


def _about(spec: RunSpec, chosen: TeacherSpec, split: str) -> dict[str, Any]:
    return {"teacher": chosen.name, "data": spec.data.source, "split": split}


def _audit(
    chosen: TeacherSpec,
    pipeline: Pipeline,
    found: dict[str, Any],
    distill: DistillSpec,
    spec: RunSpec,
    data: Dataset,
    reporter: Reporter,
) -> None:
    if distill.audit == "off":
        return
    problems = _problems(chosen, pipeline, found, spec, data)
    if problems and distill.audit == "error":
        raise ModelError(problems)
    for problem in problems:
        reporter.say(f"warning: {problem}")


def _problems(
    chosen: TeacherSpec, pipeline: Pipeline, found: dict[str, Any], spec: RunSpec, data: Dataset
) -> list[Problem]:
    """What speaks against a teacher. A teacher of many classes is judged by its AUROC, one of numbers by its squared
    error beside the variance, one of pixels by its mean IoU."""
    metrics, domain_warnings = found["metrics"], pipeline.domain_warnings()
    if spec.data.label_type == "number":
        measured = audit.Measured(
            name=chosen.name,
            metric="mean_squared_error",
            value=metrics["mean_squared_error"],
            constant=float(np.var(data.eval.targets)),
            perfect=0.0,
            domain_warnings=domain_warnings,
        )
        return audit.examine_measured(measured)
    if spec.data.label_type == "classes":
        measured = audit.Measured(
            name=chosen.name,
            metric="auroc_macro",
            value=metrics.get("auroc_macro", 1.0),  # not defined: nothing to judge by
            constant=0.5,
            perfect=1.0,
            domain_warnings=domain_warnings,
        )
        return audit.examine_measured(measured)
    if "miou" in metrics:
        measured = audit.Measured(
            name=chosen.name,
            metric="miou",
            value=metrics["miou"],
            constant=_constant_miou(data),
            perfect=1.0,
            domain_warnings=domain_warnings,
        )
        return audit.examine_measured(measured)
    if not found["targets"]:  # nothing to hold its answers against
        cure = "use a teacher made for these data; distill.audit: warn trains all the same"
        return [Problem(warning, f"teacher {chosen.name}", cure=cure) for warning in domain_warnings]
    biases = {
        name: parameter.detach().float().cpu().numpy()
        for name, parameter in pipeline.model.named_parameters()
        if name.startswith(pipeline.head) and name.endswith("bias") and len(parameter) == len(pipeline.labels)
    }
    examined = audit.Examined(
        name=chosen.name,
        labels=pipeline.labels,
        targets=np.array(found["targets"]),
        predicted=np.array(found["predicted"]),
        head_biases=biases,
        recorded_accuracy=_recorded_accuracy(chosen, spec),
        domain_warnings=domain_warnings,
    )
    return audit.examine(examined)


def _constant_miou(data: Dataset) -> float:
    """Mean IoU of the most frequent class said everywhere: its share of the pixels, and 0 for every other class."""
    pixels = np.sum([mask.pixels for mask in data.eval.columns["mask"]], axis=0)
    return float(pixels.max() / pixels.sum() / (pixels > 0).sum())


def _recorded_accuracy(chosen: TeacherSpec, spec: RunSpec) -> float | None:
    """The accuracy that the teacher's own run measured, if it did so on the split that this run evaluates on."""
    from ptm.config.load import load_config
    from ptm.errors import PtmError

    run = Path(chosen.name)
    try:
        there = load_config(run / "config.yaml").data
        results = json.loads((run / "results.json").read_bytes())
        accuracy = float(results["metrics"]["accuracy"])
    except (PtmError, OSError, ValueError, KeyError, TypeError):
        return None
    keys = ("source", "eval", "max_eval_examples", "text", "text_pair", "image", "label")
    same = all(getattr(there, key) == getattr(spec.data, key) for key in keys)
    share = (spec.data.eval or "").strip().endswith("%")
    same = same and (not share or there.train == spec.data.train)
    return accuracy if same and results.get("status") == "done" else None
