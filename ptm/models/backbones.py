"""Weights of a backbone alone (a classifier of ImageNet, an encoder of timm, an earlier run) for a larger network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

# How files call what a larger network calls its backbone: as it is, torchvision's classifiers, and wrapper classes.
_OUTSIDE = (
    "",
    "features.",
    "backbone.",
    "encoder.",
    # Of MoCo and BYOL: the network that learns, beside the one that follows it.
    "encoder_q.",
    "base_encoder.",
    "online_encoder.",
    "body.",
    "backbone.body.",
    "encoder.model.",
    "trunk.",
    "net.",
)
_WHOLE = 0.3  # of the tensors above a backbone that weights of the whole have at least
_LEAST = 0.5  # of a backbone's tensors that a file must have to be taken for it


def within_backbone(
    names: Iterable[str], state: Mapping[str, Tensor], places: Sequence[str]
) -> dict[str, Tensor] | None:
    """``state`` under the names that the larger network gives them; None where it is no backbone of it.

    ``names``: all tensors of the larger network; ``places``: prefixes of its backbone there. What the file has besides
    (a classifier) is left out. timm writes ``stages.0`` in a classifier and ``stages_0`` in an encoder: both are read.
    """
    best: dict[str, Tensor] = {}
    names = tuple(names)
    above = [name for name in names if not name.startswith(tuple(places))] or names
    if sum(name in state for name in above) >= _WHOLE * len(above):
        return None
    for place in places:
        body = {_plain(name.removeprefix(place)): name for name in names if name.startswith(place)}
        for outside in _OUTSIDE:
            tensors = {
                body[key]: tensor
                for name, tensor in state.items()
                if name.startswith(outside) and (key := _plain(name.removeprefix(outside))) in body
            }
            if len(tensors) >= _LEAST * len(body) and len(tensors) > len(best):
                best = tensors
    return best or None


def _plain(name: str) -> str:
    return name.replace(".", "_")
