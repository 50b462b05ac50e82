"""Is this a teacher for these data? Looked at before the first step, on the evaluation split.

A teacher that knows nothing, or calls things by other names, costs a whole training before anybody
notices. Each check is a pure function of what the evaluation found and gives a reason, or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ptm.errors import Problem

LEAST_EVIDENCE = 8  # examples that an exchange of labels must put right
LEAST_SKILL = 0.1  # of what there is between guessing and knowing all


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What is known of a teacher. ``targets`` and ``predicted`` are class numbers of the evaluated examples."""

    name: str
    labels: tuple[str, ...]
    targets: np.ndarray
    predicted: np.ndarray
    head_biases: Mapping[str, np.ndarray]  # of the output layer, by name
    recorded_accuracy: float | None  # what its own run measured on this very split
    domain_warnings: Sequence[str]  # what the task says of its inputs

    @property
    def accuracy(self) -> float:
        return float((self.targets == self.predicted).mean())


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a teacher whose answers are no single classes, beside what a constant answer comes to."""

    name: str
    metric: str
    value: float
    constant: float  # the metric of an answer that is the same for every example
    perfect: float  # that of a teacher that knows all
    domain_warnings: Sequence[str]


def examine_measured(teacher: Measured) -> list[Problem]:
    """The same for outputs of many classes, and for numbers: does it know more than a constant answer?"""
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


def examine(teacher: Examined) -> list[Problem]:
    """Everything that speaks against this teacher, the cause before what follows from it."""
    checks = (_shuffled(teacher), _fresh_head(teacher), _changed_inputs(teacher))
    causes = [problem for problem in checks if problem is not None]
    causes += [
        Problem(warning, f"teacher {teacher.name}", "inputs like those it was trained on", _OTHER)
        for warning in teacher.domain_warnings
    ]
    ignorant = _near_chance(teacher)
    return [*causes, *([ignorant] if ignorant is not None and not causes else [])]


_OTHER = "use a teacher made for these data; distill.audit: warn trains all the same"


def balanced_skill(targets: np.ndarray, predicted: np.ndarray) -> float:
    """(mean recall - chance) / (1 - chance) over the classes that occur: 0 for guessing, 1 for knowing all.

    Mean recall, for a model that always says the most frequent class may have a high accuracy.
    """
    classes = np.unique(targets)
    recalls = [float((predicted[targets == c] == c).mean()) for c in classes]
    chance = 1 / len(classes) if len(classes) > 1 else 0.0
    return (float(np.mean(recalls)) - chance) / (1 - chance)


def confusion(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts, int64 [output, label]."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (predicted, targets), 1)
    return matrix


def best_assignment(matrix: np.ndarray) -> np.ndarray:
    """For each output the label to call it, so that most examples are right, every label once, int64 [classes].

    The assignment with most examples on its diagonal (Kuhn 1955; scipy's linear_sum_assignment).
    """
    from scipy.optimize import linear_sum_assignment

    _, labels = linear_sum_assignment(matrix, maximize=True)
    return labels


def _shuffled(teacher: Examined) -> Problem | None:
    """Two or more outputs that mostly (by two standard deviations) mean another label than they are called."""
    names = teacher.labels
    matrix = confusion(teacher.targets, teacher.predicted, len(names))
    meaning, said = best_assignment(matrix), matrix.sum(axis=1)
    moved = [
        (j, k)
        for j, k in enumerate(meaning.tolist())
        if j != k and said[j] and matrix[j, k] > said[j] / 2 + math.sqrt(said[j])
    ]
    gain = sum(int(matrix[j, k] - matrix[j, j]) for j, k in moved)
    if len(moved) < 2 or gain < LEAST_EVIDENCE:
        return None
    pairs = [f"{names[j]} is mostly {names[k]}" for j, k in moved]
    shown = ", ".join(pairs[:6]) + (", …" if len(pairs) > 6 else "")
    order = ", ".join(names[k] for k in meaning)
    better = teacher.accuracy + gain / len(teacher.targets)
    return Problem(
        f"its labels are in another order: what it calls {shown}",
        f"teacher {teacher.name}",
        f"accuracy {teacher.accuracy:.3f} as it is, {better:.3f} with the labels exchanged so",
        f"if its outputs have no names of their own, set teacher.labels: [{order}]; if they have, they are wrong",
    )


def _fresh_head(teacher: Examined) -> Problem | None:
    if not teacher.head_biases or any(np.any(bias) for bias in teacher.head_biases.values()):
        return None
    if balanced_skill(teacher.targets, teacher.predicted) > 3 * LEAST_SKILL:
        return None  # trained without biases, or trained so that they stayed
    return Problem(
        f"its output layer looks freshly made: {', '.join(teacher.head_biases)} is all zeros",
        f"teacher {teacher.name}",
        f"a fine-tuned classifier (accuracy here {teacher.accuracy:.3f})",
        "fine-tune the teacher first and name its run",
    )


def _near_chance(teacher: Examined) -> Problem | None:
    skill = balanced_skill(teacher.targets, teacher.predicted)
    if skill >= LEAST_SKILL:
        return None
    return Problem(
        f"it knows nothing of these data: accuracy {teacher.accuracy:.3f}, mean recall "
        f"{100 * max(0.0, skill):.0f} % of the way from guessing to knowing",
        f"teacher {teacher.name}",
        f"at least {100 * LEAST_SKILL:.0f} %",
        "fine-tune the teacher on these data first; " + _OTHER,
    )


def _changed_inputs(teacher: Examined) -> Problem | None:
    """Far from what the teacher's own run measured on the same examples: it reads them differently here."""
    before, now, n = teacher.recorded_accuracy, teacher.accuracy, len(teacher.targets)
    if before is None or before - now <= max(0.02, 3 / n):
        return None
    return Problem(
        f"it had accuracy {before:.3f} on these very examples in its own run, here {now:.3f}",
        f"teacher {teacher.name}",
        "the same normalisation, image_size, max_length and texts as in its own run",
        "compare data: with the teacher's config.yaml",
    )
