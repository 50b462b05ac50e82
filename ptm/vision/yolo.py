"""YOLOX (arXiv:2107.08430) through the package libreyolo, spoken to as torchvision's detectors are.

Imported when a run needs it: the package imports everything it has, which takes seconds. Network and loss are its own;
here are the way in (letterbox) and the way out (boxes in the pixels of each image).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms, clip_boxes_to_image

from ptm.base.extras import install
from ptm.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    from libreyolo.models.yolox import nn as yolox  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from libreyolo.postprocess.yolox import decode_outputs  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError as error:
    raise ModelError(
        f"libreyolo: models need the package libreyolo, which cannot be imported: {error}",
        where="model.name",
        cure=f"{install('yolo')} (its OpenCV needs libGL; opencv-python-headless does not), or use a detector of "
        "torchvision: fcos",
    ) from None

_GREY = 114 / 255  # of the padding
# As the authors evaluate: least score, NMS threshold, most boxes.
_SCORE, _OVERLAP, _DETECTIONS = 0.01, 0.65, 300


class Yolox(yolox.LibreYOLOXModel):  # type: ignore[misc, unused-ignore]
    """Tensors have the names of the official weights. ``positives``: matched cells of the last training pass."""

    def __init__(
        self, size: str, labels: int, image_size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(size, labels)
        self.init_weights()
        self.image_size = image_size
        self.mean, self.std = tuple(mean), tuple(std)
        self.positives: list[int] = []

    def forward(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None) -> Any:
        """Images fp32 [3, h, w] in [0, 1]. In training the named means of the loss, over matched cells, of targets with
        ``boxes`` [k, 4] and ``labels`` [k] from 1; else a dictionary of ``boxes``, ``labels`` and ``scores`` an image.
        """
        ratios = [min(self.image_size / image.shape[1], self.image_size / image.shape[2]) for image in images]
        pixels = torch.stack([self._letterbox(image, r) for image, r in zip(images, ratios, strict=True)])
        if self.training:
            assert targets is not None
            with _counting_here(self.positives):
                losses = super().forward(pixels, _table(targets, ratios))
            # The package's fourth loss, on log sizes, belongs to the authors' last 15 epochs; it stays off.
            return {name: losses[name] for name in ("iou_loss", "obj_loss", "cls_loss")}
        decoded = decode_outputs([output.float().contiguous() for output in super().forward(pixels)])
        rows = zip(decoded, images, ratios, strict=True)
        return [_found(cells, image.shape[1:], ratio) for cells, image, ratio in rows]

    def _letterbox(self, image: Tensor, ratio: float) -> Tensor:
        """BGR in a square, the image in its upper left corner, grey beside it."""
        height, width = (max(1, int(side * ratio)) for side in image.shape[1:])
        small = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
        square = F.pad(small, (0, self.image_size - width, 0, self.image_size - height), value=_GREY)
        mean, std = (square.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return ((square - mean) / std).flip(0)


@contextmanager
def _counting_here(positives: list[int]) -> Iterator[None]:
    """The package divides by the number of matched cells, and averages that over processes. The engine divides by what
    all micro-batches of all processes have together; so here it is taken down, and divided by as it is."""
    shared = yolox.all_reduce_avg_scalar
    positives.clear()

    def own(count: float, **_: Any) -> float:
        positives.append(int(count))
        return max(count, 1.0)

    yolox.all_reduce_avg_scalar = own
    try:
        yield
    finally:
        yolox.all_reduce_avg_scalar = shared


def _table(targets: Sequence[Mapping[str, Tensor]], ratios: Sequence[float]) -> Tensor:
    """fp32 [n, most boxes, 5]: class from 0, centre x and y, width, height in pixels of the square; then zeros."""
    most = max(1, *(len(target["labels"]) for target in targets))
    table = targets[0]["boxes"].new_zeros(len(targets), most, 5)
    for row, target, ratio in zip(table, targets, ratios, strict=True):
        boxes, k = target["boxes"] * ratio, len(target["labels"])
        row[:k, 0] = target["labels"] - 1
        row[:k, 1:3] = (boxes[:, :2] + boxes[:, 2:]) / 2
        row[:k, 3:] = boxes[:, 2:] - boxes[:, :2]
    return table


def _found(cells: Tensor, size: Sequence[int], ratio: float) -> dict[str, Tensor]:
    """``cells``: [cells, 5 + classes], centre, width and height in pixels of the square, objectness, class scores."""
    scores, labels = cells[:, 5:].max(1)
    scores = scores * cells[:, 4]
    keep = scores > _SCORE
    scores, labels, cells = scores[keep], labels[keep], cells[keep]
    boxes = torch.cat([cells[:, :2] - cells[:, 2:4] / 2, cells[:, :2] + cells[:, 2:4] / 2], dim=1) / ratio
    boxes = clip_boxes_to_image(boxes, (int(size[0]), int(size[1])))
    order = batched_nms(boxes, scores, labels, _OVERLAP)[:_DETECTIONS]
    return {"boxes": boxes[order], "labels": labels[order] + 1, "scores": scores[order]}
