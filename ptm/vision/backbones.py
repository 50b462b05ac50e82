"""The network below a detector or a segmentation network, where it is one of timm: ``model.backbone: timm:NAME``, or a
package of weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from torchvision.models import WeightsEnum

from ptm.config.model_ref import ModelRef
from ptm.errors import Problem
from ptm.models.hub import commit_of_file
from ptm.models.packages import is_package
from ptm.vision import packages, timm_models
from ptm.vision.downloads import fetch, missing_file
from ptm.vision.names import named_weights
from ptm.vision.packages import PackageWeights
from ptm.vision.timm_models import TimmWeights, is_timm

BackboneWeights: TypeAlias = Path | WeightsEnum | TimmWeights | PackageWeights


def is_timm_backbone(backbone: str | None) -> bool:
    """Whether a value of ``model.backbone`` means a network of timm."""
    return backbone is not None and (is_timm(backbone) or is_package(backbone))


def plan_backbone(ref: ModelRef) -> tuple[str, BackboneWeights | None]:
    """(``timm:NAME``, weights of that network or None) of ``model.backbone`` and ``model.weights``.

    Raises ModelError for what does not exist.
    """
    assert ref.backbone is not None
    if is_package(ref.backbone):
        packaged = packages.known_package(ref.backbone, ref.key("backbone"))
        own = ref.weights == "default"
        return packaged.architecture, packaged if own else named_weights(
            packaged.architecture, ref.weights, ref.role
        )
    timm_models.require_known(ref.backbone, ref.key("backbone"))
    return ref.backbone, named_weights(ref.backbone, ref.weights, ref.role)


def missing_backbone(weights: BackboneWeights | None, ref: ModelRef) -> list[Problem]:
    """The weights, if they are neither here nor can be fetched."""
    if isinstance(weights, PackageWeights):
        return packages.missing_weights(weights.name, ref)
    if isinstance(weights, TimmWeights):
        return timm_models.missing_weights(weights, ref)
    return missing_file(weights, ref) if isinstance(weights, WeightsEnum) else []


def weights_file(weights: BackboneWeights) -> tuple[Path, str]:
    """The file, downloaded if need be, and how it is called in messages."""
    if isinstance(weights, WeightsEnum):
        return fetch(weights.url), str(weights)
    if isinstance(weights, TimmWeights):
        return timm_models.fetch_weights(weights), weights.repository
    if isinstance(weights, PackageWeights):
        return packages.weights_file(weights), weights.name
    return weights, str(weights)


def commit_of_weights(weights: BackboneWeights) -> str | None:
    """The commit that weights on a hub were read at; None for weights from elsewhere."""
    return commit_of_file(weights_file(weights)[0]) if isinstance(weights, TimmWeights) else None
