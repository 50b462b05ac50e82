"""A network of timm with a feature pyramid on top (Lin et al. 2017, arXiv:1612.03144): the backbone of a detector."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)

from ptm.vision import timm_models

CHANNELS = 256  # of every map of the pyramid


class TimmPyramid(nn.Module):
    """Images [n, 3, h, w] → maps [n, 256, h / s, w / s] by name, the finest first, as torchvision's detectors expect.

    Two-stage detectors read all four stages, the others the last three and two more above, as in
    :func:`ptm.vision.detectors.construct`. ``frozen``: batch norms keep the statistics and scales of their weights,
    since a batch of a detector is too small for its own.
    """

    def __init__(self, architecture: str, *, two_stage: bool, frozen: bool) -> None:
        super().__init__()
        from timm.layers import freeze_batch_norm_2d

        body = timm_models.construct_body(architecture)
        channels = body.feature_info.channels()  # type: ignore[operator, union-attr]
        self.body = freeze_batch_norm_2d(body) if frozen else body
        self.first = 0 if two_stage else 1
        above: ExtraFPNBlock = LastLevelMaxPool() if two_stage else LastLevelP6P7(CHANNELS, CHANNELS)
        self.fpn = FeaturePyramidNetwork(channels[self.first :], CHANNELS, extra_blocks=above)
        self.out_channels = CHANNELS  # read by torchvision

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.body(images)[self.first :]
        pyramid: dict[str, Tensor] = self.fpn(OrderedDict((str(i), stage) for i, stage in enumerate(maps)))
        return pyramid
