"""Image classifiers by name: which architecture, which weights, which preprocessing; then the model itself.

First a plan (cheap: nothing is read but a small JSON file), so that everything wrong or missing can be said
before anything starts; then the model. Heads are not replaced by surgery: every constructor takes the number
of classes, so the model is built as it shall be and the weights are fitted into it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models import WeightsEnum

from ptm.base.seeds import INIT, mix
from ptm.config.model_ref import ModelRef, Role
from ptm.errors import ModelError, Problem
from ptm.models import adapters
from ptm.models.weights import SUFFIXES, LoadReport, fit_weights, read_weights
from ptm.vision import resnet_cifar, timm_models
from ptm.vision.downloads import fetch, missing_file
from ptm.vision.saved import WEIGHTS, Preprocessing, read_saved, saved_directory
from ptm.vision.timm_models import TimmWeights, is_timm

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR = Preprocessing(
    image_size=32, resize=None, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD
)

# Heads besides the last one, by architecture, and the weight of their loss in training: 0.4 in the authors'
# code of Inception-v3 (Szegedy et al. 2015, arXiv:1512.00567), 0.3 in GoogLeNet (arXiv:1409.4842, section 5).
AUXILIARY: dict[str, tuple[tuple[str, ...], float]] = {
    "inception_v3": (("AuxLogits",), 0.4),
    "googlenet": (("aux1", "aux2"), 0.3),
}

# Names in published torchvision files that the current code spells differently.
_RENAMED = (
    (re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),  # densenet
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),  # vit
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """What a ``model:`` or ``teacher:`` section means."""

    architecture: str
    width: int | None
    weights: Path | WeightsEnum | TimmWeights | None  # None: a random start
    labels: tuple[str, ...] | None  # names of the outputs, where an earlier run wrote them down
    preprocessing: Preprocessing
    own_normalisation: bool  # whether mean and std come with the weights, rather than from a default


def architectures() -> tuple[str, ...]:
    """All names that can be built: the CIFAR residual networks, then torchvision's classifiers."""
    return (*resnet_cifar.NAMES, *zoo.list_models(module=zoo))


def plan_model(ref: ModelRef) -> ModelPlan:
    """Resolve names; raises ModelError for what does not exist. Reads no weights and opens no connection."""
    if is_path(ref.name):
        return _plan_saved(ref)
    if is_timm(ref.name):
        timm_models.require_known(ref.name, ref.key("name"))
    elif ref.name not in architectures():
        raise unknown_name(ref.name, architectures(), ref.key("name"), "a model")
    width = ref.width
    if ref.name in resnet_cifar.NAMES:
        width = ref.width or resnet_cifar.WIDTH
    elif ref.width is not None:
        raise ModelError(
            f"{ref.name} has no width to choose",
            where=ref.key("width"),
            cure=f"remove it, or use one of {', '.join(resnet_cifar.NAMES)}",
        )
    weights = named_weights(ref.name, ref.weights, ref.role)
    own = isinstance(weights, (WeightsEnum, TimmWeights))
    return ModelPlan(
        architecture=ref.name,
        width=width,
        weights=weights,
        labels=None,
        preprocessing=_preprocessing(ref.name, weights if isinstance(weights, WeightsEnum) else None),
        own_normalisation=own,
    )


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The names of the outputs of a model saved earlier; None for any other name."""
    return read_saved(saved_directory(Path(name).expanduser())).labels if is_path(name) else None


def missing_downloads(ref: ModelRef) -> list[Problem]:
    """The weights that are neither here nor can be fetched: [] when all is well."""
    weights = plan_model(ref).weights
    if isinstance(weights, TimmWeights):
        return timm_models.missing_weights(weights, ref)
    if not isinstance(weights, WeightsEnum):
        return []
    return missing_file(weights, ref)


def build_model(
    plan: ModelPlan, classes: int, *, image_size: int, seed: int, complete: bool, keep_head: bool = True
) -> tuple[nn.Module, LoadReport]:
    """The model with ``classes`` outputs for square images, on the CPU.

    What is random in it is a function of ``seed``; no other randomness is touched. ``complete``: it will be
    used as it is, so nothing in it may be random, and heads that only help training are left out. Without
    ``keep_head`` the output layer is new even where it would fit: as many classes, but others.
    """
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
        return model, LoadReport("random start", 0)
    path, where = _weights_file(plan.weights)
    given = read_weights(path)
    if is_timm(plan.architecture):
        named = timm_models.current_names(model, given)
    else:
        named = _current_names(plan.architecture, given, image_size)
    state = {**named, **adapters.head_of_adapter(path.parent)}
    if not keep_head:
        state = {
            name: t for name, t in state.items() if not name.startswith(head_of(model, plan.architecture))
        }
    # Auxiliary heads may be missing whole: torchvision's GoogLeNet drops them after training.
    optional = AUXILIARY.get(plan.architecture, ((), 0.0))[0]
    last = timm_models.heads(model) if is_timm(plan.architecture) else (last_layer(model),)
    report = fit_weights(model, state, (*last, *optional), where, complete=complete)
    adapters.merge_saved(model, path.parent)
    return model, report


def _weights_file(weights: Path | WeightsEnum | TimmWeights) -> tuple[Path, str]:
    """The file, downloaded if need be, and how it is called in messages."""
    if isinstance(weights, WeightsEnum):
        return fetch(weights.url), str(weights)
    if isinstance(weights, TimmWeights):
        return timm_models.fetch_weights(weights), weights.repository
    return weights, str(weights)


def apply_model(model: nn.Module, *inputs: Any) -> Any:
    """``model(*inputs)``; ModelError where a batch norm is to learn from a single value."""
    try:
        return model(*inputs)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ModelError(
            "a training batch of one image cannot pass this model's batch normalisation",
            where="train.batch_size",
            expected="at least two images in every forward pass, the last one of an epoch included",
            cure="choose another batch_size, micro_batch_size or data.max_train_examples, or a larger image_size",
        ) from None


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


def is_path(name: str) -> bool:
    """Whether the name of a model means a directory."""
    return (
        name in (".", "..")
        or name.startswith(("./", "../", "/", "~"))
        or ("/" in name and Path(name).exists())
    )


def _plan_saved(ref: ModelRef) -> ModelPlan:
    directory = saved_directory(Path(ref.name).expanduser())
    saved = read_saved(directory)
    if is_timm(saved.architecture):
        timm_models.require_known(saved.architecture, str(directory))
    elif saved.architecture not in architectures():
        raise unknown_name(saved.architecture, architectures(), str(directory), "a model")
    if ref.width not in (None, saved.width):
        raise ModelError(
            f"{ref.key('width')} is {ref.width}, the saved model's is {saved.width}",
            where=directory,
            cure="remove it",
        )
    own = ref.weights == "default"
    return ModelPlan(
        architecture=saved.architecture,
        width=saved.width,
        weights=directory / WEIGHTS if own else named_weights(saved.architecture, ref.weights, ref.role),
        labels=saved.labels if own else None,
        preprocessing=saved.preprocessing,
        own_normalisation=True,
    )


def named_weights(architecture: str, weights: str, role: Role) -> Path | WeightsEnum | TimmWeights | None:
    """What ``weights`` means for a network; ModelError, naming ``weights`` of the ``role``, for what does not exist."""
    if weights == "none":
        return None
    path = Path(weights).expanduser()
    if "/" in weights or path.suffix.lower() in SUFFIXES:
        if not path.exists():
            raise ModelError("there is no such file", where=path, cure=f"correct {role}.weights")
        return path
    if is_timm(architecture) and weights == "default":
        return timm_models.published_weights(architecture, role)
    if is_timm(architecture) or architecture in resnet_cifar.NAMES:
        raise ModelError(
            f"no pre-trained weights belong to {architecture}"
            if weights == "default"
            else f"no weights {weights!r}",
            where=f"{role}.weights",
            expected="none (a random start) or a file",
            cure=f"--set {role}.weights=none, or --set {role}.weights=FILE.safetensors",
        )
    members = zoo.get_model_weights(architecture).__members__
    # Files without a classifier (VGG-16's IMAGENET1K_FEATURES) name no categories.
    usable = {name: member for name, member in members.items() if member.meta["categories"]}
    if weights == "default":
        return usable["DEFAULT"]
    if weights not in usable:
        raise unknown_name(
            weights, ("default", "none", *usable), f"{role}.weights of {architecture}", "weights"
        )
    return usable[weights]


def unknown_name(name: str, known: tuple[str, ...], where: str, kind: str) -> ModelError:
    """The error for a name that is not known, with the closest of those that are."""
    close = difflib.get_close_matches(name, known, n=3)
    return ModelError(
        f"there is no {kind.removeprefix('a ')} {name!r}",
        where=where,
        expected=f"{kind} file or directory, or one of {', '.join(known)}",
        cure=f"did you mean {' or '.join(close)}?" if close else "",
    )


def _preprocessing(architecture: str, weights: WeightsEnum | None) -> Preprocessing:
    """That of the weights; of the architecture's default weights where they say nothing."""
    if is_timm(architecture):
        return timm_models.preprocessing_of(architecture)
    if architecture in resnet_cifar.NAMES:
        return CIFAR
    preset = (weights or zoo.get_model_weights(architecture).DEFAULT).transforms()
    # These two were converted from TensorFlow, which scales to [-1, 1]. torchvision normalises as for
    # ImageNet and undoes it inside the model (transform_input); here it is done once, with their own values.
    tensorflow = architecture in AUXILIARY
    return Preprocessing(
        image_size=preset.crop_size[0],
        resize=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=(0.5, 0.5, 0.5) if tensorflow else tuple(preset.mean),
        std=(0.5, 0.5, 0.5) if tensorflow else tuple(preset.std),
    )


def _construct(plan: ModelPlan, classes: int, image_size: int, *, auxiliary: bool) -> nn.Module:
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
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    usual = _preprocessing(architecture, None).image_size
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
