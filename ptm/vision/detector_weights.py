"""Weights of detectors: read with the names of the current code, and cut to the labels of the data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision import models as zoo

from ptm.errors import ModelError, listing
from ptm.models.backbones import within_backbone
from ptm.models.weights import read_weights
from ptm.vision import ssd_backbones
from ptm.vision.backbones import weights_file
from ptm.vision.detector_plan import BACKGROUND, FIXED, IMPROVED, PYRAMIDS, DetectorPlan, own_preprocessing
from ptm.vision.names import IMAGENET_MEAN, IMAGENET_STD
from ptm.vision.timm_models import is_timm

# Tensors with a row a class, or (all but bbox_pred) a row an anchor and class.
_CLASS_ROWS = re.compile(
    r"^(roi_heads\.(?:box_predictor\.(?:cls_score|bbox_pred)|mask_predictor\.mask_fcn_logits)"
    r"|head\.classification_head\.(?:cls_logits|module_list\.\d+(?:\.1)?)|head\.cls_preds\.\d)\.(?:weight|bias)$"
)
# Names in published files that the current code spells differently; the middle one in RetinaNet only.
_PYRAMID_NAMES = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$")
_RETINANET_NAMES = re.compile(r"^(head\.(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)$")
_MASK_NAMES = re.compile(r"^(roi_heads\.mask_head)\.mask_fcn([1-9])\.(weight|bias)$")
_PROPOSAL_NAMES = re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$")


# Above the backbone, and its own place: a file without such names can be a backbone's alone.
_DETECTOR_NAMES = ("backbone.body.", "backbone.fpn.", "backbone.features.", "rpn.", "roi_heads.",
                   "head.classification_head.", "head.regression_head.")  # fmt: skip


def read_detector_weights(
    plan: DetectorPlan, sizes: Callable[[], Mapping[str, torch.Size]]
) -> tuple[Mapping[str, Tensor], str, DetectorPlan]:
    """Tensors by the names of the current code, where they come from, and the plan with what they turned out to be.

    A file can hold the network below alone: torchvision's or timm's, or that of an earlier classification run.
    ``sizes``: the shapes of the detector's own tensors by name.
    """
    if plan.weights is None:
        return {}, "", plan
    path, where = weights_file(plan.weights)
    state = read_weights(path)
    if plan.backbone_only and is_timm(plan.backbone or ""):
        return state, where, plan  # named once the network is there
    residual = plan.backbone is not None or plan.architecture in IMPROVED
    if residual and not any(name.startswith(_DETECTOR_NAMES) for name in state):
        body = within_backbone(_residual_names(plan.backbone or "resnet50"), state, ("backbone.body.",))
        if body is not None:
            # As with published weights: its norms stay as they were trained, for a batch holds few images.
            eps = 1e-5 if plan.frozen_eps is None and plan.backbone is not None else plan.frozen_eps
            return body, where, replace(plan, backbone_only=True, frozen_eps=eps)
    if plan.architecture in FIXED and isinstance(plan.weights, Path):
        below = ssd_backbones.of_classifier(plan.architecture, state, sizes())
        if below is not None:
            return below, where, replace(_normalised(plan, state), backbone_only=True)
    named = {current_name(plan.architecture, name): tensor for name, tensor in state.items()}
    if plan.weights_are_foreign:
        counted = any(n.startswith("backbone.body.") and n.endswith("batches_tracked") for n in named)
        plan = replace(plan, frozen_eps=None if counted else 0.0)
    return named, where, plan


def _normalised(plan: DetectorPlan, state: Mapping[str, Tensor]) -> DetectorPlan:
    """A classifier was trained on pixels normalised as ImageNet's are, where nobody says otherwise; weights without
    the layers that classify are those that SSD's own normalisation is made for."""
    usual = own_preprocessing(plan.architecture)
    chosen = (plan.preprocessing.mean, plan.preprocessing.std) != (usual.mean, usual.std)
    if chosen or not ssd_backbones.classifies(state):
        return plan
    return replace(plan, preprocessing=replace(plan.preprocessing, mean=IMAGENET_MEAN, std=IMAGENET_STD))


def _residual_names(backbone: str) -> list[str]:
    """Of the tensors of torchvision's residual network, where a detector has them."""
    with torch.device("meta"):
        network = zoo.get_model(backbone, weights=None)
    return [f"backbone.body.{name}" for name in network.state_dict() if not name.startswith("fc.")]


def select_labels(
    state: Mapping[str, Tensor],
    outputs: tuple[str, ...],
    labels: tuple[str, ...],
    where: str,
    *,
    complete: bool,
) -> Mapping[str, Tensor]:
    """The class scores of these labels, in their order; without them, where one of the labels is not known."""
    named = [name for name in outputs if name != BACKGROUND]
    unknown = [name for name in labels if name not in named]
    if unknown and complete:
        raise ModelError(
            f"the model does not know the label {listing(unknown)}",
            where=where,
            expected=f"labels out of {listing(named)}",
            cure="use a model trained on these labels, or correct data.labels",
        )
    if unknown:
        return {name: tensor for name, tensor in state.items() if not _CLASS_ROWS.match(name)}
    background = [BACKGROUND] if BACKGROUND in outputs else []
    rows = torch.tensor([outputs.index(name) for name in (*background, *labels)])
    return {
        name: _rows(name, tensor, rows, len(outputs)) if _CLASS_ROWS.match(name) else tensor
        for name, tensor in state.items()
    }


def scoring_layers(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the tensors ``names`` that belong to the layer that scores classes, without their last part."""
    return tuple(match[1] for name in names if (match := _CLASS_ROWS.match(name)))


def current_name(architecture: str, name: str) -> str:
    """As torchvision spells it now; its own files are older."""
    name = _PYRAMID_NAMES.sub(r"\1.0.\2", name)
    name = _PROPOSAL_NAMES.sub(r"\1.0.0.\2", name)
    name = _MASK_NAMES.sub(lambda m: f"{m[1]}.{int(m[2]) - 1}.0.{m[3]}", name)
    if architecture == PYRAMIDS["retinanet"]:
        name = _RETINANET_NAMES.sub(lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}", name)
    return name


def _rows(name: str, tensor: Tensor, rows: Tensor, outputs: int) -> Tensor:
    """[anchors·classes, …] or, of bbox_pred, [classes·4, …], for some of the classes."""
    rest = tensor.shape[1:]
    if tensor.shape[0] % outputs:
        return tensor  # does not fit; fit_weights says so
    if ".bbox_pred." in name:
        return tensor.reshape(outputs, -1, *rest)[rows].reshape(-1, *rest)
    return tensor.reshape(-1, outputs, *rest)[:, rows].reshape(-1, *rest)
