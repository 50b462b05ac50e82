"""What a convolutional network computes on the way to its logits, by name, for distillations that compare it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

# The stages of residual networks: layer1 … (ResNet and its kin), trunk_output.block1 … (RegNet).
_STAGE = re.compile(r"^(?:trunk_output\.block|layer)(\d+)$")


def feature_names(model: nn.Module) -> tuple[str, ...]:
    """``pooled`` (what the last layer reads), and ``hidden.1`` … the output of each stage where there are stages."""
    pooled = ("pooled",) if _last_linear(model) is not None else ()
    return (*pooled, *_stages(model))


@contextmanager
def captured(model: nn.Module, requested: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While open, a forward pass leaves what is ``requested`` in the dictionary: fp32 [n, channels, h, w] for stages,
    [n, width] for ``pooled``."""
    tensors: dict[str, Tensor] = {}

    def keep_output(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            tensors[name] = output.float()

        return hook

    def keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        tensors["pooled"] = inputs[0].float()

    with ExitStack() as stack:
        stages = _stages(model) if requested else {}
        for name in requested:
            if name in stages:
                handle = model.get_submodule(stages[name]).register_forward_hook(keep_output(name))
                stack.callback(handle.remove)
        last = _last_linear(model) if "pooled" in requested else None
        if last is not None:
            stack.callback(last.register_forward_pre_hook(keep_input).remove)
        yield tensors


def head_reads_pooled(model: nn.Module, head: str) -> bool:
    """Whether ``head`` is the last linear layer, and reads the same of an image each time: nothing before it is dropped
    at random, by a module or, as in timm's networks, by a rate that the network keeps."""
    dropped = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
    dropped |= any(getattr(m, "drop_rate", 0) for m in model.modules())
    last = _last_linear(model)
    return last is not None and last is model.get_submodule(head) and not dropped


def _stages(model: nn.Module) -> dict[str, str]:
    """``hidden.1`` → name of the module."""
    matches = ((name, _STAGE.match(name)) for name, _ in model.named_modules())
    return {f"hidden.{m[1]}": name for name, m in matches if m}


def _last_linear(model: nn.Module) -> nn.Linear | None:
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return layers[-1] if layers and isinstance(layers[-1], nn.Linear) else None
