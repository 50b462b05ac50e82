"""The parameters of a model as layers, from the input to the output: for rates by layer, and for unfreezing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from torch import nn

from ptm.errors import ConfigError

# How the parts of a network that follow each other are called: `layer1` … `layer4` side by side in ResNets, or the
# members of a sequence of such a name.
_NUMBERED = re.compile(r"(layer|stage|block)\d+")
_SEQUENCES = ("features", "layers", "blocks", "stages", "trunk_output")


def layers_of(
    model: nn.Module, head: Sequence[str], embeddings: Sequence[str], *, where: str = ""
) -> list[tuple[str, ...]]:
    """Names of all parameters, a tuple a layer: embeddings or stem, then the blocks, then the head.

    ``head`` and ``embeddings`` are prefixes of names. What stands between two blocks (a normalisation, a pooler at
    the end) belongs to the one before it. Raises ConfigError, at the key ``where``, for a model whose blocks are not
    recognised.
    """
    blocks = tuple(_blocks(model, "", tuple(head)))
    if not blocks:
        raise ConfigError(
            f"no layers are recognised in a {type(model).__name__}",
            where=where,
            expected="a list of blocks, as in encoders and vision transformers, or stages, as in residual networks",
            cure="remove it; model.freeze takes patterns of names",
        )
    layers: list[list[str]] = [[] for _ in range(len(blocks) + 2)]
    current = 0
    for name, _ in model.named_parameters():
        if head and name.startswith(tuple(head)):
            layers[-1].append(name)
        elif embeddings and name.startswith(tuple(embeddings)):
            layers[0].append(name)
        else:
            current = next((k for k, block in enumerate(blocks, 1) if name.startswith(block)), current)
            layers[current].append(name)
    return [tuple(names) for names in layers if names]


def whole_modules(model: nn.Module, names: Collection[str]) -> list[str]:
    """The parameters ``names`` in few words: the names of the largest modules that hold no others."""
    return list(_whole_modules(model, "", names))


def _whole_modules(module: nn.Module, prefix: str, names: Collection[str]) -> Iterator[str]:
    own = [f"{prefix}{name}" for name, _ in module.named_parameters()]
    if not any(name in names for name in own):
        return
    if prefix and all(name in names for name in own):
        yield prefix.rstrip(".")
        return
    yield from (
        f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False) if f"{prefix}{name}" in names
    )
    for name, child in module.named_children():
        yield from _whole_modules(child, f"{prefix}{name}.", names)


def _blocks(module: nn.Module, prefix: str, head: tuple[str, ...]) -> Iterator[str]:
    """Prefixes of the names of the blocks below ``module``, in the order of their definition."""
    children = [
        (name, child)
        for name, child in module.named_children()
        if not (head and f"{prefix}{name}.".startswith(head)) and any(True for _ in child.parameters())
    ]
    # torchvision cuts backbones of detectors and segmenters out of their networks as dictionaries: `0`, `1`, …
    cut_out = isinstance(module, nn.ModuleDict)
    numbered = [
        name
        for name, child in children
        if _NUMBERED.fullmatch(name) or (cut_out and name.isdigit() and _matrices(child))
    ]
    last = prefix.rstrip(".").rpartition(".")[2]
    if len(numbered) > 1:
        yield from (f"{prefix}{name}." for name in numbered)
    elif (
        isinstance(module, nn.ModuleList) and children and all(_matrices(child) > 1 for _, child in children)
    ):
        yield from (f"{prefix}{name}." for name, _ in children)
    elif isinstance(module, nn.Sequential) and last in _SEQUENCES:
        yield from (f"{prefix}{name}." for name, child in children if _matrices(child))
    else:
        for name, child in children:
            yield from _blocks(child, f"{prefix}{name}.", head)


def _matrices(module: nn.Module) -> int:
    """How many weights a module has besides biases and the parameters of normalisations."""
    return sum(parameter.ndim >= 2 for parameter in module.parameters())
