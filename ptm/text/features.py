"""What an encoder computes on the way to its logits, by name: for distillations that compare the inside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# The linear maps to queries, keys and values, as BERT and its kin and DistilBERT name them.
_PARTS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "q_lin": "query",
    "k_lin": "key",
    "v_lin": "value",
}
_PATTERN = re.compile(rf"\.layer\.(\d+)\.attention\.(?:self\.)?({'|'.join(_PARTS)})$")


def feature_names(model: nn.Module) -> tuple[str, ...]:
    """``pooled``, ``hidden.0`` (embeddings) … ``hidden.L``; ``query.1`` … ``value.L`` where they can be tensors."""
    layers = int(getattr(model.config, "num_hidden_layers", 0) or 0)
    if not layers:
        return ()
    pooler = ("pooler",) if reads_pooler(model) else ()
    return ("pooled", *pooler, *(f"hidden.{k}" for k in range(layers + 1)), *_projections(model))


def reads_pooler(model: nn.Module) -> bool:
    """Whether the head is dropout and a linear layer on what the base model's pooler gives, as in BERT."""
    return type(model).__name__ == "BertForSequenceClassification"


@contextmanager
def captured(model: nn.Module, requested: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While open, a forward pass leaves the queries, keys and values of ``requested`` in the dictionary:
    fp [n, tokens, heads, width of a head]."""
    tensors: dict[str, Tensor] = {}
    heads = int(getattr(model.config, "num_attention_heads", 1))

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            tensors[name] = output.unflatten(-1, (heads, -1))

        return hook

    modules = _projections(model)
    with ExitStack() as stack:
        for name in requested:
            if name in modules:
                handle = model.get_submodule(modules[name]).register_forward_hook(keep(name))
                stack.callback(handle.remove)
        if "pooler" in requested:
            pooler = model.get_submodule("bert.pooler")
            handle = pooler.register_forward_hook(lambda module, inputs, out: tensors.update(pooler=out))
            stack.callback(handle.remove)
        yield tensors


def run(
    model: nn.Module, wrapped: nn.Module, inputs: Mapping[str, Tensor], requested: Sequence[str]
) -> tuple[Any, dict[str, Tensor]]:
    """What ``wrapped`` (the model itself, or one around it) gives for a batch, and the features of ``requested``."""
    if not requested:
        return wrapped(**inputs), {}
    with captured(model, requested) as inside:
        result = wrapped(**inputs, output_hidden_states=needs_hidden(requested))
    if result.hidden_states is not None:
        inside |= hidden(result.hidden_states, requested, inputs.get("attention_mask"))
    return result, inside


def needs_hidden(requested: Sequence[str]) -> bool:
    """Whether transformers must be asked for hidden states."""
    return any(name == "pooled" or name.startswith("hidden.") for name in requested)


def hidden(states: Sequence[Tensor], requested: Sequence[str], mask: Tensor | None) -> dict[str, Tensor]:
    """The hidden states of ``requested``, fp32 [n, tokens, width]; ``pooled``: the mean of the last over tokens."""
    tensors = {f"hidden.{k}": states[k].float() for k in range(len(states)) if f"hidden.{k}" in requested}
    if "pooled" in requested:
        last = states[-1].float()
        real = torch.ones(last.shape[:2], device=last.device) if mask is None else mask.float()
        tensors["pooled"] = (last * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    return tensors


def _projections(model: nn.Module) -> dict[str, str]:
    """``query.1`` → name of the module, layers counted from 1."""
    matches = ((name, _PATTERN.search(name)) for name, _ in model.named_modules())
    return {f"{_PARTS[m[2]]}.{int(m[1]) + 1}": name for name, m in matches if m}
