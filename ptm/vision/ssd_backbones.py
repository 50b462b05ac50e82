"""The networks below torchvision's SSDs: where these have the tensors of the classifier they are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision import models as zoo

from ptm.models.backbones import within_backbone

# Of tensors that no classifier has: what SSD puts above it, and scores.
NEW = ("backbone.extra", "backbone.scale_weight", "backbone.features.1", "head")
_CLASSIFIERS = {"ssd300_vgg16": "vgg16", "ssdlite320_mobilenet_v3_large": "mobilenet_v3_large"}
_ABOVE = ("head.", "backbone.extra.", "backbone.scale_weight")
_BODY = "body."
# SSD cuts VGG-16 before its fourth pooling (layer 23), and MobileNet within its block 13 (after its expansion).
_VGG_CUT, _MOBILENET_CUT = 23, 13
_FEATURE = re.compile(r"features\.(\d+)\.(.*)")
_WITHIN_BLOCK = re.compile(r"block\.(\d+)\.(.*)")


def of_classifier(
    architecture: str, state: Mapping[str, Tensor], sizes: Mapping[str, torch.Size]
) -> dict[str, Tensor] | None:
    """``state``, of a classifier, under the names of the detector ``architecture``; None where it is none of its kind.

    ``sizes``: shapes of the detector's tensors by name. SSDLite's MobileNet is narrower at its end than the classifier
    (MobileNetV3, arXiv:1905.02244, section 6.3): what does not fit there stays new.
    """
    if any(name.startswith(_ABOVE) for name in state):
        return None
    with torch.device("meta"):
        network = zoo.get_model(_CLASSIFIERS[architecture], weights=None)
    names = [f"{_BODY}{name}" for name in network.state_dict() if name.startswith("features.")]
    body = within_backbone(names, state, (_BODY,))
    if body is None:
        return None
    place = _vgg_place if architecture == "ssd300_vgg16" else _mobilenet_place
    named = {f"backbone.{place(name.removeprefix(_BODY))}": tensor for name, tensor in body.items()}
    return {name: tensor for name, tensor in named.items() if sizes.get(name) == tensor.shape}


def classifies(state: Mapping[str, Tensor]) -> bool:
    """Whether weights come with the layers that classify: such a network was trained on normalised pixels."""
    return any("classifier." in name for name in state)


def _vgg_place(name: str) -> str:
    match = _FEATURE.fullmatch(name)
    assert match is not None, name
    layer, rest = int(match[1]), match[2]
    if layer < _VGG_CUT:
        return name
    return f"extra.0.{layer - _VGG_CUT}.{rest}"


def _mobilenet_place(name: str) -> str:
    match = _FEATURE.fullmatch(name)
    assert match is not None, name
    block, rest = int(match[1]), match[2]
    if block < _MOBILENET_CUT:
        return f"features.0.{block}.{rest}"
    if block > _MOBILENET_CUT:
        return f"features.1.{block - _MOBILENET_CUT}.{rest}"
    inner = _WITHIN_BLOCK.fullmatch(rest)
    assert inner is not None, name
    layer = int(inner[1])
    if layer == 0:
        return f"features.0.{block}.{inner[2]}"
    return f"features.1.0.{layer}.{inner[2]}"
