"""What must hold between the keys of a spec, section by section. No torch in here."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import PurePath

from ptm.spec import SOURCES, TABLE_SOURCES, TEXT_TASKS, DataSpec, DistillSpec, RunSpec

Complaints = Iterator[tuple[tuple[str, ...], str, str]]  # key path, what, cure


def cross_check(
    spec: RunSpec, unsure: Collection[str] = frozenset()
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is wrong between fields: (key path, what, cure), section by section.

    ``unsure`` names keys (``train.epochs``) whose value in ``spec`` only stands in for one that could not be
    read: what rests on them is left out, so that one mistake is not reported as two.
    """

    def sure(*keys: str) -> bool:
        return not any(key == other or key.startswith(f"{other}.") for key in keys for other in unsure)

    if sure("task"):
        yield from _foreign_keys(spec)
    if sure("data.source"):
        yield from _check_source(spec, sure("task"))
    yield from _check_data(spec.data)
    yield from _check_train(spec, sure)
    if spec.distill is not None and spec.teacher is None and sure("teacher"):
        yield ("distill",), "distill: without a teacher:", "add teacher: {name: ...}, or remove distill:"
    if spec.distill is not None:
        yield from _check_distill(spec, spec.distill)
    if spec.runtime.precision == "fp16" and spec.runtime.device == "cpu":
        yield ("runtime", "precision"), "fp16 needs CUDA", "use bf16 or fp32 on the CPU"


def _foreign_keys(spec: RunSpec) -> Complaints:
    """Keys that are for other tasks."""
    text_only = (
        ("data", "text"),
        ("data", "text_pair"),
        ("data", "max_length"),
        ("model", "revision"),
        ("model", "layers"),
        ("teacher", "revision"),
    )
    image_only = (
        *(("data", key) for key in ("image", "image_size", "augment", "mean", "std")),
        ("model", "width"),
        ("teacher", "width"),
    )
    kind, keys = ("image", image_only) if spec.task in TEXT_TASKS else ("text", text_only)
    for section, key in keys:
        if getattr(getattr(spec, section), key, None) is not None:
            yield (section, key), f"{section}.{key} is for {kind} tasks, this is {spec.task}", "remove it"


def _check_source(spec: RunSpec, task_known: bool) -> Complaints:
    source = spec.data.source
    kind, colon, place = source.partition(":")
    if not colon or kind not in SOURCES:
        suffix = PurePath(source).suffix.lower().removeprefix(".")
        guess = {"jsonl": "json", "ndjson": "json", "tab": "tsv", "txt": "tsv"}.get(suffix, suffix)
        kinds = ", ".join(f"{name}:" for name in SOURCES)
        if colon:
            close = difflib.get_close_matches(kind, SOURCES, n=1)
            what = f"unknown kind of source {kind + ':'!r}"
            cure = f"did you mean {close[0]}:{place}" if close else f"begin it with one of {kinds}"
        else:
            what = f"the source {source!r} does not say what it is"
            cure = f"write {guess}:{source}" if guess in TABLE_SOURCES else f"begin it with one of {kinds}"
        yield ("data", "source"), what, cure
    elif not place.strip():
        yield ("data", "source"), f"{kind}: names nothing", f"write {kind}:NAME"
    elif task_known and spec.task in TEXT_TASKS and kind in ("imagefolder", "builtin"):
        yield (
            ("data", "source"),
            f"{kind}: holds images, this is {spec.task}",
            "use hub:, csv:, tsv:, json: or parquet:",
        )


def _check_data(data: DataSpec) -> Complaints:
    for key, values in (("mean", data.mean), ("std", data.std)):
        if values is not None and len(values) != 3:
            yield ("data", key), f"data.{key} has {len(values)} numbers", "give three: red, green, blue"
    if data.std is not None and any(value <= 0 for value in data.std):
        yield ("data", "std"), "a standard deviation must be above 0", "give three positive numbers"
    if data.labels is not None:
        if len(data.labels) < 2:
            yield (
                ("data", "labels"),
                "fewer than two labels",
                "name every class, in the order of their numbers",
            )
        doubled = sorted(name for name, times in Counter(data.labels).items() if times > 1)
        if doubled:
            yield (
                ("data", "labels"),
                f"label names repeat: {', '.join(doubled)}",
                "give each class its own name",
            )


def _check_distill(spec: RunSpec, distill: DistillSpec) -> Complaints:
    if distill.kd_weight == 0 and (distill.features == "none" or distill.feature_weight == 0):
        yield (
            ("distill", "kd_weight"),
            "with kd_weight 0 the teacher teaches nothing",
            "give it a positive weight",
        )
    text_only, image_only = ("minilm", "tinybert", "cosine"), ("attention",)
    refused = image_only if spec.task in TEXT_TASKS else text_only
    if distill.features in refused:
        what = f"features: {distill.features} cannot serve {spec.task}"
        served = [f for f in ("hidden", *text_only, *image_only, "relational") if f not in refused]
        yield ("distill", "features"), what, f"use one of {', '.join(served)}"
    if distill.layers is not None and distill.features not in ("hidden", "attention", "tinybert"):
        yield ("distill", "layers"), f"layers mean nothing to features: {distill.features}", "remove them"
    if distill.features != "none" and spec.runtime.compile:
        what = f"features: {distill.features} are read by hooks, which a compiled model does not call"
        yield ("runtime", "compile"), what, "remove compile, or use features: none"
    if distill.views is not None and (spec.data.augment or "none") == "none":
        yield ("distill", "views"), "without random augmentation there is one view only", "remove views"
    teacher = spec.teacher
    if teacher is None:
        return
    if teacher.shares is not None:
        if len(teacher.shares) != 1 + len(teacher.others):
            what = f"{len(teacher.shares)} shares for {1 + len(teacher.others)} teachers"
            yield ("teacher", "shares"), what, "give one a teacher, that of teacher.name first"
        elif min(teacher.shares) <= 0:
            yield ("teacher", "shares"), "a share must be above 0", "leave such a teacher out"
    if teacher.others and distill.features != "none":
        what = f"features: {distill.features} needs one teacher, here are {1 + len(teacher.others)}"
        yield ("distill", "features"), what, "use features: none, or one teacher"


def _check_train(spec: RunSpec, sure: Callable[..., bool]) -> Complaints:
    """``sure`` says whether all of some keys could be read."""
    train = spec.train
    if (train.epochs is None) == (train.steps is None) and sure("train.epochs", "train.steps"):
        both = train.epochs is not None
        yield (
            ("train", "steps") if both else ("train",),
            ("train has both epochs and steps" if both else "train says neither epochs nor steps"),
            "set one of them to null, or remove it" if both else "add one of them, such as epochs: 3",
        )
    if (
        train.micro_batch_size is not None
        and train.micro_batch_size > train.batch_size
        and sure("train.batch_size")
    ):
        yield (
            ("train", "micro_batch_size"),
            (f"micro_batch_size {train.micro_batch_size} is larger than batch_size {train.batch_size}"),
            "make it at most the batch size",
        )
    if train.early_stopping is not None and spec.best is None and sure("best"):
        yield (
            ("train", "early_stopping"),
            "early_stopping needs to know which metric counts",
            ("add best: {metric: accuracy, mode: max}"),
        )
    points = list(train.milestones)
    if points != sorted(points) or any(not 0 < point < 1 for point in points):
        yield (
            ("train", "milestones"),
            "milestones are rising shares of the run between 0 and 1",
            "such as [0.5, 0.75]",
        )
