"""Task ``semantic-segmentation``: a class for each pixel of an image."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.image_reading import ImageReading
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, image_inputs
from ptm.data.labels import match_labels, outputs_by_position
from ptm.data.masks import IGNORED, UNKNOWN, Mask, load_masks
from ptm.errors import ConfigError, Problem
from ptm.metrics.segmentation import SegmentationMetrics, Segmented, confusions
from ptm.models.weights import LoadReport
from ptm.pipeline import Batch, Output, Split
from ptm.training.finite import outputs_not_finite
from ptm.vision import segmenter_plan, segmenters
from ptm.vision.drawing import mask_png, paint_classes, read_mask_png, with_truth
from ptm.vision.images import Fits, any_size, check_headers
from ptm.vision.loader import ViewLoader
from ptm.vision.mask_views import FILL, PairReader, SquareViewMaker, pad, padded_side
from ptm.vision.names import output_names
from ptm.vision.pipeline import ImagePipeline, decided_data, laid_out
from ptm.vision.preprocessing import MaskPreprocessing
from ptm.vision.saved import SavedSegmenter
from ptm.vision.segmenter_plan import SegmenterPlan
from ptm.vision.views import MEMORY_LIMIT

_PIXELS_AT_ONCE = 1 << 21  # in a forward pass of an evaluation: eight images of 512x512


def missing(spec: RunSpec) -> list[Problem]:
    """All that would have to be downloaded and cannot be."""
    refs = [spec.model.ref(), *(spec.teacher.refs() if spec.teacher else ())]
    return [problem for ref in refs for problem in segmenter_plan.missing_downloads(ref)]


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    if spec.data.augment in ("trivial", "randaugment"):
        raise ConfigError(
            f"augment: {spec.data.augment} would move an image without its mask",
            where="data.augment",
            expected="none, crop or standard",
            cure="--set data.augment=standard",
        )
    return load_masks(spec.data, labels=labels, train=train, unlabelled=spec.needs_no_labels)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The output names that an earlier run wrote down, if ``name`` is one."""
    saved = segmenter_plan.stored(name)
    return None if saved is None else saved.labels


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Image files, and folders of them, without masks."""
    return image_inputs(paths, left_out=left_out)


def size_check(spec: RunSpec) -> Fits:
    """Which sizes of images the network can be given: all that can be decoded."""
    return any_size


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> SemanticSegmentation:
    """Load the network, and find unreadable images. ``complete`` networks must come with their last layers.

    A network to be trained keeps them only where its labels are those of the data, in their order.
    """
    teacher = model.role == "teacher"
    plan = segmenter_plan.plan_segmenter(model)
    labels = output_names(plan.labels, model)
    permutation = None
    if complete:
        outputs = len(labels) if labels else len(data.labels)
        permutation = match_labels(labels, data.labels, outputs, where=model.where)
    net, report = segmenters.build_segmenter(
        plan,
        len(data.labels),
        seed=spec.train.seed,
        complete=complete,
        keep_head=complete or plan.labels in (None, data.labels),
    )
    if complete and outputs_by_position(labels, data.labels):
        report = replace(report, order=data.labels)
    preprocessing = segmenter_plan.preprocessing_of(plan, spec, data, model, complete=complete)
    outputs_named = (labels or data.labels) if complete else data.labels
    pipeline = SemanticSegmentation(spec, data, plan, preprocessing, net, report, outputs_named, permutation)
    pipeline.effective_data = decided_data(preprocessing)
    if spec.data.mask_colors is not None or spec.data.source.startswith(("labelme:", "coco:")):
        del pipeline.effective_data["mask_values"]  # classes have names there
    if not teacher:
        pipeline.read_images()
    return pipeline


class SemanticSegmentation(ImagePipeline):
    """Pipeline of one network over images and masks.

    A batch holds lists, an entry an image, for evaluation images differ in size: ``pixels``, uint8 [3, H, W] with
    padding; ``inside``, (height, width) without it; ``size``, (height, width) of the grid that is scored. Targets
    are classes on that grid, uint8 [height, width], IGNORED where nothing counts.
    """

    per_example = False

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        plan: SegmenterPlan,
        preprocessing: MaskPreprocessing,
        model: nn.Module,
        report: LoadReport,
        output_labels: tuple[str, ...],
        permutation: np.ndarray | None,
    ) -> None:
        self.model = laid_out(model, spec)
        self.labels = data.labels
        self.head = tuple(
            prefix
            for prefix in segmenters.head_of(plan.architecture)
            if any(name.startswith(f"{prefix}.") for name, _ in model.named_parameters())
        )
        self.load_report = report
        self._augment = spec.data.augment
        self.random_views = self._augment != "none"
        scale = "whole" if preprocessing.whole else "own"
        self.input_fingerprint = (
            f"image_size={preprocessing.image_size} scale={scale} augment={self._augment}"
            f"{ImageReading.of(spec.data).name}"
        )
        self.output_fingerprint = (
            f"{plan.architecture} backbone={plan.backbone} mean={preprocessing.mean} std={preprocessing.std} "
            f"outputs={None if permutation is None else permutation.tolist()}"
        )
        self._spec = spec
        self._data = data
        self._plan = plan
        self._preprocessing = preprocessing
        self._output_labels = output_labels
        self._set_order(permutation)
        self._set_normalisation(preprocessing.mean, preprocessing.std)
        self._readers: dict[Split, PairReader] = {}
        self._train_loader: ViewLoader | None = None

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        if split == "train":
            for ids, views in zip(plan, self._training_views().pixels(plan, epoch), strict=True):
                shapes = [tuple(views.shape[-2:])] * len(ids)
                inputs = {"pixels": list(views[:, :3]), "inside": shapes, "size": shapes}
                yield Batch(ids=ids, inputs=inputs, targets=list(views[:, 3]))
        else:
            for ids in plan:
                yield self._evaluation_batch(ids)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        """Cross-entropy summed over the pixels that count, plus half of the auxiliary head's in training. With
        "logits" among ``requested``: these as well, a row a pixel that counts, with what they should say."""
        smoothing = self._spec.train.label_smoothing if model.training else 0.0
        sums: list[Tensor] = []
        auxiliary: list[Tensor] = []
        rows: list[tuple[Tensor, Tensor]] = []
        counts: list[Tensor] = []
        labelled = True
        for index, scores in self._scores(model, batch):
            if batch.targets is None:
                continue
            classes = batch.targets[index].long()
            target = classes.masked_fill(classes >= UNKNOWN, -100)
            main, *others = (_cross_entropy_sum(each, target, smoothing) for each in scores)
            sums.append(main)
            auxiliary += others
            counted = classes != IGNORED
            counts.append(counted.sum())
            if "logits" in requested:
                labelled &= not bool((classes == UNKNOWN).any())
                rows.append((scores[0].permute(1, 2, 0)[counted], classes[counted]))
        if not sums:
            return Output(loss_sum=self._mean.new_zeros(()), count=len(batch))
        # All of a batch of crops can lie in what is ignored. Its gradient is 0 then, not 0 / 0.
        count = int(torch.stack(counts).sum())  # a GPU is waited for here, once a batch
        output = Output(loss_sum=torch.stack(sums).sum(), count=max(1, count))
        if rows:
            logits, targets = (torch.cat(column) for column in zip(*rows, strict=True))
            output = replace(output, logits=logits, targets=targets if labelled else None)
        if not auxiliary:
            return output
        extra = segmenters.AUXILIARY_WEIGHT * torch.stack(auxiliary).sum()
        return replace(output, loss_sum=output.loss_sum + extra, parts={"auxiliary": extra.detach()})

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """Loss and confusions on the masks' own grids, image by image, so that no logits are kept. Without masks there
        is no loss that would tell of scores which are no numbers: NotFinite."""
        loss_sum, count = self._mean.new_zeros((), dtype=torch.float64), 0
        predictions: dict[int, Segmented] = {}
        classes = len(self.labels)
        for index, scores in self._scores(model, batch):
            predicted = scores[0].argmax(0).to(torch.uint8).cpu().numpy()
            pixels = np.bincount(predicted.ravel(), minlength=classes)
            if batch.targets is None:
                if not scores[0].isfinite().all():
                    raise outputs_not_finite([int(batch.ids[index])], self)
                predictions[index] = Segmented(
                    None, pixels, mask_png(predicted, self._preprocessing.mask_values)
                )
                continue
            target = batch.targets[index].long()
            target = target.masked_fill(target == IGNORED, -100)
            loss_sum += _cross_entropy_sum(scores[0], target).double().cpu()
            confusion = confusions(batch.targets[index].cpu().numpy(), predicted, classes)
            count += int(confusion.sum())
            predictions[index] = Segmented(confusion, pixels, None)
        return Output(loss_sum=loss_sum, count=count, predictions=[predictions[i] for i in range(len(batch))])

    def new_metrics(self) -> SegmentationMetrics:
        return SegmentationMetrics(self.labels)

    def save_model(self, directory: Path) -> None:
        """``model.safetensors`` and ``model.json``: network, output names, scale, normalisation, mask values.

        Without ptm, with ``s = json.load(open("model.json"))`` and ``n = len(s["labels"])``::

            net = torchvision.models.get_model(s["architecture"], weights=None, weights_backbone=None, num_classes=n)
            # or smp.create_model(s["architecture"][4:], s["backbone"], encoder_weights=None, classes=n)
            net.load_state_dict(safetensors.torch.load_file("model.safetensors"), strict=False)  # an auxiliary head

        Its input: RGB, the longer side resized to ``image_size`` if ``whole``, else as it is; padded at the right and
        bottom to multiples of 32; scaled to [0, 1], normalised by ``mean`` and ``std``.
        """
        self._save_weights(directory)
        # By label of the data; the outputs may stand in another order.
        values = self._preprocessing.mask_values
        by_label = dict(zip(self.labels, values, strict=True))
        named = set(by_label) == set(self._output_labels)
        saved = SavedSegmenter(
            architecture=self._plan.architecture,
            backbone=self._plan.backbone,
            labels=self._output_labels,
            preprocessing=replace(
                self._preprocessing,
                mask_values=tuple(by_label[name] for name in self._output_labels) if named else values,
            ),
        )
        saved.write(directory)

    def describe(self) -> dict[str, Any]:
        splits: dict[str, Any] = {}
        for split in self._splits():
            masks: Sequence[Mask] = self._examples(split).columns["mask"]
            counted = np.sum([mask.pixels for mask in masks], axis=0)
            every = sum(mask.size[0] * mask.size[1] for mask in masks)
            splits[split] = {
                "examples": self.size(split),
                "pixels_per_label": dict(zip(self.labels, counted.tolist(), strict=True)),
                "pixels_ignored": every - int(counted.sum()),
                "decoded_bytes_kept": _bytes(self._reader(split)),
            }
        return {**splits, "preprocessing": {**asdict(self._preprocessing), "augment": self._augment}}

    def render_prediction(self, index: int, prediction: Mapping[str, Any]) -> bytes:
        """PNG of the image with the predicted mask painted over it, every class but the first in a colour; where the
        true mask is known, beside it, with a legend."""
        image, predicted = self._image("eval", index), self._predicted_classes(index, prediction)
        masks = self._examples("eval").columns.get("mask")
        if masks is None:
            return paint_classes(image, predicted, self.labels)
        return with_truth(image, predicted, masks[index].classes(), self.labels, IGNORED)

    # -- images --------------------------------------------------------------------------------------------

    def _kept(self, split: Split) -> bool:
        return self._reader(split).decoded is not None

    def _read(self, split: Split) -> None:
        self._reader(split)

    def _forget(self) -> None:
        self._readers, self._train_loader = {}, None

    def _reader(self, split: Split) -> PairReader:
        if split not in self._readers:
            examples = self._examples(split)
            images, masks = examples.columns["image"], examples.columns.get("mask")
            whole = self._preprocessing.image_size if self._preprocessing.whole else None
            reader = PairReader(images, masks, examples.where, whole, reading=self._reading)
            # Three bytes a pixel of the image, one of the mask.
            if masks is not None and 4 * sum(m.size[0] * m.size[1] for m in masks) <= MEMORY_LIMIT:
                reader = replace(reader, decoded=[reader.read(index) for index in range(len(images))])
            else:
                threads = self._spec.runtime.threads or torch.get_num_threads()
                check_headers(images, examples.where, threads, page=self._reading.page)
            self._readers[split] = reader
        return self._readers[split]

    def _training_views(self) -> ViewLoader:
        if self._train_loader is None:
            runtime, preprocessing = self._spec.runtime, self._preprocessing
            seed = self._spec.train.seed
            view_maker = SquareViewMaker(self._reader("train"), preprocessing.image_size, self._augment, seed)
            gpu = runtime.device != "cpu" and torch.cuda.is_available()
            self._train_loader = ViewLoader(view_maker, runtime.workers, pin_memory=gpu)
        return self._train_loader

    def _evaluation_batch(self, ids: np.ndarray) -> Batch:
        reader, examples = self._reader("eval"), self._examples("eval")
        inputs: dict[str, list[Any]] = {"pixels": [], "inside": [], "size": []}
        targets: list[Tensor] | None = [] if "mask" in examples.columns else None
        for index in ids.tolist():
            pixels, classes = reader(index)
            height, width = pixels.shape[:2]
            padded = pad(pixels, padded_side(height), padded_side(width), FILL)
            inputs["pixels"].append(torch.tensor(padded).permute(2, 0, 1))
            inputs["inside"].append((height, width))
            if classes is None:
                image = self._image("eval", index)
                inputs["size"].append((image.height, image.width))
            else:
                assert targets is not None
                inputs["size"].append(tuple(classes.shape))
                targets.append(torch.from_numpy(classes))
        return Batch(ids=ids, inputs=inputs, targets=targets)

    # -- the network ---------------------------------------------------------------------------------------

    def _scores(self, model: nn.Module, batch: Batch) -> Iterator[tuple[int, list[Tensor]]]:
        """For each image of a batch, in any order: its place there, and its logits on the grid that is scored, fp32
        [classes, height, width], followed by those of an auxiliary head in training."""
        pixels, inside, sizes = (batch.inputs[name] for name in ("pixels", "inside", "size"))
        for places in _alike(pixels, together=model.training):
            result = self._apply(model, torch.stack([pixels[i] for i in places]))
            outputs = result if isinstance(result, dict) else {"out": result}
            names = ["out", *(["aux"] if model.training and "aux" in outputs else [])]
            for slot, index in enumerate(places):
                height, width = inside[index]
                scores = [self._in_data_order(outputs[n][slot, :, :height, :width], 0) for n in names]
                yield index, [_on_grid(each, sizes[index]) for each in scores]

    # -- predicted masks -----------------------------------------------------------------------------------

    def _predicted_classes(self, index: int, prediction: Mapping[str, Any]) -> np.ndarray:
        """Classes, uint8 [height, width]: those of the prediction if it carries a mask, else asked for again."""
        if "mask_png" in prediction:
            content = base64.b64decode(prediction["mask_png"])
            return read_mask_png(content, self._preprocessing.mask_values)
        batch = self._evaluation_batch(np.array([index])).to(self._mean.device)
        self.model.eval()
        with torch.inference_mode():
            ((_, scores),) = self._scores(self.model, batch)
        classes: np.ndarray = scores[0].argmax(0).to(torch.uint8).cpu().numpy()
        return classes


def _alike(pixels: Sequence[Tensor], *, together: bool) -> Iterator[list[int]]:
    """Places of images of one shape, which make up a forward pass; only as many as fit, unless all go ``together``."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(pixels):
        shapes.setdefault(tuple(image.shape), []).append(index)
    for shape, places in shapes.items():
        most = len(places) if together else max(1, _PIXELS_AT_ONCE // (shape[-1] * shape[-2]))
        for start in range(0, len(places), most):
            yield places[start : start + most]


def _cross_entropy_sum(scores: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Over the pixels of an image: scores [classes, h, w], target int64 [h, w], -100 where none counts.

    A row a pixel on a GPU: torch sums pixels of images there in no fixed order, and refuses to under
    ``runtime.deterministic``.
    """
    if scores.is_cuda:
        scores, target = scores.flatten(1).T, target.flatten()
    else:
        scores, target = scores[None], target[None]
    return F.cross_entropy(scores, target, reduction="sum", label_smoothing=smoothing)


def _on_grid(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """[classes, h, w] to [classes, *size], bilinear."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]


def _bytes(reader: PairReader) -> int:
    return sum(part.nbytes for pair in reader.decoded or () for part in pair if part is not None)
