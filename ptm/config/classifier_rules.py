"""What must hold between the keys that are about rare classes, and about decisions. No torch in here."""

from __future__ import annotations

from collections.abc import Iterator

from ptm.config.label_types import CLASS, NUMBER
from ptm.config.spec import RunSpec
from ptm.config.tasks import QUESTION_ANSWERING, TOKEN_CLASSIFICATION
from ptm.errors import listing

_KEYS = ("class_weights", "focal_gamma", "logit_adjustment", "sampling")
_OF_ONE_CLASS = ("logit_adjustment", "sampling")  # defined by the share of classes of which one applies


def check_decisions(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The same of what is decided after training."""
    decisions, label_type = spec.decisions, spec.data.label_type
    if decisions is None or not spec.descriptor.classifies:
        return
    if label_type == NUMBER.name:
        yield (
            ("decisions",),
            f"label_type: {NUMBER.name} has no probabilities to decide by",
            "remove decisions",
        )
        return
    if not decisions.temperature and decisions.thresholds == "none":
        cure = "add temperature: true, or thresholds: one"
        yield ("decisions",), "decisions has neither a temperature nor thresholds", cure
    if decisions.metric != "f1" and (label_type != CLASS.name or decisions.thresholds == "none"):
        yield ("decisions", "metric"), "metric is for the threshold of two labels", "remove it"
    labels = spec.data.labels
    if label_type == CLASS.name and decisions.thresholds != "none" and labels and len(labels) != 2:
        what = f"of {len(labels)} labels, the one with the highest probability is the answer"
        yield ("decisions", "thresholds"), what, "remove it, or use label_type: classes"


def check_long_texts(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The same of texts that are longer than a model reads."""
    data, mode = spec.data, spec.data.long_texts or "cut"
    keys = ("pool",) if spec.task == QUESTION_ANSWERING.name else ("stride", "pool")
    for key in keys:
        if getattr(data, key) is not None and mode != "windows":
            yield ("data", key), f"{key} is for long_texts: windows", "remove it, or add long_texts: windows"
    if mode == "cut":
        return
    if data.pool == "learned" and spec.model.adapter is not None:
        what = (
            "an adapter is saved beside a model that it leaves as it is, and pool: learned is a layer of it"
        )
        yield ("data", "pool"), what, "use pool: mean, or remove model.adapter"
    if spec.task == TOKEN_CLASSIFICATION.name and mode == "head_tail":
        what = "head_tail leaves words out, and each is to have its tag"
        yield ("data", "long_texts"), what, "use windows"
    if data.text_pair is not None:
        yield ("data", "long_texts"), f"{mode} is for single texts, not for pairs", "remove one of them"
    if mode == "windows" and spec.distill is not None and spec.distill.features != "none":
        what = f"features: {spec.distill.features} compares texts, and windows are read one by one"
        yield ("data", "long_texts"), what, "use features: none"


def check_few_labels(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The same of a draw of few examples."""
    if spec.data.per_class is None or not spec.descriptor.label_types:
        return
    if not spec.label_type.exclusive:
        what = f"an example of label_type: {spec.label_type.name} is of no one class"
        yield ("data", "per_class"), what, "use max_train_examples"
    elif spec.needs_no_labels:
        what = "per_class goes by the labels, and distill.ce_weight: 0 needs none"
        yield ("data", "per_class"), what, "use max_train_examples"


def check_unlabelled(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The same of examples that nobody has labelled."""
    key = ("data", "unlabelled")
    if spec.data.unlabelled is None or not spec.descriptor.classifies:
        return
    if spec.teacher is None:
        yield (
            key,
            "nobody says what the unlabelled examples are",
            "add teacher: {name: ...}, or remove unlabelled",
        )
        return
    if not spec.label_type.exclusive:
        what = f"unlabelled is for label_type: {CLASS.name}, this is {spec.label_type.name}"
        yield key, what, "remove it"
    if spec.needs_no_labels:
        yield key, "with distill.ce_weight: 0 no example needs a label", "name all of them in data.train"
    if spec.data.mixup is not None or spec.data.cutmix is not None:
        yield key, "a mixture of images needs the labels of both", "remove mixup and cutmix"
    if spec.train.sampling == "balanced":
        yield key, "examples without labels cannot be drawn by them", "remove train.sampling"
    if spec.distill is not None and spec.distill.method == "dkd":
        yield key, "method: dkd goes by the label of an example", "use method: kd"


def check_mixing(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The same of images that are mixed."""
    for key in ("mixup", "cutmix"):
        if getattr(spec.data, key) is not None and spec.distill is not None and spec.distill.method == "dkd":
            what = "method: dkd goes by the one label of an image, and mixed ones have two"
            yield ("data", key), what, f"remove {key}, or use method: kd"


def check_imbalance(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is wrong: (key path, what, cure)."""
    train, label_type = spec.train, spec.data.label_type
    keys = [key for key in _KEYS if getattr(train, key) not in (None, "shuffled")]
    if not spec.descriptor.classifies:
        return  # whatever is set is for other tasks, which is said elsewhere
    for key in keys:
        if label_type == NUMBER.name:
            yield ("train", key), f"label_type: {NUMBER.name} has no classes", f"remove {key}"
        elif label_type != CLASS.name and key in _OF_ONE_CLASS:
            what = f"{key} goes by shares of classes of which one applies, this is label_type: {label_type}"
            yield ("train", key), what, "use class_weights: balanced"
        elif spec.needs_no_labels:
            what = f"{key} goes by the labels, and distill.ce_weight: 0 learns from the teacher alone"
            yield ("train", key), what, f"remove {key}, or give ce_weight a positive value"
    by_share = [key for key in keys if key != "focal_gamma"]
    if len(by_share) > 1:
        what = f"{listing(by_share)} each make up for rare classes: together they overdo it"
        yield ("train", by_share[-1]), what, "keep one of them"
    named = train.class_weights
    if isinstance(named, dict) and spec.data.labels is not None:
        unknown = sorted(set(named) - set(spec.data.labels))
        if unknown:
            what = f"{unknown[0]!r} is none of data.labels"
            yield ("train", "class_weights"), what, "name labels as data.labels does"
