"""Output layers that did not come with the weights: drawn small, so that a model begins by guessing."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import nn

from ptm.base.seeds import INIT, mix

# As in Fast R-CNN (arXiv:1504.08083, section 2.3) and RetinaNet; BERT has 0.02.
NEW_HEAD_STD = 0.01
# Of what it gives for features of size 1. Above 2,048 of them, 0.01 alone gives scores that differ by 1 and more.
_SCORE_STD = 0.1


@torch.no_grad()
def draw_new_head(
    model: nn.Module,
    head: Sequence[str],
    seed: int,
    *,
    new: Collection[str] | None = None,
    most: float = NEW_HEAD_STD,
    keep_bias: bool = False,
) -> None:
    """Draw the linear layers and convolutions of a head: weights with a standard deviation of at most ``most``, and of
    0.1 / sqrt(inputs) in a layer of many; biases 0.

    Constructors draw some of them 40 times as large (EfficientNet, MobileNet, MNASNet). The first loss is then several
    times that of guessing, and its gradients spoil pre-trained layers before the classifier has learned anything.
    ``head``: prefixes of names; ``new``: the parameters that did not come with weights (None: nothing did), all others
    stay; ``keep_bias``: biases stay as well, for they say how rare an object is. A function of ``seed``; no other
    randomness is touched.
    """
    generator = torch.Generator().manual_seed(mix(seed, INIT, 2))
    for name, module in model.named_modules():
        inside = any(name == prefix or name.startswith(f"{prefix}.") for prefix in head)
        is_new = new is None or f"{name}.weight" in new
        if inside and is_new and isinstance(module, nn.Linear | nn.Conv2d):
            inputs = module.weight[0].numel()
            module.weight.normal_(0.0, min(most, _SCORE_STD / math.sqrt(inputs)), generator=generator)
            if module.bias is not None and not keep_bias:
                module.bias.zero_()
