"""Image classifiers as networks: built for the number of classes, with the weights of their plan.

Heads are not replaced by surgery: every constructor takes the number of classes, so the model is built as it shall be
and the weights are fitted into it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models as zoo

from ptm.base.seeds import INIT, mix
from ptm.errors import ModelError, first_line
from ptm.models import adapters
from ptm.models.backbones import within_backbone
from ptm.models.heads import draw_new_head
from ptm.models.weights import LoadReport, bare_report, fit_weights, read_weights
from ptm.vision import resnet_cifar, timm_models
from ptm.vision.backbones import commit_of_weights, weights_file
from ptm.vision.classifier_plan import AUXILIARY, ClassifierPlan, usual_preprocessing
from ptm.vision.timm_models import is_timm

# Names in published torchvision files that the current code spells differently.
_RENAMED = (
    (re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),  # densenet
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),  # vit
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


def build_classifier(
    plan: ClassifierPlan, classes: int, *, image_size: int, seed: int, complete: bool, keep_head: bool = True
) -> tuple[nn.Module, LoadReport]:
    """The model with ``classes`` outputs for square images, on the CPU.

    What is random in it is a function of ``seed``; no other randomness is touched. ``complete``: it will be
    used as it is, so nothing in it may be random, and heads that only help training are left out. Without
    ``keep_head`` the output layer is new even where it would fit: as many classes, but others.
    """
    if plan.bare:
        with torch.device("meta"):
            return _construct(plan, classes, image_size, auxiliary=False), bare_report(plan.architecture)
    if complete and plan.weights is None:
        raise ModelError(
            f"{plan.architecture} with weights: none has not learned anything",
            expected="trained weights",
            cure="use the directory of a finished run, or weights from a file",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(mix(seed, INIT))
        model = _construct(plan, classes, image_size, auxiliary=not complete)
    _check_size(model, plan.architecture, image_size)
    if plan.weights is None:
        draw_new_head(model, head_of(model, plan.architecture), seed)
        return model, LoadReport("random start", 0)
    path, where = weights_file(plan.weights)
    stored = read_weights(path)
    if is_timm(plan.architecture):
        named = timm_models.current_names(model, stored)
    else:
        named = _current_names(plan.architecture, stored, image_size)
    named = within_backbone(model.state_dict(), named, ("",)) or named  # under the name of a wrapper
    state = {**named, **adapters.head_of_adapter(path.parent)}
    if not keep_head:
        state = {
            name: t for name, t in state.items() if not name.startswith(head_of(model, plan.architecture))
        }
    # Auxiliary heads may be missing whole: torchvision's GoogLeNet drops them after training.
    optional = AUXILIARY.get(plan.architecture, ((), 0.0))[0]
    last = timm_models.heads(model) if is_timm(plan.architecture) else (last_layer(model),)
    report = fit_weights(model, state, (*last, *optional), where, complete=complete, beside=stored.beside)
    draw_new_head(model, head_of(model, plan.architecture), seed, new=report.new)
    adapters.merge_saved(model, path.parent)
    return model, replace(report, commit=commit_of_weights(plan.weights))


def head_of(model: nn.Module, architecture: str) -> tuple[str, ...]:
    """Name prefixes of the layers that give class scores: the last one and, in training, auxiliary ones."""
    if is_timm(architecture):
        return timm_models.heads(model)
    auxiliary = AUXILIARY.get(architecture, ((), 0.0))[0]
    inner = [(name, getattr(model, name)) for name in auxiliary if getattr(model, name, None) is not None]
    return (last_layer(model), *(f"{name}.{last_layer(module)}" for name, module in inner))


def last_layer(model: nn.Module) -> str:
    """The name of the linear layer (in SqueezeNet: 1x1 convolution) that comes last: the classifier."""
    names = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return str(names[-1])


def _construct(plan: ClassifierPlan, classes: int, image_size: int, *, auxiliary: bool) -> nn.Module:
    name = plan.architecture
    if name in resnet_cifar.NAMES:
        return resnet_cifar.ResNetCifar(resnet_cifar.NAMES[name], classes, plan.width or resnet_cifar.WIDTH)
    if is_timm(name):
        try:
            return timm_models.construct(name, classes, image_size)
        except ValueError as error:
            raise _wrong_size(name, image_size, error) from None
    options: dict[str, Any] = {"num_classes": classes}
    if name in AUXILIARY:
        # Their own initialisation draws a truncated normal for every layer; useless where weights follow.
        options |= {"aux_logits": auxiliary, "transform_input": False, "init_weights": plan.weights is None}
    if name.startswith("vit_"):
        options["image_size"] = image_size
    if name.startswith("maxvit_"):
        options["input_size"] = (image_size, image_size)
    try:
        network: nn.Module = zoo.get_model(name, weights=None, **options)
    except (ValueError, AssertionError) as error:
        raise _wrong_size(name, image_size, error) from None
    return network


def _check_size(model: nn.Module, architecture: str, image_size: int) -> None:
    """A forward pass over shapes only (no arithmetic, no memory): does the model take images of this size?"""
    shapes = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    try:
        with torch.no_grad():
            torch.func.functional_call(
                model, shapes, torch.empty(2, 3, image_size, image_size, device="meta")
            )
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _wrong_size(architecture, image_size, error) from None


def _wrong_size(architecture: str, image_size: int, error: Exception) -> ModelError:
    why = first_line(error)
    usual = usual_preprocessing(architecture, None).image_size
    return ModelError(
        f"{architecture} does not take images of {image_size}x{image_size}: {why}",
        where="data.image_size",
        expected=f"{usual}, or another size that the model can divide",
        cure=f"--set data.image_size={usual}",
    )


def _current_names(architecture: str, state: Mapping[str, Tensor], image_size: int) -> Mapping[str, Tensor]:
    """Names as torchvision spells them now; position embeddings of vision transformers for ``image_size``."""
    if architecture in resnet_cifar.NAMES:
        return state
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    embedding = renamed.get("encoder.pos_embedding")
    if architecture.startswith("vit_") and embedding is not None and embedding.ndim == 3:
        from torchvision.models.vision_transformer import interpolate_embeddings

        patch = int(architecture.rsplit("_", 1)[1])
        try:
            renamed = dict(interpolate_embeddings(image_size, patch, renamed))  # bicubic, as in the paper
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"position embeddings cannot be resized: {error}", where=architecture) from None
    return renamed
