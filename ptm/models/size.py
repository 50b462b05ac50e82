"""How large a model is: its parameters and the bytes they take."""

from __future__ import annotations

from typing import Any

from torch import nn


def describe_size(name: str, model: nn.Module) -> dict[str, Any]:
    """``model`` and ``teacher`` of results.json: name, parameters and bytes. Tensors that share memory count once."""
    parameters = list(model.parameters())
    tensors = {(t.data_ptr(), t.shape): t for t in model.state_dict().values() if hasattr(t, "data_ptr")}
    return {
        "name": name,
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "bytes": sum(t.numel() * t.element_size() for t in tensors.values()),
    }
