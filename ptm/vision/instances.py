"""Task ``instance-segmentation``: the pixels of each object, its box, and what it is, by Mask R-CNN (arXiv:1703.06870).

The backbone reads a batch; what is above it reads one image at a time, and the anchors and regions that are sampled in
an image are a function of (seed, epoch, id). So the loss is a sum over images, however a batch is split; what remains
is that images of different sizes are padded to the largest of their micro-batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.transform import resize_boxes

from ptm.base.seeds import SAMPLE, mix
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, image_inputs
from ptm.data.instances import Rle, decoded, encoded, from_text, load_instances
from ptm.errors import Problem
from ptm.metrics.detection import Boxes
from ptm.metrics.instances import InstanceMetrics
from ptm.pipeline import Batch, Output, Split
from ptm.vision import detector_plan
from ptm.vision.detection import ObjectDetection, build_as, size_check_of
from ptm.vision.drawing import draw_instances
from ptm.vision.images import Fits
from ptm.vision.pipeline import apply_model

MASK_SHARE = 0.5  # the least probability of a pixel of a mask (section 3.1 of the paper)
_PASTED_BYTES = 2**28  # of masks as numbers, that are laid into their image at once


def missing(spec: RunSpec) -> list[Problem]:
    """All that would have to be downloaded and cannot be."""
    return detector_plan.missing_downloads(spec.model.ref(), masks=True)


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    return load_instances(spec.data, labels=labels, train=train)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The label names that an earlier run wrote down, if ``name`` is one."""
    return detector_plan.stored_labels(name, masks=True)


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Image files, and folders of them."""
    return image_inputs(paths, left_out=left_out)


def size_check(spec: RunSpec) -> Fits:
    """Which sizes of images the model can be given."""
    return size_check_of(detector_plan.plan_detector(spec.model.ref(), masks=True), spec)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> InstanceSegmentation:
    """Load the model, and find unreadable images. ``complete`` models must come with their output layer."""
    plan = detector_plan.plan_detector(model, masks=True)
    return build_as(InstanceSegmentation, spec, data, plan, complete)


class InstanceSegmentation(ObjectDetection):
    """Pipeline of one Mask R-CNN over images with instances.

    ``targets`` of a batch have ``masks`` uint8 [k, height, width] besides; ``inputs["draws"]`` of a training batch are
    the seeds of what is sampled in each image.
    """

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        for batch in super().batches(split, plan, epoch):
            if split == "train":
                seed = self._spec.train.seed
                batch.inputs["draws"] = [mix(seed, SAMPLE, epoch, index) for index in batch.ids.tolist()]
            yield batch

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        """In training mode the loss and its ``parts``, torchvision's by their names there, with ``loss_mask``: the mean
        binary cross-entropy of the pixels of sampled regions, in the mask of their class. Else what is detected."""
        if not model.training or batch.targets is None:
            return self.evaluate_batch(model, batch)
        targets = [
            {"boxes": t["boxes"], "labels": t["labels"] + 1, "masks": t["masks"]} for t in batch.targets
        ]
        images = [image.float() / 255 for image in batch.inputs["images"]]
        draws = batch.inputs.get("draws") or [int(index) for index in batch.ids]
        parts = apply_model(losses_of, model, images, targets, draws)
        return Output(
            loss_sum=torch.stack(list(parts.values())).sum(),
            count=len(batch),
            parts={name: part.detach() for name, part in parts.items()},
        )

    def _find(self, model: nn.Module, image: Tensor) -> Boxes:
        """Boxes with masks, in the pixels of the image as it was decoded."""
        return found_in(model, image)

    def new_metrics(self) -> InstanceMetrics:
        return InstanceMetrics(self.labels, least=self.least_score)

    def render_prediction(self, index: int, prediction: Mapping[str, Any]) -> bytes:
        """The image with every object whose score is high enough, its pixels, box, label and score; white: the outline
        of what is there."""
        rows = zip(*(prediction[key] for key in ("boxes", "labels", "scores", "masks")), strict=True)
        shown = [row for row in rows if row[2] >= self._least_drawn]
        image = self._image("eval", index)
        masks = decoded([from_text(row[3]) for row in shown], image.size)
        truth = decoded([from_text(code) for code in prediction.get("target_masks", ())], image.size)
        return draw_instances(image, [row[:3] for row in shown], masks, self.labels, truth)

    @property
    def drawing_note(self) -> str:
        return (
            f"objects with a score of at least {self._least_drawn:g} (ptm predict --threshold); "
            "white: the outlines of what is there"
        )


def losses_of(
    model: Any, images: list[Tensor], targets: list[dict[str, Tensor]], draws: Sequence[int]
) -> dict[str, Tensor]:
    """Sums over images of torchvision's losses, by name. ``draws``: a seed for what is sampled in each image; torch's
    generators are left where the last one put them."""
    batch, scaled = model.transform(images, targets)
    features = _features(model, batch.tensors)
    sums: dict[str, Tensor] = {}
    for place, seed in enumerate(draws):
        own = {name: level[place : place + 1] for name, level in features.items()}
        image = ImageList(batch.tensors[place : place + 1], [batch.image_sizes[place]])
        torch.manual_seed(seed)
        proposals, of_proposals = model.rpn(image, own, [scaled[place]])
        _, of_regions = model.roi_heads(own, proposals, image.image_sizes, [scaled[place]])
        for name, loss in {**of_regions, **of_proposals}.items():
            sums[name] = sums.get(name, 0) + loss.float()
    return sums


def found_in(model: Any, image: Tensor) -> Boxes:
    """What is detected in an image, fp32 [3, height, width]. Masks are laid into it a few at a time, and kept as
    run-length codes: a hundred of them in a photo of 12 megapixels would be 5 GB."""
    batch, _ = model.transform([image], None)
    features = _features(model, batch.tensors)
    proposals, _ = model.rpn(batch, features, None)
    found, _ = model.roi_heads(features, proposals, batch.image_sizes, None)
    height, width = image.shape[-2:]
    boxes = resize_boxes(found[0]["boxes"], batch.image_sizes[0], (height, width))
    at_once = max(1, _PASTED_BYTES // (4 * height * width))
    masks: list[Rle] = []
    for start in range(0, len(boxes), at_once):
        part = slice(start, start + at_once)
        pasted = paste_masks_in_image(found[0]["masks"][part].float(), boxes[part].float(), (height, width))
        masks += encoded((pasted[:, 0] >= MASK_SHARE).cpu().numpy())
    return Boxes(
        corners=boxes.float().cpu().numpy(),
        classes=found[0]["labels"].cpu().numpy() - 1,
        scores=found[0]["scores"].float().cpu().numpy(),
        masks=tuple(masks),
    )


def _features(model: Any, pixels: Tensor) -> dict[str, Tensor]:
    features = model.backbone(pixels)
    return OrderedDict([("0", features)]) if isinstance(features, Tensor) else features
