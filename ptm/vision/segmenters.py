"""Segmentation networks: built for the classes of the data, with the weights of their plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models as zoo

from ptm.base.seeds import INIT, mix
from ptm.errors import ModelError, first_line
from ptm.models.backbones import within_backbone
from ptm.models.heads import draw_new_head
from ptm.models.weights import LoadReport, bare_report, fit_weights, read_weights
from ptm.vision import efficientnet_names, timm_models
from ptm.vision.backbones import commit_of_weights, weights_file
from ptm.vision.segmenter_plan import SMP, SegmenterPlan, smp_package
from ptm.vision.timm_models import is_timm

AUXILIARY_WEIGHT = 0.5  # of the loss of the auxiliary head, as in torchvision's reference training

# Where the networks have their backbone: those of smp (of timm's networks, in a wrapper), those of torchvision.
_BACKBONES = ("encoder.model.", "encoder.", "backbone.")

# What may be new though weights were loaded: the last layers, one name a family.
_LAST_LAYERS = {
    "lraspp": ("classifier.low_classifier", "classifier.high_classifier"),
    "deeplabv3": ("classifier.4", "aux_classifier.4"),
    "fcn": ("classifier.4", "aux_classifier.4"),
    "smp:": ("segmentation_head",),
}


def build_segmenter(
    plan: SegmenterPlan, classes: int, *, seed: int, complete: bool, keep_head: bool
) -> tuple[nn.Module, LoadReport]:
    """The network with ``classes`` outputs a pixel, on the CPU.

    What is random in it is a function of ``seed``. ``complete``: it will be used as it is, so nothing in it may be
    random, and the auxiliary head is left out. Without ``keep_head`` the last layers are new even where they would
    fit. Raises ModelError.
    """
    if plan.bare:
        with torch.device("meta"):
            return _construct(plan, classes, auxiliary=False), bare_report(plan.architecture)
    if complete and (plan.weights is None or plan.weights_of_backbone):
        raise _learned_nothing(plan)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(mix(seed, INIT))
        model = _construct(plan, classes, auxiliary=not complete)
    last = last_layers(plan.architecture)
    if plan.weights is None:
        draw_new_head(model, last, seed)
        return model, LoadReport("random start", 0)
    path, where = weights_file(plan.weights)
    stored = read_weights(path)
    state: Mapping[str, Tensor] = stored
    if is_timm(plan.backbone or ""):
        state = efficientnet_names.to_timm(state, model.state_dict())
    body = within_backbone(model.state_dict(), state, _BACKBONES)
    if body is not None:
        if complete:
            raise _learned_nothing(plan)
        report = fit_weights(
            model, body, head_of(plan.architecture), where, complete=False, beside=stored.beside
        )
    else:
        if not keep_head:
            state = {name: tensor for name, tensor in state.items() if not name.startswith(last)}
        # An auxiliary head only helps training; weights may come without it.
        report = fit_weights(
            model, state, (*last, "aux_classifier"), where, complete=complete, beside=stored.beside
        )
    draw_new_head(model, last, seed, new=report.new)
    return model, replace(report, commit=commit_of_weights(plan.weights))


def _learned_nothing(plan: SegmenterPlan) -> ModelError:
    return ModelError(
        f"{plan.architecture} has not learned to segment anything",
        expected="trained weights",
        cure="use the directory of a finished run, or weights from a file",
    )


def head_of(architecture: str) -> tuple[str, ...]:
    """Name prefixes of all above the backbone: what is new when only a classifier's weights are there."""
    if architecture in SMP:
        return ("decoder", "segmentation_head")
    return ("classifier", "aux_classifier")


def last_layers(architecture: str) -> tuple[str, ...]:
    """Name prefixes of the layers that give a score a class."""
    return next(names for family, names in _LAST_LAYERS.items() if architecture.startswith(family))


def _encoder(backbone: str) -> str:
    """As segmentation-models-pytorch calls it: ``timm:NAME`` → ``tu-NAME``."""
    return f"tu-{backbone.removeprefix(timm_models.PREFIX)}" if is_timm(backbone) else backbone


def _construct(plan: SegmenterPlan, classes: int, *, auxiliary: bool) -> nn.Module:
    if plan.architecture in SMP:
        name = plan.architecture.removeprefix("smp:")
        try:
            model: nn.Module = smp_package().create_model(
                name, _encoder(plan.backbone or ""), encoder_weights=None, classes=classes
            )
        except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            # Not every network of timm gives maps of the sizes that a decoder reads.
            raise ModelError(
                f"{plan.architecture} cannot be built on {plan.backbone}: {first_line(error)}",
                where="model.backbone",
                cure="choose another backbone, such as resnet18",
            ) from None
        return model
    options: dict[str, Any] = {} if plan.architecture.startswith("lraspp") else {"aux_loss": auxiliary}
    network: nn.Module = zoo.get_model(
        plan.architecture, weights=None, weights_backbone=None, num_classes=classes, **options
    )
    return network
