"""Segmentation networks by name: torchvision's, and those of segmentation-models-pytorch (``smp:unet``).

As in :mod:`ptm.vision.models`: first a plan, which reads nothing but a small JSON file, then the network, built for
the classes of the data, into which weights are fitted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torchvision import models as zoo
from torchvision.models import WeightsEnum

from ptm.base.seeds import INIT, mix
from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError, Problem
from ptm.models.weights import SUFFIXES, LoadReport, fit_weights, read_weights
from ptm.vision.downloads import fetch, missing_file
from ptm.vision.models import IMAGENET_MEAN, IMAGENET_STD, is_path, named_weights, unknown_name
from ptm.vision.saved import FILE, FORMAT, MAX_SIDE, WEIGHTS, read_fields, saved_directory

TASK = "semantic-segmentation"
AUXILIARY_WEIGHT = 0.5  # of the loss of the auxiliary head, as in torchvision's reference training
TORCHVISION = tuple(zoo.list_models(module=zoo.segmentation))
SMP = tuple(
    f"smp:{name}"
    for name in (
        "unet",
        "unetplusplus",
        "manet",
        "linknet",
        "fpn",
        "pspnet",
        "deeplabv3",
        "deeplabv3plus",
        "pan",
        "upernet",
        "segformer",
    )
)

_SMP_BACKBONE = "resnet18"
_SMP_IMAGE_SIZE = 512
# What may be new though weights were loaded: the last layers, one name a family.
_LAST_LAYERS = {
    "lraspp": ("classifier.low_classifier", "classifier.high_classifier"),
    "deeplabv3": ("classifier.4", "aux_classifier.4"),
    "fcn": ("classifier.4", "aux_classifier.4"),
    "smp:": ("segmentation_head",),
}


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """From an RGB image to a network's input, and from a mask to classes.

    ``whole``: an image is shrunk or enlarged so that its longer side is ``image_size``; else it keeps its own
    scale, and ``image_size`` is the side of the squares that were cut from it in training. Channels are scaled to
    [0, 1], ``mean`` subtracted, divided by ``std``. ``mask_values[c]`` stands for class c in a mask.
    """

    image_size: int
    whole: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mask_values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SavedSegmenter:
    """The content of a segmentation model's ``model.json``; ``labels`` by output."""

    architecture: str
    backbone: str | None
    labels: tuple[str, ...]
    preprocessing: Segmentation


@dataclass(frozen=True, kw_only=True)
class SegmenterPlan:
    """What a ``model:`` section means."""

    architecture: str
    backbone: str | None  # the encoder of an smp: network
    weights: Path | WeightsEnum | None  # None: a random start
    weights_of_backbone: bool  # whether they are those of a classifier, for the backbone alone
    labels: tuple[str, ...] | None  # names of the outputs that the weights come with
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    saved: SavedSegmenter | None = None  # what an earlier run wrote down


def plan_segmenter(ref: ModelRef) -> SegmenterPlan:
    """Resolve names; raises ModelError for what does not exist. Reads no weights and opens no connection."""
    if is_path(ref.name):
        return _plan_saved(ref)
    if ref.name in SMP:
        return _plan_smp(ref, ref.backbone or _SMP_BACKBONE)
    if ref.name not in TORCHVISION:
        raise unknown_name(ref.name, (*TORCHVISION, *SMP), ref.key("name"), "a segmentation network")
    _refuse_backbone(ref)
    weights = named_weights(ref.name, ref.weights, ref.role)
    published = weights if isinstance(weights, WeightsEnum) else zoo.get_model_weights(ref.name).DEFAULT
    preset = published.transforms()
    return SegmenterPlan(
        architecture=ref.name,
        backbone=None,
        weights=weights,
        weights_of_backbone=False,
        labels=tuple(weights.meta["categories"]) if isinstance(weights, WeightsEnum) else None,
        image_size=preset.resize_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def stored(name: str) -> SavedSegmenter | None:
    """What an earlier run wrote down of its model; None for any other name."""
    return read_saved(saved_directory(Path(name).expanduser())) if is_path(name) else None


def missing_downloads(ref: ModelRef) -> list[Problem]:
    """The weights that are neither here nor can be fetched: [] when all is well."""
    weights = plan_segmenter(ref).weights
    return missing_file(weights, ref) if isinstance(weights, WeightsEnum) else []


def build_segmenter(
    plan: SegmenterPlan, classes: int, *, seed: int, complete: bool, keep_head: bool
) -> tuple[nn.Module, LoadReport]:
    """The network with ``classes`` outputs a pixel, on the CPU.

    What is random in it is a function of ``seed``. ``complete``: it will be used as it is, so nothing in it may be
    random, and the auxiliary head is left out. Without ``keep_head`` the last layers are new even where they would
    fit. Raises ModelError.
    """
    if complete and (plan.weights is None or plan.weights_of_backbone):
        raise ModelError(
            f"{plan.architecture} has not learned to segment anything",
            expected="trained weights",
            cure="use the directory of a finished run, or weights from a file",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(mix(seed, INIT))
        model = _construct(plan, classes, auxiliary=not complete)
    if plan.weights is None:
        return model, LoadReport("random start", 0)
    path = fetch(plan.weights.url) if isinstance(plan.weights, WeightsEnum) else plan.weights
    where = str(plan.weights) if isinstance(plan.weights, WeightsEnum) else str(path)
    state = read_weights(path)
    if plan.weights_of_backbone:
        state = {f"encoder.{name}": tensor for name, tensor in state.items()}
        return model, fit_weights(model, state, ("decoder", "segmentation_head"), where, complete=False)
    last = last_layers(plan.architecture)
    if not keep_head:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(last)}
    # An auxiliary head only helps training; weights may come without it.
    return model, fit_weights(model, state, (*last, "aux_classifier"), where, complete=complete)


def head_of(architecture: str) -> tuple[str, ...]:
    """Name prefixes of all above the backbone: what is new when only a classifier's weights are there."""
    if architecture in SMP:
        return ("decoder", "segmentation_head")
    return ("classifier", "aux_classifier")


def last_layers(architecture: str) -> tuple[str, ...]:
    """Name prefixes of the layers that give a score a class."""
    return next(names for family, names in _LAST_LAYERS.items() if architecture.startswith(family))


def write_saved(directory: Path, saved: SavedSegmenter) -> None:
    content = {
        "format": FORMAT,
        "task": TASK,
        "architecture": saved.architecture,
        "backbone": saved.backbone,
        "labels": list(saved.labels),
        **asdict(saved.preprocessing),
    }
    (directory / FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_saved(directory: Path) -> SavedSegmenter:
    """Read and check ``model.json``, whoever wrote it: a value that makes no sense is a ModelError."""
    fields = read_fields(directory, TASK)
    labels = fields.labels(fewest=2)

    def is_values(values: Any) -> bool:
        whole = isinstance(values, list) and all(type(v) is int and 0 <= v <= 255 for v in values)
        return whole and len(set(values)) == len(values) == len(labels)

    return SavedSegmenter(
        architecture=fields.text("architecture"),
        backbone=fields.get(
            "backbone", lambda v: v is None or isinstance(v, str), "the name of a network, or null"
        ),
        labels=labels,
        preprocessing=Segmentation(
            image_size=fields.whole("image_size", MAX_SIDE),
            whole=fields.get("whole", lambda v: isinstance(v, bool), "true or false"),
            mean=fields.channels("mean", least=-1000.0, expected="three numbers"),
            std=fields.channels("std", least=1e-6, expected="three positive numbers"),
            mask_values=tuple(
                fields.get("mask_values", is_values, "a different number from 0 to 255 for each label")
            ),
        ),
    )


def _plan_saved(ref: ModelRef) -> SegmenterPlan:
    directory = saved_directory(Path(ref.name).expanduser())
    saved = read_saved(directory)
    if saved.architecture not in (*TORCHVISION, *SMP):
        raise unknown_name(saved.architecture, (*TORCHVISION, *SMP), str(directory), "a segmentation network")
    if saved.architecture in SMP:
        _require_encoder(saved.backbone or "", str(directory))
    if ref.backbone not in (None, saved.backbone):
        raise ModelError(
            f"{ref.key('backbone')} is {ref.backbone}, the saved model's is {saved.backbone}",
            where=directory,
            cure="remove it",
        )
    own = ref.weights == "default"
    weights = directory / WEIGHTS if own else _file_or_none(ref, saved.architecture)
    return SegmenterPlan(
        architecture=saved.architecture,
        backbone=saved.backbone,
        weights=weights,
        weights_of_backbone=False,
        labels=saved.labels if own else None,
        image_size=saved.preprocessing.image_size,
        mean=saved.preprocessing.mean,
        std=saved.preprocessing.std,
        saved=saved,
    )


def _plan_smp(ref: ModelRef, backbone: str) -> SegmenterPlan:
    _require_encoder(backbone, ref.key("backbone"))
    weights = _file_or_none(ref, ref.name, backbone)
    return SegmenterPlan(
        architecture=ref.name,
        backbone=backbone,
        weights=weights,
        weights_of_backbone=isinstance(weights, WeightsEnum),
        labels=None,
        image_size=_SMP_IMAGE_SIZE,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _file_or_none(ref: ModelRef, name: str, backbone: str | None = None) -> Path | WeightsEnum | None:
    """Weights of a whole network from a file, none, or, for a residual backbone, torchvision's of that backbone."""
    weights = ref.weights
    residual = backbone in zoo.list_models(module=zoo) and (backbone or "").startswith("resne")
    file = "/" in weights or Path(weights).suffix.lower() in SUFFIXES
    if residual or weights == "none" or file:
        return named_weights(backbone if residual and backbone else "resnet18", weights, ref.role)
    raise ModelError(
        f"no weights {weights!r} of {name}" + (f" with the backbone {backbone}" if backbone else ""),
        where=ref.key("weights"),
        expected="none (a random start), a file, or a backbone that torchvision has weights for: resnet18, resnet50",
        cure=f"--set {ref.role}.weights=none, or --set {ref.role}.backbone=resnet18",
    )


def _require_encoder(backbone: str, where: str) -> None:
    known = tuple(_smp().encoders.encoders)
    if backbone not in known:
        raise unknown_name(backbone, known, where, "a backbone")


def _refuse_backbone(ref: ModelRef) -> None:
    if ref.backbone is not None:
        raise ModelError(
            f"{ref.name} has no backbone to choose",
            where=ref.key("backbone"),
            expected=f"a network whose backbone is its own choice: {', '.join(SMP)}",
            cure=f"remove it, or --set {ref.role}.name=smp:deeplabv3plus",
        )


def _construct(plan: SegmenterPlan, classes: int, *, auxiliary: bool) -> nn.Module:
    if plan.architecture in SMP:
        model: nn.Module = _smp().create_model(
            plan.architecture.removeprefix("smp:"),
            plan.backbone,
            encoder_weights=None,
            classes=classes,
        )
        return model
    options: dict[str, Any] = {} if plan.architecture.startswith("lraspp") else {"aux_loss": auxiliary}
    network: nn.Module = zoo.get_model(
        plan.architecture, weights=None, weights_backbone=None, num_classes=classes, **options
    )
    return network


def _smp() -> ModuleType:
    try:
        import segmentation_models_pytorch
    except ImportError:
        raise ModelError(
            "smp: networks need the package segmentation-models-pytorch, which is not installed",
            where="model.name",
            cure="pip install 'ptm[unet]', or use a network of torchvision: deeplabv3_mobilenet_v3_large",
        ) from None
    module: ModuleType = segmentation_models_pytorch
    return module
