"""Is this a teacher for these data? Looked at before the first step, on the evaluation split.

A teacher that knows nothing, or whose labels are in another order, costs a whole training before anybody notices.
:func:`audit_teacher` collects the evidence; each check is a pure function of it that gives a problem, or None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptm.base.console import Reporter
from ptm.base.regular import read_bytes
from ptm.config.folds import is_share
from ptm.config.load import load_config
from ptm.config.spec import DistillSpec, RunSpec
from ptm.data.examples import Dataset
from ptm.distill.evaluation import TeacherEvaluation
from ptm.errors import ModelError, Problem, PtmError, listing
from ptm.pipeline import Pipeline
from ptm.run.opening import require_run

LEAST_EVIDENCE = 8  # examples that an exchange of labels must put right
LEAST_SKILL = 0.1  # of what there is between guessing and knowing all
_OTHER = "use a teacher made for these data; distill.audit: warn trains all the same"


def audit_teacher(
    spec: RunSpec,
    settings: DistillSpec,
    data: Dataset,
    pipeline: Pipeline,
    name: str,
    evaluation: TeacherEvaluation,
    reporter: Reporter,
) -> None:
    """Raises ModelError with all that speaks against a teacher; with ``distill.audit: warn`` it is only reported."""
    if settings.audit == "off":
        return
    problems = teacher_problems(spec, data, pipeline, name, evaluation)
    if problems and settings.audit == "error":
        raise ModelError(problems)
    for problem in problems:
        reporter.say(f"warning: {problem}")


# --- the evidence


@dataclass(frozen=True, kw_only=True)
class ClassEvidence:
    """A teacher of single classes. ``targets`` and ``predicted`` are class numbers of the evaluated examples, int [n];
    ``head_biases`` those of its output layer, by name; ``metric`` is what it is judged by, ``accuracy`` or, of tags
    that name entities, their ``f1``, whose ``value`` is given; ``recorded`` what its own run measured of that on this
    very split, None where it did not; ``domain_warnings`` what the task says of its inputs."""

    name: str
    labels: tuple[str, ...]
    targets: np.ndarray
    predicted: np.ndarray
    head_biases: Mapping[str, np.ndarray]
    recorded: float | None
    domain_warnings: Sequence[str]
    metric: str = "accuracy"
    value: float | None = None

    @property
    def accuracy(self) -> float:
        return float((self.targets == self.predicted).mean())

    @property
    def measured(self) -> float:
        """The value of ``metric``."""
        return self.accuracy if self.value is None else self.value

    @property
    def skill(self) -> float:
        """From 0, guessing, to 1, knowing all. Tagging every word O has an F1 of 0, and often a high accuracy; drawing
        tags has no skill, and an F1 above 0."""
        skill = balanced_skill(self.targets, self.predicted)
        return skill if self.value is None else min(skill, self.value)


@dataclass(frozen=True, kw_only=True)
class MetricEvidence:
    """A teacher whose answers are no single classes: ``value`` of its ``metric``, beside ``constant``, that of an
    answer that is the same for every example, and ``perfect``, that of a teacher that knows all."""

    name: str
    metric: str
    value: float
    constant: float
    perfect: float
    domain_warnings: Sequence[str]


def teacher_problems(
    spec: RunSpec, data: Dataset, pipeline: Pipeline, name: str, evaluation: TeacherEvaluation
) -> list[Problem]:
    """What speaks against a teacher; [] when nothing does."""
    metrics, domain_warnings = evaluation.metrics, pipeline.domain_warnings()
    metric = spec.evaluation.audit
    if metric is not None:
        constant, perfect = REFERENCES[metric].constant(data), REFERENCES[metric].perfect
        return metric_problems(
            MetricEvidence(
                name=name,
                metric=metric,
                value=metrics.get(metric, perfect),  # an AUROC that is not defined is nothing to judge by
                constant=constant,
                perfect=perfect,
                domain_warnings=domain_warnings,
            )
        )
    if not evaluation.targets:  # nothing to compare its answers with
        return [Problem(warning, f"teacher {name}", cure=_OTHER) for warning in domain_warnings]
    own = "f1" if spec.evaluation.of_entities and "f1" in metrics else "accuracy"
    return class_problems(
        ClassEvidence(
            name=name,
            labels=pipeline.labels,
            targets=np.array(evaluation.targets),
            predicted=np.array(evaluation.predicted),
            head_biases=_head_biases(pipeline),
            recorded=_recorded(name, spec, own),
            domain_warnings=domain_warnings,
            metric=own,
            value=metrics["f1"] if own == "f1" else None,
        )
    )


def constant_miou(data: Dataset) -> float:
    """Mean IoU of the most frequent class predicted everywhere: its fraction of the pixels, 0 for every other class."""
    pixels = np.sum([mask.pixels for mask in data.eval.columns["mask"]], axis=0)
    return float(pixels.max() / pixels.sum() / (pixels > 0).sum())


@dataclass(frozen=True)
class Reference:
    """What an answer that is the same for every example reaches on these data, and a teacher that knows all."""

    constant: Callable[[Dataset], float]
    perfect: float


# By Evaluation.audit of a task or a label type.
REFERENCES: Mapping[str, Reference] = {
    "mean_squared_error": Reference(lambda data: float(np.var(data.eval.targets)), 0.0),
    "spearman": Reference(lambda data: 0.0, 1.0),
    "recall1": Reference(lambda data: 1 / len(data.eval), 1.0),
    "auroc_macro": Reference(lambda data: 0.5, 1.0),
    "miou": Reference(constant_miou, 1.0),
}


def _head_biases(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """The biases of the output layer, by name."""
    return {
        name: parameter.detach().float().cpu().numpy()
        for name, parameter in pipeline.model.named_parameters()
        if name.startswith(pipeline.head) and name.endswith("bias") and len(parameter) == len(pipeline.labels)
    }


def _recorded(name: str, spec: RunSpec, metric: str) -> float | None:
    """The ``metric`` that the teacher's own run measured, if it did so on the split that this run evaluates on."""
    run = Path(name)
    try:
        require_run(run)
        section = load_config(run / "config.yaml").data
        results = json.loads(read_bytes(run / "results.json"))
        value = float(results["metrics"][metric])
    except (PtmError, OSError, ValueError, KeyError, TypeError):
        return None
    keys = (
        "source",
        "eval",
        "max_eval_examples",
        "text",
        "text_pair",
        "image",
        "label",
        "split_by",
        "stratify",
    )
    same = all(getattr(section, key) == getattr(spec.data, key) for key in keys)
    held_out = is_share(spec.data.eval)
    same = same and (not held_out or section.train == spec.data.train)
    return value if same and results.get("status") == "done" else None


# --- the checks


def metric_problems(teacher: MetricEvidence) -> list[Problem]:
    """Does it know more than a constant answer?"""
    where = f"teacher {teacher.name}"
    problems = [
        Problem(warning, where, "inputs like those it was trained on", _OTHER)
        for warning in teacher.domain_warnings
    ]
    span = teacher.perfect - teacher.constant
    skill = (teacher.value - teacher.constant) / span if span else 1.0
    if not problems and not skill >= LEAST_SKILL:  # NaN is no skill
        problems.append(
            Problem(
                f"it knows nothing of these data: {teacher.metric} {teacher.value:.3f}, where a constant answer has "
                f"{teacher.constant:.3f}",
                where,
                f"{teacher.constant + LEAST_SKILL * span:.3f} or better, a tenth of the way from there to "
                f"{teacher.perfect:g}",
                "fine-tune the teacher on these data first; " + _OTHER,
            )
        )
    return problems


def class_problems(teacher: ClassEvidence) -> list[Problem]:
    """Everything that speaks against this teacher, the cause before what follows from it."""
    checks = (_shuffled(teacher), _fresh_head(teacher), _changed_inputs(teacher))
    causes = [problem for problem in checks if problem is not None]
    causes += [
        Problem(warning, f"teacher {teacher.name}", "inputs like those it was trained on", _OTHER)
        for warning in teacher.domain_warnings
    ]
    ignorant = _near_chance(teacher)
    return [*causes, *([ignorant] if ignorant is not None and not causes else [])]


def balanced_skill(targets: np.ndarray, predicted: np.ndarray) -> float:
    """(mean recall - chance) / (1 - chance) over the classes that occur: 0 for guessing, 1 for knowing all.

    Mean recall, for a model that always says the most frequent class may have a high accuracy.
    """
    support = np.bincount(targets)
    recalls = np.bincount(targets[targets == predicted], minlength=len(support))[support > 0]
    recall, classes = float(np.mean(recalls / support[support > 0])), len(recalls)
    chance = 1 / classes if classes > 1 else 0.0
    return (recall - chance) / (1 - chance)


def meanings(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """For each output the label that it should be called by, every label once, int64 [classes].

    An output that mostly (by two standard deviations) means another label is called by it; of several such outputs the
    one with most examples. All others keep their names as far as these are free.
    """
    pairs, counts = np.unique(np.stack([predicted, targets]), axis=1, return_counts=True)
    frequency = np.bincount(predicted, minlength=classes)
    often = frequency[pairs[0]]
    mostly = (counts > often / 2 + np.sqrt(often)) & (pairs[0] != pairs[1])
    result = np.full(classes, -1, dtype=np.int64)
    free = np.ones(classes, dtype=bool)
    for place in np.flatnonzero(mostly)[np.argsort(-counts[mostly], kind="stable")]:
        output, label = pairs[:, place]
        if free[label]:
            result[output], free[label] = label, False
    keep = np.flatnonzero((result < 0) & free)
    result[keep], free[keep] = keep, False
    result[result < 0] = np.flatnonzero(free)
    return result


def _shuffled(teacher: ClassEvidence) -> Problem | None:
    """Two or more outputs that mostly mean another label than they are called."""
    names, targets, predicted = teacher.labels, teacher.targets, teacher.predicted
    meaning = meanings(targets, predicted, len(names))
    frequency, right = (
        np.bincount(predicted, minlength=len(names)),
        np.bincount(predicted[predicted == targets], minlength=len(names)),
    )
    renamed = np.bincount(predicted[meaning[predicted] == targets], minlength=len(names))
    moved = [
        (j, k)
        for j, k in enumerate(meaning.tolist())
        if j != k and frequency[j] and renamed[j] > frequency[j] / 2 + math.sqrt(frequency[j])
    ]
    gain = sum(int(renamed[j] - right[j]) for j, _ in moved)
    if len(moved) < 2 or gain < LEAST_EVIDENCE:
        return None
    pairs = [f"{names[j]} is mostly {names[k]}" for j, k in moved]
    order = ", ".join(names[k] for k in meaning)
    better = teacher.accuracy + gain / len(targets)
    return Problem(
        f"its labels are in another order: what it calls {listing(pairs, 6)}",
        f"teacher {teacher.name}",
        f"accuracy {teacher.accuracy:.3f} as it is, {better:.3f} with the labels exchanged so",
        f"if its outputs have no names of their own, set teacher.labels: [{order}]; if they have, they are wrong",
    )


def _fresh_head(teacher: ClassEvidence) -> Problem | None:
    if not teacher.head_biases or any(np.any(bias) for bias in teacher.head_biases.values()):
        return None
    if teacher.skill > 3 * LEAST_SKILL:
        return None  # trained without biases, or trained so that they stayed
    return Problem(
        f"its output layer looks freshly made: {', '.join(teacher.head_biases)} is all zeros",
        f"teacher {teacher.name}",
        f"a fine-tuned classifier ({teacher.metric} here {teacher.measured:.3f})",
        "fine-tune the teacher first and name its run",
    )


def _near_chance(teacher: ClassEvidence) -> Problem | None:
    if teacher.skill >= LEAST_SKILL:
        return None
    skill = f"mean recall {100 * max(0.0, teacher.skill):.0f} % of the way from guessing to knowing"
    if teacher.metric == "f1" and teacher.measured < LEAST_SKILL:
        skill = f"of entities, while {teacher.accuracy:.3f} of the words have their tag"
    return Problem(
        f"it knows nothing of these data: {teacher.metric} {teacher.measured:.3f}, {skill}",
        f"teacher {teacher.name}",
        f"at least {100 * LEAST_SKILL:.0f} %",
        "fine-tune the teacher on these data first; " + _OTHER,
    )


def _changed_inputs(teacher: ClassEvidence) -> Problem | None:
    """Far from what the teacher's own run measured on the same examples: it reads them differently here."""
    before, now, n = teacher.recorded, teacher.measured, len(teacher.targets)
    if before is None or before - now <= max(0.02, 3 / n):
        return None
    return Problem(
        f"it had {teacher.metric} {before:.3f} on these very examples in its own run, here {now:.3f}",
        f"teacher {teacher.name}",
        "the same normalisation, image_size, max_length and texts as in its own run",
        "compare data: with the teacher's config.yaml",
    )
