"""Image classifiers by name: which architecture, which weights, which preprocessing. Cheap: nothing is read but a small
JSON file, so that everything wrong or missing can be said before anything starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torchvision import models as zoo
from torchvision.models import WeightsEnum

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError, Problem
from ptm.models.packages import is_package
from ptm.vision import packages, resnet_cifar, timm_models
from ptm.vision.downloads import missing_file
from ptm.vision.names import IMAGENET_MEAN, IMAGENET_STD, is_path, named_weights, unknown_name
from ptm.vision.packages import PackageWeights
from ptm.vision.preprocessing import Preprocessing
from ptm.vision.saved import WEIGHTS, read_classifier, saved_directory
from ptm.vision.timm_models import TimmWeights, is_timm

CIFAR = Preprocessing(
    image_size=32, resize=None, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD
)

# Heads besides the last one, by architecture, and the weight of their loss in training: 0.4 in the authors'
# code of Inception-v3 (Szegedy et al. 2015, arXiv:1512.00567), 0.3 in GoogLeNet (arXiv:1409.4842, section 5).
AUXILIARY: dict[str, tuple[tuple[str, ...], float]] = {
    "inception_v3": (("AuxLogits",), 0.4),
    "googlenet": (("aux1", "aux2"), 0.3),
}


@dataclass(frozen=True, kw_only=True)
class ClassifierPlan:
    """What a ``model:`` or ``teacher:`` section means."""

    architecture: str
    width: int | None
    weights: Path | WeightsEnum | TimmWeights | PackageWeights | None  # None: a random start
    labels: tuple[str, ...] | None  # names of the outputs, where an earlier run wrote them down
    preprocessing: Preprocessing
    own_normalisation: bool  # whether mean and std come with the weights, rather than from a default
    bare: bool = False  # as of ModelRef


def architectures() -> tuple[str, ...]:
    """All names that can be built: the CIFAR residual networks, then torchvision's classifiers."""
    return (*resnet_cifar.NAMES, *zoo.list_models(module=zoo))


def plan_classifier(ref: ModelRef) -> ClassifierPlan:
    """Resolve names; raises ModelError for what does not exist. Reads no weights and opens no connection."""
    if is_path(ref.name):
        return _plan_saved(ref, Path(ref.name).expanduser())
    if packages.holds_directory(ref.name):
        return _plan_saved(ref, packages.directory_of(ref))
    if is_package(ref.name):
        return _plan_package(ref)
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
    return ClassifierPlan(
        architecture=ref.name,
        width=width,
        weights=weights,
        labels=None,
        preprocessing=usual_preprocessing(ref.name, weights if isinstance(weights, WeightsEnum) else None),
        own_normalisation=own,
    )


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The names of the outputs of a model saved earlier; None for any other name."""
    if packages.holds_directory(name):
        return read_classifier(saved_directory(packages.directory_of(ModelRef(name=name)))).labels
    return read_classifier(saved_directory(Path(name).expanduser())).labels if is_path(name) else None


def missing_downloads(ref: ModelRef) -> list[Problem]:
    """The weights that are neither here nor can be fetched: [] when all is well."""
    if packages.holds_directory(ref.name):
        return packages.missing_weights(ref.name, ref)
    weights = plan_classifier(ref).weights
    if isinstance(weights, PackageWeights):
        return packages.missing_weights(weights.name, ref)
    if isinstance(weights, TimmWeights):
        return timm_models.missing_weights(weights, ref)
    if not isinstance(weights, WeightsEnum):
        return []
    return missing_file(weights, ref)


def _plan_package(ref: ModelRef) -> ClassifierPlan:
    """The network of a package of weights: with them, or ``weights: none`` of them."""
    packaged = packages.known_package(ref.name, ref.key("name"))
    own = ref.weights == "default"
    plan = plan_classifier(replace(ref, name=packaged.architecture, weights="none" if own else ref.weights))
    return replace(plan, weights=packaged, own_normalisation=True) if own else plan


def _plan_saved(ref: ModelRef, place: Path) -> ClassifierPlan:
    directory = saved_directory(place)
    saved = read_classifier(directory)
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
    return ClassifierPlan(
        architecture=saved.architecture,
        width=saved.width,
        weights=directory / WEIGHTS if own else named_weights(saved.architecture, ref.weights, ref.role),
        labels=saved.labels if own else None,
        preprocessing=saved.preprocessing,
        own_normalisation=True,
        bare=ref.bare,
    )


def usual_preprocessing(architecture: str, weights: WeightsEnum | None) -> Preprocessing:
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
