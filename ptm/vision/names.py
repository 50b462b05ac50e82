"""What a name in a config can mean: a directory, a network of the field, published weights."""

from __future__ import annotations

import difflib
from pathlib import Path

from torchvision import models as zoo
from torchvision.models import WeightsEnum

from ptm.config.model_ref import ModelRef, Role
from ptm.errors import ModelError, listing
from ptm.models.weights import is_file_name, named_file
from ptm.vision import resnet_cifar, timm_models
from ptm.vision.timm_models import TimmWeights, is_timm

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def is_path(name: str) -> bool:
    """Whether the name of a model means a directory."""
    return (
        name in (".", "..")
        or name.startswith(("./", "../", "/", "~"))
        or ("/" in name and Path(name).exists())
    )


def named_weights(architecture: str, weights: str, role: Role) -> Path | WeightsEnum | TimmWeights | None:
    """What ``weights`` means for a network; ModelError, naming ``weights`` of the ``role``, for what does not exist."""
    if weights == "none":
        return None
    if is_file_name(weights):
        return named_file(weights, f"{role}.weights")
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


def output_names(stored: tuple[str, ...] | None, ref: ModelRef) -> tuple[str, ...] | None:
    """The names of a trained model's outputs, where it or the config carries them. Raises ModelError where they
    differ."""
    if stored is not None and ref.labels is not None and stored != ref.labels:
        raise ModelError(
            f"teacher.labels are {listing(ref.labels)}, the model says {listing(stored)}",
            where=ref.where,
            cure="remove teacher.labels: this model carries its own",
        )
    return stored or ref.labels
