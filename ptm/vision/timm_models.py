"""Image classifiers of timm, named ``timm:NAME``: what the rest of the package has to know of them.

timm builds the networks; their weights go through :mod:`ptm.models.weights` as all others do, so that nothing in a
file is executed and no backbone is loaded halfway.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ptm.base import network
from ptm.base.extras import install
from ptm.config.model_ref import ModelRef, Role
from ptm.errors import MissingDownload, ModelError, Problem, listing
from ptm.vision import efficientnet_names
from ptm.vision.preprocessing import INTERPOLATIONS, Preprocessing

PREFIX = "timm:"

_FILES = ("model.safetensors", "pytorch_model.bin")
# What timm's modules call the function that brings older names and shapes of weights up to date.
_FILTERS = ("checkpoint_filter_fn", "_filter_fn")
_SCALES = (4, 8, 16, 32)


@dataclass(frozen=True)
class TimmWeights:
    """The published weights of a network: a repository of the hub, and the files that may hold them."""

    repository: str
    files: tuple[str, ...]


def is_timm(architecture: str) -> bool:
    return architecture.startswith(PREFIX)


def require_known(architecture: str, where: str) -> None:
    """ModelError for a name that timm does not have, with the closest it has, or when timm is not installed."""
    timm, name = _timm(), architecture.removeprefix(PREFIX)
    base, _, tag = name.partition(".")
    tagged = timm.list_models(pretrained=True)
    known = timm.list_models()
    if base in known and (not tag or name in tagged):
        return
    choices = (
        [other for other in tagged if other.startswith(f"{base}.")] if base in known else [*known, *tagged]
    )
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    raise ModelError(
        f"timm has no network {name!r}",
        where=where,
        expected=f"timm:NAME with one of the {len(known)} names of timm.list_models(), or a name with its weights: "
        "timm:resnet18.a1_in1k",
        cure=f"did you mean {' or '.join(PREFIX + other for other in close)}?" if close else "",
    )


def published_weights(architecture: str, role: Role) -> TimmWeights:
    """What ``weights: default`` means. Raises ModelError where nothing is published, or not as tensors."""
    config = _config(architecture)
    if not config.hf_hub_id or config.custom_load:
        raise ModelError(
            f"no weights that can be read as tensors are published for {architecture}",
            where=f"{role}.weights",
            expected="none (a random start) or a file",
            cure=f"--set {role}.weights=none, or --set {role}.weights=FILE.safetensors",
        )
    return TimmWeights(config.hf_hub_id, (config.hf_hub_filename,) if config.hf_hub_filename else _FILES)


def missing_weights(weights: TimmWeights, ref: ModelRef) -> list[Problem]:
    """A problem if the weights are neither in the hub's cache nor can be fetched."""
    if _cached(weights) is not None or network.reachable():
        return []
    return [
        Problem(
            "are not in the cache, and cannot be downloaded: "
            + ("the network is switched off" if network.offline() else "the hub cannot be reached"),
            f"{ref.role} {ref.name} (weights {weights.repository})",
            cure=f"with a network, once: hf download {weights.repository}; or start from a file, --set "
            f"{ref.key('weights')}=FILE.safetensors, or at random, --set {ref.key('weights')}=none",
        )
    ]


def fetch_weights(weights: TimmWeights) -> Path:
    """The file in the hub's cache, downloaded when it is not there. Raises MissingDownload."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    path = _cached(weights)
    if path is not None:
        return path
    if network.offline():
        raise MissingDownload(missing_weights(weights, ModelRef(name=weights.repository)))
    reason = ""
    for file in weights.files:
        try:
            return Path(hf_hub_download(weights.repository, file))
        except EntryNotFoundError as error:  # the next one may be there
            reason = str(error)
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error)
            break
    raise MissingDownload(
        f"cannot be downloaded: {reason.splitlines()[0] if reason else 'no such file'}",
        where=weights.repository,
        cure="try again, or use other weights",
    )


def preprocessing_of(architecture: str) -> Preprocessing:
    """That of the weights that the name means, as timm states it."""
    config = _config(architecture)
    side = int(config.input_size[-1])
    squashed = config.crop_mode == "squash" and config.crop_pct == 1
    return Preprocessing(
        image_size=side,
        resize=None if squashed else max(side, math.floor(side / config.crop_pct)),
        interpolation=config.interpolation if config.interpolation in INTERPOLATIONS else "bilinear",
        mean=tuple(config.mean),
        std=tuple(config.std),
    )


def construct(architecture: str, classes: int, image_size: int) -> nn.Module:
    """The network with ``classes`` outputs, at random; one whose input size is built in, for ``image_size``.

    Raises ValueError for a size it cannot be built for, ModelError for one that gives more than logits in training.
    """
    config = _config(architecture)
    resized = config.fixed_input_size and image_size != config.input_size[-1]
    options: dict[str, Any] = {"img_size": image_size} if resized else {}
    try:
        model: nn.Module = _timm().create_model(
            architecture.removeprefix(PREFIX), pretrained=False, num_classes=classes, **options
        )
    except (TypeError, AssertionError, RuntimeError) as error:
        if not resized:
            raise
        raise ValueError(str(error) or "its input size is built in") from None
    if getattr(model, "aux_head", None) is not None:
        raise ModelError(
            f"{architecture} has an auxiliary output in training that ptm does not know how to weigh",
            where="model.name",
            cure="choose another network",
        )
    return model


def heads(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules that give class scores; two in distilled transformers."""
    classifier = model.get_classifier()  # type: ignore[operator]
    modules = classifier if isinstance(classifier, (tuple, list)) else (classifier,)
    return tuple(name for name, module in model.named_modules() if any(module is each for each in modules))


def current_names(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights with the names and shapes that this version of timm gives them, through its own conversion."""
    own = model.state_dict()
    state, prefixes = efficientnet_names.to_timm(state, own), tuple(f"{name}." for name in heads(model))
    body = {name: tensor for name, tensor in own.items() if not name.startswith(prefixes)}
    if all(name in state and state[name].shape == tensor.shape for name, tensor in body.items()):
        return state
    module = sys.modules[type(model).__module__]
    convert = next((getattr(module, name) for name in _FILTERS if hasattr(module, name)), None)
    if convert is None:
        return state
    try:
        with torch.no_grad():
            converted = convert(dict(state), model)
    except (KeyError, ValueError, RuntimeError, AssertionError):
        return state  # weights of another network; what does not fit is named when they are fitted
    return {name: tensor for name, tensor in converted.items() if isinstance(tensor, Tensor)}


def construct_body(architecture: str, where: str = "model.backbone") -> nn.Module:
    """The network below its head, at random: a list of four maps, 4, 8, 16 and 32 times smaller than the image.

    Raises ModelError, naming ``where``, for a network that timm does not have, or that has no such stages.
    """
    require_known(architecture, where)
    name = architecture.removeprefix(PREFIX)
    try:
        with torch.device("meta"):
            info: Any = _timm().create_model(name, pretrained=False, features_only=True).feature_info
        stages = tuple(i for i, scale in enumerate(info.reduction()) if scale in _SCALES)
        if len(stages) != len(_SCALES):
            raise RuntimeError(f"its maps are {listing([str(s) for s in info.reduction()])} times smaller")
        body: nn.Module = _timm().create_model(
            name, pretrained=False, features_only=True, out_indices=tuple(info.out_indices[i] for i in stages)
        )
    except (RuntimeError, AttributeError, NotImplementedError, KeyError, TypeError, AssertionError) as error:
        why = str(error).splitlines()[0] if str(error) else "it has no stages"
        raise ModelError(
            f"{architecture} cannot be the network below another: {why}",
            where=where,
            expected="maps 4, 8, 16 and 32 times smaller than the image, as of residual and efficient networks",
            cure=f"--set {where}=timm:resnet18",
        ) from None
    return body


def _config(architecture: str) -> Any:
    """timm's ``PretrainedCfg`` of a name; that of its default weights where the name has no tag."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(architecture.removeprefix(PREFIX))
    if config is None:  # a network without any published weights
        from timm.models import PretrainedCfg

        config = PretrainedCfg()
    return replace(
        config,
        mean=config.mean or (0.485, 0.456, 0.406),
        std=config.std or (0.229, 0.224, 0.225),
        crop_pct=config.crop_pct or 0.875,
    )


def _cached(weights: TimmWeights) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(weights.repository, file) for file in weights.files)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise ModelError(
            "timm: networks need the package timm, which is not installed",
            where="model.name",
            cure=f"{install('timm')}, or use a network of torchvision: resnet18",
        ) from None
    module: ModuleType = timm
    return module
