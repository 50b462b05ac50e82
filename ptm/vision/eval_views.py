"""Several views of an image when it is evaluated or predicted, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ptm.config.label_types import CLASSES, NUMBER
from ptm.metrics.label_types import supervised_loss
from ptm.pipeline import Batch, Output


def pixel_views(pixels: Tensor, kind: str) -> list[Tensor]:
    """``pixels``: uint8 [n, 3, h, w]. ``flip``: also mirrored; ``five_crops``: corners and middle of the image at 8/7
    of its size (Krizhevsky et al. 2012, NIPS, §4.1: 224 of 256 pixels)."""
    if kind == "flip":
        return [pixels, pixels.flip(-1)]
    if kind != "five_crops":
        return [pixels]
    h, w = pixels.shape[-2:]
    size = (round(h * 8 / 7), round(w * 8 / 7))
    larger = F.interpolate(pixels.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255)
    down, right = size[0] - h, size[1] - w
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    return [larger[..., y : y + h, x : x + w].to(torch.uint8) for y, x in corners]


def mean_output(outputs: Sequence[Output], batch: Batch, label_type: str) -> Output:
    """The mean of the probabilities of several outputs as logits, fp32 [n, classes], or of their numbers, fp32 [n, 1],
    and its loss."""
    logits = torch.stack([output.logits for output in outputs if output.logits is not None]).double()
    if label_type == CLASSES.name:
        mean = torch.logit(logits.sigmoid().mean(0), eps=1e-15)
    elif label_type == NUMBER.name:
        mean = logits.mean(0)
    else:
        mean = torch.logsumexp(logits.log_softmax(-1), 0) - torch.log(torch.tensor(float(len(outputs))))
    mean = mean.float()
    loss = mean.new_zeros(()) if batch.targets is None else supervised_loss(mean, batch.targets, label_type)
    return Output(loss_sum=loss, count=len(batch), logits=mean)
