"""Where in an image a classifier looks for a label: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, §3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.models.inside import evaluating, hooked
from ptm.vision.drawing import png

_HEAD_LAYERS = 4  # with weights, at most, behind the last map: more are no head but a transformer's blocks
_SIDE = 224  # pixels of a picture
_WARM = (255, 90, 0)
_OUTLINED = 0.5  # of the highest: what lies within the line


def grad_cam(model: nn.Module, forward: Callable[[], Tensor], label: int) -> np.ndarray | None:
    """How much each place of the last map of a network speaks for ``label``: float32 [h, w] from 0 to 1. ``forward``:
    logits [1, classes] of one image, by ``model``. None for networks without such a map (transformers), and where
    nothing speaks for the label. Gradients and mode of the model stay as they are."""
    name = _last_map(model, forward)
    if name is None:
        return None
    maps: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        # A leaf of its own: weights may be frozen, and what follows may write into what it is given.
        maps.append(output.detach().clone().requires_grad_())
        return maps[-1] * 1

    with evaluating(model), torch.enable_grad(), hooked(model.get_submodule(name), keep):
        score = forward()[0, label]
    (gradient,) = torch.autograd.grad(score, maps[-1])
    weights = gradient.mean((2, 3), keepdim=True)
    cam = (weights * maps[-1].detach()).sum(1)[0].relu().float().cpu().numpy()
    return cam / cam.max() if np.isfinite(cam).all() and cam.max() > 0 else None


def heat_picture(pixels: np.ndarray, heat: np.ndarray) -> tuple[bytes, str]:
    """``pixels``: uint8 [s, s, 3]; ``heat``: [h, w] from 0 to 1. A PNG with the heat painted over it and a line around
    what has at least half of the highest, and in words where the highest is."""
    side = max(_SIDE, len(pixels))
    image = np.asarray(
        Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST), dtype=np.float32
    )
    spread = F.interpolate(torch.from_numpy(heat)[None, None], (side, side), mode="bilinear")[0, 0].numpy()
    grey = image.mean(-1, keepdims=True)
    share = 0.6 * spread[..., None]
    painted = grey * (1 - share) + np.array(_WARM, dtype=np.float32) * share
    inside = spread >= _OUTLINED
    for shift, tone in ((2, 255.0), (1, 0.0)):  # a dark and a light line: one of them is seen on any ground
        for axis in (0, 1):
            painted[inside != np.roll(inside, shift, axis)] = tone
    row, column = np.unravel_index(spread.argmax(), spread.shape)
    place = f"warmest {100 * column // side} % from the left and {100 * row // side} % from the top"
    return png(Image.fromarray(painted.clip(0, 255).astype(np.uint8))), place


def _last_map(model: nn.Module, forward: Callable[[], Tensor]) -> str | None:
    """The module that gives the last output of [1, channels, h, w] with more than one place."""
    calls: list[tuple[str, bool, bool]] = []  # name, whether it gives a map, whether it has weights

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            is_map = isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1
            calls.append((name, is_map, any(True for _ in module.parameters(recurse=False))))

        return hook

    handles = [module.register_forward_hook(look(name)) for name, module in model.named_modules() if name]
    try:
        with evaluating(model), torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    last = max((place for place, (_, is_map, _) in enumerate(calls) if is_map), default=None)
    if last is None or sum(weighted for _, _, weighted in calls[last + 1 :]) > _HEAD_LAYERS:
        return None
    return calls[last][0]
