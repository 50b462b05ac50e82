"""Task ``image-classification``: one image to one of several labels, any number of them, or a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.config.label_types import LabelType
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data import hub as data_hub
from ptm.data.examples import Dataset, Examples
from ptm.data.image_reading import ImageReading
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, image_inputs
from ptm.data.label_columns import label_column
from ptm.data.labels import match_labels, outputs_by_position, unnamed
from ptm.data.tabular import load_dataset
from ptm.data.unlabelled import with_unlabelled
from ptm.errors import ModelError, Problem, listing
from ptm.metrics.decisions import stored_decisions
from ptm.metrics.label_types import new_metrics, supervised_loss
from ptm.metrics.training_loss import TrainingLoss
from ptm.models.weights import LoadReport
from ptm.pipeline import Batch, Metrics, Output, Split, class_logits
from ptm.vision import classifier_plan, classifiers, features
from ptm.vision.augmentation import Augmentation
from ptm.vision.classifier_plan import ClassifierPlan
from ptm.vision.eval_views import mean_output, pixel_views
from ptm.vision.images import Fits, check_headers, decode_all
from ptm.vision.insight import grad_cam, heat_picture
from ptm.vision.loader import ViewLoader
from ptm.vision.looked_at import headers_looked_at
from ptm.vision.names import output_names
from ptm.vision.pipeline import ImagePipeline, decided_data, laid_out
from ptm.vision.pixel_cache import decode_once
from ptm.vision.preprocessing import Preprocessing
from ptm.vision.saved import SavedClassifier
from ptm.vision.timm_models import is_timm
from ptm.vision.views import ImageViewMaker, evaluation_view, fits_memory, fits_view, view_name


def missing(spec: RunSpec) -> list[Problem]:
    """All that would have to be downloaded and cannot be."""
    refs = [spec.model.ref(), *(spec.teacher.refs() if spec.teacher else ())]
    problems = [problem for ref in refs for problem in classifier_plan.missing_downloads(ref)]
    if spec.data.source.startswith("hub:"):
        problems += data_hub.missing_dataset(spec.data.source.removeprefix("hub:"))
    return problems


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    columns = {"image": _image_column(spec)}
    bare = spec.needs_no_labels
    load = partial(load_dataset, spec.data, columns, labels=labels, train=train, unlabelled=bare)
    return with_unlabelled(load, spec.data, columns) if train else load()


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    return image_inputs(paths, _image_column(spec), left_out)


def _image_column(spec: RunSpec) -> str:
    return spec.data.image or "image"


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The output names that an earlier run wrote down, if ``name`` is one."""
    return classifier_plan.stored_labels(name)


def size_check(spec: RunSpec) -> Fits:
    """Which sizes of images the model can be given."""
    ref = spec.model.ref()
    return fits_view(_preprocessing(spec, classifier_plan.plan_classifier(ref), ref))


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> ImageClassification:
    """Load the model, and find unreadable images. ``complete`` models must come with their output layer.

    A teacher reads the size that it was made for, or that ``teacher.image_size`` says. Where that is the student's,
    it looks at the same views ("consistent teaching", Beyer et al. 2022, arXiv:2106.05237), and its own images are not
    read.
    """
    teacher = model.role == "teacher"
    plan = classifier_plan.plan_classifier(model)
    made_for = plan.preprocessing.image_size if plan.own_normalisation else None  # else nobody says
    plan = replace(plan, preprocessing=_preprocessing(spec, plan, model))
    labels = output_names(plan.labels, model) if complete else None
    permutation = None
    if complete:
        _refuse_other_outputs(plan, spec.label_type, model)
    if complete and spec.label_type.named:
        outputs = len(labels) if labels else len(data.labels)
        permutation = match_labels(labels, data.labels, outputs, where=model.where)
    keep_head = complete or _same_outputs(plan.labels, data.labels, model.where)
    net, report = classifiers.build_classifier(
        plan,
        spec.label_type.outputs(data.labels),
        image_size=plan.preprocessing.image_size,
        seed=spec.train.seed,
        complete=complete,
        keep_head=keep_head,
    )
    if complete and spec.label_type.named and outputs_by_position(labels, data.labels):
        report = replace(report, order=data.labels)
    pipeline = ImageClassification(
        spec, data, plan, net, report, labels or data.labels, permutation, made_for
    )
    if complete and not teacher:
        pipeline.decisions = stored_decisions(model.name, data.labels)
    pipeline.effective_data = decided_data(plan.preprocessing)
    if not spec.data.source.startswith(("imagefolder:", "builtin:")):
        pipeline.effective_data |= {"image": _image_column(spec), **label_column(spec.data)}
    if not teacher:
        pipeline.read_images()
    return pipeline


class ImageClassification(ImagePipeline):
    """Pipeline of one model over images."""

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        plan: ClassifierPlan,
        model: nn.Module,
        report: LoadReport,
        output_labels: tuple[str, ...],
        permutation: np.ndarray | None,
        made_for: int | None,
    ) -> None:
        self.model = laid_out(model, spec)
        self.labels = data.labels
        self.head = classifiers.head_of(model, plan.architecture)
        self.load_report = report
        self._augmentation = Augmentation.of(spec.data)
        self.input_fingerprint = (
            view_name(plan.preprocessing, self._augmentation) + ImageReading.of(spec.data).name
        )
        self.random_views = self._augmentation.random
        self.output_fingerprint = (
            f"{plan.architecture} width={plan.width} mean={plan.preprocessing.mean} std={plan.preprocessing.std} "
            f"outputs={None if permutation is None else permutation.tolist()}"
        )
        # Where the layers of a timm network stand is not known.
        self.feature_names = () if is_timm(plan.architecture) else features.feature_names(model)
        one_head = len(self.head) == 1 and features.head_reads_pooled(model, self.head[0])
        self.head_input = "pooled" if one_head else ""
        self._spec = spec
        self._data = data
        self._plan = plan
        self._not_cached = ""  # why pixels could not be kept
        self._output_labels = output_labels
        targets = None if data.train is None else data.train.targets
        self._training_loss = TrainingLoss.of(spec.train, spec.data.label_type, targets, data.labels)
        self._set_order(permutation)
        self._set_normalisation(plan.preprocessing.mean, plan.preprocessing.std)
        side = plan.preprocessing.image_size
        self.reads = f"{side}x{side} pixels, {self.reads}"
        self._loaders: dict[Split, ViewLoader] = {}
        self._view_makers: dict[Split, ImageViewMaker] = {}
        self._decoded_bytes: dict[Split, int] = {}
        self._made_for = made_for

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        loader = self._loader(split)
        for ids, pixels in zip(plan, loader.pixels(plan, epoch), strict=True):
            labels = self._targets(split, ids, epoch)
            yield Batch(ids=ids, inputs={"pixels": pixels}, targets=labels)

    def _targets(self, split: Split, ids: np.ndarray, epoch: int) -> Tensor | None:
        """What these images are to say; of mixed ones the shares of classes, fp32 [n, classes], or numbers [n]."""
        targets = self._examples(split).targets
        if targets is None:
            return None
        if split != "train" or not self._augmentation.mixes:
            return torch.from_numpy(targets[ids])
        view_maker = self._view_makers[split]
        mixture = view_maker.mixture(epoch, ids)
        if not self._spec.label_type.named:
            return torch.from_numpy(
                mixture.targets(targets[ids, None], targets[mixture.partners, None])[:, 0]
            )
        shares = targets if targets.ndim == 2 else np.eye(len(self.labels), dtype=np.float32)[targets]
        return torch.from_numpy(mixture.targets(shares[ids], shares[mixture.partners]))

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        with features.captured(self.model, requested) as inside:
            result = self._apply(model, batch.inputs["pixels"])
        # While training, networks with auxiliary heads return a tuple: logits, then those of the other heads.
        main, *others = result if isinstance(result, tuple) else (result,)
        logits = self._in_data_order(main, 1)  # [n, classes]
        if batch.targets is None:
            return Output(loss_sum=logits.new_zeros(()), count=len(batch), logits=logits, features=inside)
        targets = batch.targets
        loss_sum = self._loss(logits, targets, training=model.training)
        if not others:
            return Output(loss_sum=loss_sum, count=len(batch), logits=logits, features=inside)
        weight = classifier_plan.AUXILIARY[self._plan.architecture][1]
        ordered = [self._in_data_order(scores, 1) for scores in others]
        sums = [self._loss(scores, targets, training=True) for scores in ordered]
        auxiliary = weight * torch.stack(sums).sum()
        return Output(
            loss_sum=loss_sum + auxiliary,
            count=len(batch),
            logits=logits,
            parts={"auxiliary": auxiliary.detach()},
            features=inside,
        )

    def forward_head(self, batch: Batch, head_input: Tensor) -> Output:
        logits = self._in_data_order(self.model.get_submodule(self.head[0])(head_input), 1)
        assert batch.targets is not None
        loss_sum = self._loss(logits, batch.targets, training=self.model.training)
        return Output(loss_sum=loss_sum, count=len(batch), logits=logits)

    def _loss(self, logits: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        if training:
            return self._training_loss(logits, targets)
        return supervised_loss(logits, targets, self._spec.data.label_type)

    def domain_warnings(self) -> list[str]:
        """Images of another size than those the weights were made for."""
        used, made_for = self._plan.preprocessing.image_size, self._made_for
        if made_for is None or max(used, made_for) <= 1.5 * min(used, made_for):
            return []
        return [f"its weights were made for images of {made_for}x{made_for}, here it sees {used}x{used}"]

    def decided(self, batch: Batch, output: Output) -> Output:
        return self.decisions.applied(output, batch, self._spec.data.label_type) if self.decisions else output

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """Of several views the mean of their probabilities, as logits."""
        data = self._spec.data
        views = pixel_views(batch.inputs["pixels"], data.eval_views)
        if len(views) == 1:
            return self.decided(batch, self.forward(model, batch))
        outputs = [self.forward(model, replace(batch, inputs={"pixels": view})) for view in views]
        return self.decided(batch, mean_output(outputs, batch, data.label_type))

    def insight(self, index: int, label: str) -> dict[str, Any]:
        (batch,) = self.batches("eval", [np.array([index])], 0)
        batch = batch.to(next(self.model.parameters()).device)
        number = self.labels.index(label)
        heat = grad_cam(self.model, lambda: class_logits(self.forward(self.model, batch)), number)
        if heat is None:
            return {}
        pixels = batch.inputs["pixels"][0].permute(1, 2, 0).cpu().numpy()
        picture, place = heat_picture(pixels, heat)
        return {"heat_png": picture, "heat_place": place}

    def new_metrics(self) -> Metrics:
        data = self._spec.data
        thresholds = self.decisions.thresholds if self.decisions else {}
        return new_metrics(self.labels, data.label_type, data.positive_label, thresholds, self.least_score)

    def save_model(self, directory: Path) -> None:
        """``model.safetensors`` and ``model.json``: architecture, output names, and preprocessing."""
        self._save_weights(directory)
        saved = SavedClassifier(
            architecture=self._plan.architecture,
            width=self._plan.width,
            labels=self._output_labels,
            preprocessing=self._plan.preprocessing,
        )
        saved.write(directory)

    def describe(self) -> dict[str, Any]:
        return {
            **{
                split: {
                    "examples": self.size(split),
                    **self._per_label(split),
                    "decoded_bytes_kept": self._decoded_bytes.get(split, 0),
                }
                for split in self._splits()
            },
            "preprocessing": {**asdict(self._plan.preprocessing), "augment": self._augmentation.name},
        }

    def notes(self) -> list[str]:
        return [f"the decoded images are not kept: {self._not_cached}"] if self._not_cached else []

    def _per_label(self, split: Split) -> dict[str, dict[str, int]]:
        """``examples_per_label``, where there are labels."""
        if not self._spec.label_type.named:
            return {}
        counts = _examples_per_label(self._examples(split).targets, self.labels)
        return {"examples_per_label": dict(zip(self.labels, counts.tolist(), strict=True))}

    def _kept(self, split: Split) -> bool:
        return split in self._decoded_bytes

    def _read(self, split: Split) -> None:
        self._loader(split)

    def _forget(self) -> None:
        self._loaders, self._view_makers, self._decoded_bytes = {}, {}, {}

    def _training_views(self) -> ViewLoader:
        return self._loader("train")

    def _loader(self, split: Split) -> ViewLoader:
        if split in self._loaders:
            return self._loaders[split]
        examples, preprocessing = self._examples(split), self._plan.preprocessing
        images, runtime = examples.columns["image"], self._spec.runtime
        augmentation = self._augmentation if split == "train" else Augmentation()
        threads = runtime.threads or torch.get_num_threads()
        pixels = None
        if fits_memory(len(images), preprocessing.image_size, augmentation.views):
            side, fits, reading = preprocessing.image_size, fits_view(preprocessing), self._reading
            view = partial(evaluation_view, preprocessing=preprocessing)
            about = {"pixels": f"{side} x {side}", "data": self._spec.data.source, "split": split}
            pixels, problem = decode_once(
                lambda: decode_all(images, examples.where, view, side, threads, fits, reading),
                images,
                preprocessing,
                reading,
                None if self._data.train is None else about,  # what is asked once is not kept
            )
            self._not_cached = problem or self._not_cached
            self._decoded_bytes[split] = pixels.nbytes
        else:
            fits, page = fits_view(preprocessing), self._reading.page
            look = partial(check_headers, images, examples.where, threads, fits, page)
            headers_looked_at(images, preprocessing, self._reading).once(look, self._spec.data.source)
        self._view_makers[split] = view_maker = ImageViewMaker(
            images, examples.where, preprocessing, augmentation, self._spec.train.seed, pixels, self._reading
        )
        gpu = runtime.device != "cpu" and torch.cuda.is_available()
        self._loaders[split] = ViewLoader(view_maker, runtime.workers, pin_memory=gpu)
        return self._loaders[split]


def _examples_per_label(targets: np.ndarray | None, labels: tuple[str, ...]) -> np.ndarray:
    """From class numbers [n], or 0 and 1 [n, classes]: int64 [classes]; 0 where nobody knows them."""
    if targets is None:
        return np.zeros(len(labels), dtype=np.int64)
    return np.bincount(
        targets[targets >= 0] if targets.ndim == 1 else np.nonzero(targets)[1], minlength=len(labels)
    )


def _preprocessing(spec: RunSpec, plan: ClassifierPlan, model: ModelRef) -> Preprocessing:
    """What ``data:`` says, of a teacher ``teacher:``; else what comes with the weights or the architecture."""
    section = model if model.role == "teacher" else spec.data
    own = plan.preprocessing
    chosen = replace(
        own.at_size(section.image_size or own.image_size),
        mean=section.mean or own.mean,
        std=section.std or own.std,
    )
    if model.role != "teacher":
        return chosen
    student_ref = spec.model.ref()
    student = _preprocessing(spec, classifier_plan.plan_classifier(student_ref), student_ref)
    if student.image_size == chosen.image_size:
        return replace(student, mean=chosen.mean, std=chosen.std)
    return chosen


def _refuse_other_outputs(plan: ClassifierPlan, label_type: LabelType, model: ModelRef) -> None:
    """ModelError where a trained model gives classes and a number is asked for, or the other way round."""
    if plan.labels is None or label_type.named == bool(plan.labels):
        return
    classes = f"its outputs are those of classes: {listing(plan.labels)}"
    raise ModelError(
        classes if plan.labels else "its output is a number",
        where=model.where,
        expected=f"a model trained with data.label_type: {label_type.name}",
        cure="correct the name of the model, or data.label_type",
    )


def _same_outputs(model_labels: tuple[str, ...] | None, data_labels: tuple[str, ...], where: str) -> bool:
    """Whether a model to be trained can keep its output layer. The same names in another order are an error:
    the run would start from an output layer that is wrong for every class."""
    if model_labels is None or model_labels == data_labels or unnamed(model_labels) or unnamed(data_labels):
        return True
    if set(model_labels) == set(data_labels):
        raise ModelError(
            "the model has the data's labels in another order",
            where=where,
            expected=listing(model_labels),
            cure=f"write them in the model's order: data.labels: [{', '.join(model_labels)}]",
        )
    return False
