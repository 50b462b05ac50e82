"""What must hold between the keys of a spec, section by section. No torch in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

from pydantic.fields import FieldInfo

from ptm.config import expressions
from ptm.config.classifier_rules import (
    check_decisions,
    check_few_labels,
    check_imbalance,
    check_long_texts,
    check_mixing,
    check_unlabelled,
)
from ptm.config.evaluation import best_mode
from ptm.config.hub_rules import check_revisions
from ptm.config.image_rules import check_masks, check_reading
from ptm.config.keys import serves
from ptm.config.label_types import LabelType
from ptm.config.runtime_rules import check_runtime
from ptm.config.similarity_rules import check_similarity
from ptm.config.slices import parse_slice_metric
from ptm.config.source_rules import check_source, check_text_format
from ptm.config.spec import DataSpec, DistillSpec, RunSpec
from ptm.config.split_rules import check_slices, check_splits, known_slices
from ptm.config.tasks import TABLE_SOURCES, TASKS
from ptm.errors import listing

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
        yield from _foreign_keys(spec, spec.task)
    if sure("data.source"):
        yield from check_source(spec, sure("task"))
    yield from _check_model(spec)
    yield from check_revisions(spec)
    yield from check_text_format(spec.data)
    yield from check_long_texts(spec)
    yield from check_mixing(spec)
    yield from check_unlabelled(spec)
    yield from check_few_labels(spec)
    yield from _check_data(spec.data, fewest=spec.descriptor.fewest_labels)
    yield from check_splits(spec)
    if sure("task"):
        yield from check_slices(spec)
    yield from check_masks(spec)
    yield from check_reading(spec)
    yield from _check_views(spec)
    yield from _check_label_type(spec)
    yield from _check_train(spec, sure)
    yield from check_imbalance(spec)
    yield from check_decisions(spec)
    if sure("task", "data.label_type"):
        yield from check_similarity(spec)
    if sure("task", "data.label_type", "data.labels"):
        yield from _check_metrics(spec, best=sure("best", "best.metric", "best.mode"))
    if spec.distill is not None and spec.teacher is None and sure("teacher"):
        yield ("distill",), "distill: without a teacher:", "add teacher: {name: ...}, or remove distill:"
    if spec.teacher is not None and not spec.descriptor.distillable:
        what = f"{spec.task} cannot be distilled"
        yield ("teacher",), what, "remove teacher: and distill:"
    if spec.teacher is not None:
        yield from _check_channels("teacher", spec.teacher.mean, spec.teacher.std)
    if spec.distill is not None:
        yield from _check_distill(spec, spec.distill)
    yield from check_runtime(spec)


def _foreign_keys(section: object, task: str, path: tuple[str, ...] = ()) -> Complaints:
    """Keys that are for other tasks, of a section and of those in it."""
    fields: Mapping[str, FieldInfo] = getattr(type(section), "__pydantic_fields__", {})
    for name, field in fields.items():
        here, value, tasks = (*path, name), getattr(section, name), serves(field)
        if tasks is None:
            yield from _foreign_keys(value, task, here)
        elif value != field.default and task not in tasks.names():
            yield here, f"{'.'.join(here)} is for {tasks.words()}, this is {task}", "remove it"


def _check_model(spec: RunSpec) -> Complaints:
    model = spec.model
    if model.shape is not None and not model.name.startswith("new:"):
        yield (
            ("model", "shape"),
            "shape is for new: models; this one has its own",
            "remove it, or use new:TYPE",
        )
    if model.shape is not None and model.shape.width % model.shape.heads:
        what = f"a width of {model.shape.width} cannot be divided among {model.shape.heads} heads"
        yield ("model", "shape", "heads"), what, "choose heads that divide the width"
    if model.name.startswith("new:") and model.tokenizer is None and spec.descriptor.modality == "text":
        yield (
            ("model",),
            "a new: model has no tokenizer of its own",
            "add tokenizer: train, or the name of one",
        )
    if model.vocabulary is not None and model.tokenizer != "train":
        yield ("model", "vocabulary"), "vocabulary is for tokenizer: train", "remove it"
    if model.adapter is not None and model.freeze != "none":
        yield ("model", "freeze"), "an adapter freezes the model it is added to", "remove freeze"
    if model.adapter is not None and (model.weights == "none" or model.name.startswith("new:")):
        what = "an adapter learns beside weights that know something already; these are random"
        yield ("model", "adapter"), what, "name pre-trained weights, or remove adapter"
    if model.freeze != "none" and (model.weights == "none" or model.name.startswith("new:")):
        what = "freeze keeps layers that have learned something; these are random"
        yield ("model", "freeze"), what, "name pre-trained weights, or remove freeze"
    if model.adapter is not None and not model.adapter.merge and not spec.descriptor.adapter_beside:
        able = " and ".join(name for name, task in TASKS.items() if task.adapter_beside)
        what = f"an adapter is saved apart for {able}, this is {spec.task}"
        yield ("model", "adapter", "merge"), what, "leave merge out: the saved model is an ordinary one"
    if spec.train.unfreeze_every is not None:
        yield from _check_unfreezing(spec)
    if spec.train.unfreeze_every is not None and model.freeze != "none":
        yield ("model", "freeze"), "train.unfreeze_every freezes and thaws by itself", "remove one of them"


def _check_unfreezing(spec: RunSpec) -> Complaints:
    """What does not go together with layers that begin to learn later."""
    key = ("train", "unfreeze_every")
    if spec.model.adapter is not None:
        yield key, "an adapter and the head learn from the first step on", "remove one of them"
    if spec.runtime.compile:
        yield key, "a compiled model would be compiled anew for every layer that joins", "remove compile"
    if spec.distill is not None and spec.distill.features != "none":
        what = f"features: {spec.distill.features} teach layers that do not learn at first"
        yield key, what, "use features: none, or let all layers learn from the start"


def _check_views(spec: RunSpec) -> Complaints:
    one = not spec.data.random_images and not spec.descriptor.random_views
    sections = [("data", spec.data.views), ("distill", spec.distill.views if spec.distill else None)]
    for section, views in sections:
        if views is not None and one:
            yield (section, "views"), "without random augmentation there is one view only", "remove views"
    if spec.data.views is not None and spec.teacher is not None:
        yield ("data", "views"), "a distillation has distill.views", "move it there"


def _check_data(data: DataSpec, *, fewest: int) -> Complaints:
    yield from _check_channels("data", data.mean, data.std)
    if data.labels is not None:
        if len(data.labels) < fewest:
            yield (
                ("data", "labels"),
                "fewer than two labels" if fewest == 2 else "no label",
                "name every class, in the order of their numbers",
            )
        duplicates = sorted(name for name, times in Counter(data.labels).items() if times > 1)
        if duplicates:
            yield (
                ("data", "labels"),
                f"label names repeat: {', '.join(duplicates)}",
                "give each class its own name",
            )


def _check_channels(
    section: str, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Complaints:
    for key, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != 3:
            yield (section, key), f"{section}.{key} has {len(values)} numbers", "give three: red, green, blue"
    if std is not None and any(value <= 0 for value in std):
        yield (section, "std"), "a standard deviation must be above 0", "give three positive numbers"


def _check_label_type(spec: RunSpec) -> Complaints:
    """What ``data.label_type`` leaves without meaning."""
    kind, distill, own = spec.label_type, spec.distill, spec.descriptor.label_types
    if own and kind.name not in own:
        tasks = " and ".join(name for name, task in TASKS.items() if kind.name in task.label_types)
        what = f"label_type: {kind.name} is for {tasks}, this is {spec.task}"
        yield ("data", "label_type"), what, f"use {' or '.join(own)}"
    yield from _check_label_column(spec.data, kind)
    if not kind.named and spec.data.labels is not None:
        yield ("data", "labels"), f"label_type: {kind.name} has no labels", "remove them"
    if not kind.smoothable and spec.train.label_smoothing:
        what = f"label_type: {kind.name} has no classes to smooth over"
        yield ("train", "label_smoothing"), what, "remove label_smoothing"
    if distill is None or kind.exclusive:
        return
    if distill.method != "kd":
        what = (
            f"method: {distill.method} compares classes of which one applies, this is label_type: {kind.name}"
        )
        yield ("distill", "method"), what, "use method: kd"
    if distill.top_k is not None:
        what = f"top_k leaves out classes of which one applies, this is label_type: {kind.name}"
        yield ("distill", "top_k"), what, "remove it"


def _check_label_column(data: DataSpec, kind: LabelType) -> Complaints:
    """Keys that say how labels are written, where they mean nothing."""
    source = data.source.partition(":")[0]
    if data.labels_from is not None:
        key = ("data", "labels_from")
        if data.label is not None:
            yield key, "labels_from and label both say where the labels are", "remove one of them"
        if not kind.named:
            yield key, f"label_type: {kind.name} is one column", "name it in label"
        if len(data.labels_from) < 2:
            yield key, "labels_from names fewer than two columns", "name a column for each label"
        if repeated := [name for name, times in Counter(data.labels_from).items() if times > 1]:
            yield key, f"columns of labels_from repeat: {listing(repeated)}", "name each of them once"
        if source not in (*TABLE_SOURCES, "hub"):
            yield key, f"{source}: has no columns", "remove it"
        elif data.labels is not None and set(data.labels) != set(data.labels_from):
            yield key, "labels_from and labels are not the same names", "remove labels"
    by_path = source in ("textfolder", "imagefolder") and data.label is not None
    if by_path and (why := expressions.complaint(str(data.label))):
        yield (
            ("data", "label"),
            f"{str(data.label)[:200]!r} is no regular expression: {why}",
            "such as ^([a-z]+)_: what it finds in the path of a file below the source",
        )
    if data.label_separator is not None and (kind.name != "classes" or data.labels_from is not None):
        yield (
            ("data", "label_separator"),
            "a cell holds one label only",
            "use label_type: classes, or remove it",
        )
    if data.label_map and not kind.named:
        yield ("data", "label_map"), f"label_type: {kind.name} has no labels", "remove it"
    if data.positive_label is not None and kind.name != "class":
        yield ("data", "positive_label"), "it is for label_type: class with two labels", "remove it"
    elif (
        data.positive_label is not None and data.labels is not None and data.positive_label not in data.labels
    ):
        yield (
            ("data", "positive_label"),
            f"{data.positive_label!r} is none of data.labels",
            "name one of them",
        )


def _check_metrics(spec: RunSpec, *, best: bool) -> Complaints:
    """Metrics that this task never measures."""
    metrics = [(("expect", name), name) for name in spec.expect]
    metrics += [(("best", "metric"), spec.best.metric)] if best and spec.best is not None else []
    for path, name in metrics:
        objection = spec.evaluation.objection(name, spec.data.labels)
        of_slice = None if objection is None else parse_slice_metric(name)
        if of_slice is not None and path[0] == "best":
            cure = f"use {of_slice.metric}, and expect: {{{name}: …}} for the slice"
            yield path, f"{name!r} is of a slice: too few examples to choose by", cure
            continue
        if of_slice is not None:
            objection = spec.evaluation.objection_to_slice(
                of_slice, known_slices(spec.data), spec.data.labels
            )
        if objection is not None:
            expected, cure = objection
            yield path, f"there is no metric {name!r}: {expected}", cure
    if best and spec.best is not None and spec.best.mode != best_mode(spec.best.metric):
        kept, order = ("lowest", "higher") if spec.best.mode == "min" else ("highest", "lower")
        what = f"the {kept} {spec.best.metric} would be kept, but {order} is better"
        yield ("best", "mode"), what, "remove mode: the metric decides"


def _check_distill(spec: RunSpec, distill: DistillSpec) -> Complaints:
    if distill.kd_weight == 0 and (distill.features == "none" or distill.feature_weight == 0):
        yield (
            ("distill", "kd_weight"),
            "with kd_weight 0 the teacher teaches nothing",
            "give it a positive weight",
        )
    text_only, image_only = ("minilm", "tinybert", "cosine"), ("attention",)
    foreign = image_only if spec.descriptor.modality == "text" else text_only
    if distill.features in foreign:
        what = f"features: {distill.features} cannot serve {spec.task}"
        choices = [f for f in ("hidden", *text_only, *image_only, "relational") if f not in foreign]
        yield ("distill", "features"), what, f"use one of {', '.join(choices)}"
    if distill.layers is not None and distill.features not in ("hidden", "attention", "tinybert"):
        yield ("distill", "layers"), f"layers mean nothing to features: {distill.features}", "remove them"
    if distill.features != "none" and spec.runtime.compile:
        what = f"features: {distill.features} are read by hooks, which a compiled model does not call"
        yield ("runtime", "compile"), what, "remove compile, or use features: none"
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
        isinstance(train.micro_batch_size, int)
        and train.micro_batch_size > train.batch_size
        and sure("train.batch_size")
    ):
        yield (
            ("train", "micro_batch_size"),
            (f"micro_batch_size {train.micro_batch_size} is larger than batch_size {train.batch_size}"),
            "make it at most the batch size",
        )
    if train.ema is not None and train.average_checkpoints is not None:
        what = "there is one average: of all steps (ema), or of the last evaluations"
        yield ("train", "average_checkpoints"), what, "remove one of them"
    if train.early_stopping is not None and spec.best is None and sure("best"):
        yield (
            ("train", "early_stopping"),
            "early_stopping needs to know which metric counts",
            ("add best: {metric: accuracy}"),
        )
    points = list(train.milestones)
    if points != sorted(points) or any(not 0 < point < 1 for point in points):
        yield (
            ("train", "milestones"),
            "milestones are rising fractions of the run between 0 and 1",
            "such as [0.5, 0.75]",
        )
