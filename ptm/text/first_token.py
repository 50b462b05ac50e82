"""The last layer of a classifier for the first token alone: its head reads no other.

BERT's pooler, and the heads of RoBERTa and ELECTRA, read what the last layer makes of the first token. So that layer's
queries, and all that follows attention, are computed for this token: five sixths of the layer's products are left out,
of six layers an eighth of all. What is left are the same sums; dropout has fewer numbers to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_MODELS = (
    "Bert",
    "Roberta",
    "XLMRoberta",
    "Camembert",
    "Electra",
)  # …ForSequenceClassification of transformers


@contextmanager
def first_token_alone(model: nn.Module, *, rest: bool = False) -> Iterator[None]:
    """While open, the last layer of a text classifier whose head reads the first token gives that one, [n, 1, width].
    Of other models nothing changes. ``rest``: all tokens, the first with the bits that it has alone."""
    layer: Any = _last_layer(model)
    if layer is None:
        yield
        return
    forward = partial(_all_of_layer if rest else _first_of_layer, layer)
    if not (layer.gradient_checkpointing and layer.training):
        with _instead(layer, "forward", forward):
            yield
        return
    checkpoint = layer._gradient_checkpointing_func

    def checkpointed(function: Callable[..., Tensor], *args: Any) -> Any:
        def call(*args: Any) -> Tensor:  # in the backward pass again, when all this is over
            with _instead(layer, "forward", forward):
                return function(*args)

        return checkpoint(call, *args)

    with _instead(layer, "_gradient_checkpointing_func", checkpointed):
        yield


@contextmanager
def _instead(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """``module`` with another attribute of its own."""
    before = vars(module).get(name)
    setattr(module, name, value)
    try:
        yield
    finally:
        if before is None:
            delattr(module, name)
        else:
            setattr(module, name, before)


def _last_layer(model: nn.Module) -> nn.Module | None:
    name = type(model).__name__.removeprefix("FSDP")
    config: Any = getattr(model, "config", None)
    known = (
        name.endswith("ForSequenceClassification")
        and name.removesuffix("ForSequenceClassification") in _MODELS
    )
    if not known or config.is_decoder or config._attn_implementation != "sdpa":
        return None
    encoder: Any = model.base_model
    layer: nn.Module = encoder.encoder.layer[-1]
    return None if layer.add_cross_attention else layer


def _first_of_layer(
    layer: Any, hidden: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """[n, tokens, width] to [n, 1, width]. ``attention_mask``: [n, 1, tokens or 1, tokens]."""
    own, first = layer.attention.self, hidden[:, :1]

    def heads(x: Tensor) -> Tensor:
        return x.view(len(x), -1, own.num_attention_heads, own.attention_head_size).transpose(1, 2)

    mixed = nn.functional.scaled_dot_product_attention(
        heads(own.query(first)),
        heads(own.key(hidden)),
        heads(own.value(hidden)),
        attn_mask=None if attention_mask is None else attention_mask[..., :1, :],
        dropout_p=own.dropout.p if own.training else 0.0,
        scale=own.scaling,
    )
    attended = layer.attention.output(mixed.transpose(1, 2).reshape(first.shape[0], 1, -1), first)
    made: Tensor = layer.feed_forward_chunk(attended)
    return made


def _all_of_layer(layer: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    first = _first_of_layer(layer, hidden, *args, **kwargs)
    return torch.cat([first, type(layer).forward(layer, hidden, *args, **kwargs)[:, 1:]], 1)
