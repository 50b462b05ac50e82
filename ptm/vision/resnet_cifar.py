"""The residual networks for 32x32 images of He et al. 2015 (arXiv:1512.03385), section 4.2.

6n+2 layers: a 3x3 convolution, three stages of n blocks with ``width``, 2·width and 4·width channels, global
average pooling and a linear layer. Shortcuts have no parameters (option A): where the shape changes they take
every second pixel and fill the new channels with zeros. Names are those of the checkpoints that are commonly
shared for these networks (``conv1``, ``bn1``, ``layer1.0.conv1`` …, ``linear``).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NAMES: dict[str, int] = {f"resnet{layers}": layers for layers in (8, 14, 20, 32, 44, 56, 110)}
WIDTH = 16  # channels of the first stage in the paper
HEAD = ("linear",)


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, and a shortcut around them."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - channels_in

    def shortcut(self, x: Tensor) -> Tensor:  # [n, c, h, w] → [n, c', h/stride, w/stride]
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNetCifar(nn.Module):
    """Logits [n, classes] of images [n, 3, h, w]; made for 32x32, takes any size from 8 up."""

    def __init__(self, layers: int, classes: int, width: int = WIDTH) -> None:
        super().__init__()
        blocks, rest = divmod(layers - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"{layers} layers are not 6n+2")
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.linear = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)  # He et al. 2015, arXiv:1502.01852
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # [n, 4·width, h/4, w/4]
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(channels_in, channels, stride)
    return nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(blocks - 1)))
