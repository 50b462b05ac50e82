"""Detectors by name: which architecture, which weights, which preprocessing. Nothing is read but a small JSON file.

The first output of every class score is the background (in RetinaNet and FCOS it means nothing and is never learned):
label i of the data is output i + 1, as torchvision has it. YOLOX has no output for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torchvision import models as zoo
from torchvision.models import WeightsEnum

from ptm.config.model_ref import ModelRef
from ptm.config.spec import DataSpec
from ptm.errors import ConfigError, ModelError, Problem
from ptm.models.weights import is_file_name, named_file
from ptm.vision import timm_models
from ptm.vision.backbones import BackboneWeights, is_timm_backbone, missing_backbone, plan_backbone
from ptm.vision.names import IMAGENET_MEAN, IMAGENET_STD, is_path, unknown_name
from ptm.vision.preprocessing import BoxPreprocessing
from ptm.vision.saved import WEIGHTS, read_detector, saved_directory
from ptm.vision.timm_models import is_timm

BACKGROUND = "__background__"

# Families on a residual network with a feature pyramid, and the name of torchvision's with ResNet-50.
PYRAMIDS = {
    "fasterrcnn": "fasterrcnn_resnet50_fpn",
    "retinanet": "retinanet_resnet50_fpn",
    "fcos": "fcos_resnet50_fpn",
    "maskrcnn": "maskrcnn_resnet50_fpn",
    "maskrcnn_small": "maskrcnn_small",  # ours, see ptm.vision.detectors; no published weights but a backbone's
}
SMALL = "maskrcnn_small"
MASK_NAMES = ("maskrcnn", SMALL, "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2")
# They look at regions of an image that a first stage proposes (Faster R-CNN, arXiv:1506.01497).
TWO_STAGE = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", SMALL)
BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
FIXED = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}  # side of their square inputs in pixels
IMPROVED = ("fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2")
# YOLOX through libreyolo (ptm.vision.yolo); the sides of their square inputs in pixels are those of the authors.
YOLOX = {f"libreyolo:yolox-{size}": 416 if size in "nt" else 640 for size in "ntsmlx"}
NAMES = tuple(n for n in (*PYRAMIDS, *PYRAMIDS.values(), *IMPROVED, *FIXED, *YOLOX) if n not in MASK_NAMES)


@dataclass(frozen=True, kw_only=True)
class DetectorPlan:
    """What a ``model:`` section means."""

    architecture: str
    backbone: str | None
    weights: BackboneWeights | None  # of the whole detector, or of its backbone; None: a random start
    backbone_only: bool
    # What the outputs of ``weights`` are called, background first, where that is known.
    outputs: tuple[str, ...] | None
    frozen_eps: float | None  # as in SavedDetector; of a file it is known when the file is read
    preprocessing: BoxPreprocessing

    @property
    def masks(self) -> bool:
        """Whether it finds the pixels of an object, besides its box."""
        return self.architecture in MASK_NAMES

    @property
    def weights_are_foreign(self) -> bool:
        """Whether they are a file of another program, which does not say whether norms are frozen."""
        foreign = isinstance(self.weights, Path) and self.outputs is None
        return foreign and self.architecture in PYRAMIDS.values()


def plan_detector(ref: ModelRef, *, masks: bool = False) -> DetectorPlan:
    """Resolve names; raises ModelError for what does not exist. Reads no weights and opens no connection. ``masks``:
    one that finds instances (Mask R-CNN)."""
    if ref.role == "teacher":
        raise ConfigError(
            "detectors cannot be distilled", where="teacher", cure="remove teacher: and distill:"
        )
    if is_path(ref.name):
        return _plan_saved(ref, masks)
    names = MASK_NAMES if masks else NAMES
    if ref.name not in names:
        raise unknown_name(
            ref.name, names, "model.name", "a detector of instances" if masks else "a detector"
        )
    architecture = PYRAMIDS.get(ref.name, ref.name)
    if architecture in PYRAMIDS.values() and is_timm_backbone(ref.backbone):
        return _plan_timm_backbone(ref, architecture)
    backbone = _backbone(architecture, ref.backbone)
    weights, backbone_only = _named_weights(architecture, backbone, ref.weights)
    published = isinstance(weights, WeightsEnum)
    outputs = (
        tuple(weights.meta["categories"]) if isinstance(weights, WeightsEnum) and not backbone_only else None
    )
    # torchvision's own detectors were trained when the epsilon of frozen norms was 0.
    frozen_eps = (0.0 if outputs else 1e-5) if published and architecture in PYRAMIDS.values() else None
    return DetectorPlan(
        architecture=architecture,
        backbone=backbone,
        weights=weights,
        backbone_only=backbone_only,
        outputs=outputs,
        frozen_eps=frozen_eps,
        preprocessing=own_preprocessing(architecture),
    )


def stored_labels(name: str, *, masks: bool = False) -> tuple[str, ...] | None:
    """The labels of a detector saved earlier; None for any other name."""
    return read_detector(saved_directory(Path(name).expanduser()), masks).labels if is_path(name) else None


def missing_downloads(ref: ModelRef, *, masks: bool = False) -> list[Problem]:
    """The weights that are neither here nor can be fetched: [] when all is well."""
    return missing_backbone(plan_detector(ref, masks=masks).weights, ref)


def preprocessing_of(plan: DetectorPlan, data: DataSpec) -> BoxPreprocessing:
    """The architecture's or the saved model's own, or what ``data:`` says."""
    own = plan.preprocessing
    fixed = FIXED.get(plan.architecture)
    size = data.image_size or own.image_size
    if plan.architecture in YOLOX and (size % 32 or data.longest_side not in (None, size)):
        raise ModelError(
            f"{plan.architecture} does not look at images of {size} pixels a side",
            where="data.image_size" if size % 32 else "data.longest_side",
            expected="one multiple of 32 for both sides",
            cure="remove data.longest_side"
            if size % 32 == 0
            else f"--set data.image_size={max(32, size // 32 * 32)}",
        )
    if fixed is not None and (size != fixed or data.longest_side not in (None, fixed)):
        raise ModelError(
            f"{plan.architecture} looks at images of {fixed}x{fixed} only",
            where="data.image_size",
            cure="remove data.image_size and data.longest_side, or use one of "
            + ", ".join(_families(plan.architecture)),
        )
    # The ratio of torchvision's 800 and 1333, or that of the saved model.
    longest = data.longest_side or max(size, round(size * own.longest_side / own.image_size))
    if longest < size:
        raise ConfigError(
            f"the longest side may not be longer than {longest}, the shorter side shall be {size}",
            where="data.longest_side",
            expected=f"at least {size}",
        )
    return replace(
        own, image_size=size, longest_side=longest, mean=data.mean or own.mean, std=data.std or own.std
    )


def _plan_timm_backbone(ref: ModelRef, architecture: str) -> DetectorPlan:
    """Above a network of timm. Weights from a file are those of the backbone, as all that have a name are."""
    backbone, weights = plan_backbone(ref)
    timm_models.construct_body(backbone, ref.key("backbone"))
    preset = timm_models.preprocessing_of(backbone)
    return DetectorPlan(
        architecture=architecture,
        backbone=backbone,
        weights=weights,
        backbone_only=weights is not None,
        outputs=None,
        frozen_eps=None if weights is None else 1e-5,
        preprocessing=replace(own_preprocessing(architecture), mean=preset.mean, std=preset.std),
    )


def _plan_saved(ref: ModelRef, masks: bool) -> DetectorPlan:
    directory = saved_directory(Path(ref.name).expanduser())
    saved = read_detector(directory, masks)
    names = MASK_NAMES if masks else NAMES
    if saved.architecture not in names:
        raise unknown_name(saved.architecture, names, str(directory), "a detector")
    if is_timm(saved.backbone or ""):
        timm_models.require_known(saved.backbone or "", str(directory))
    elif saved.backbone is not None and saved.backbone not in BACKBONES:
        raise unknown_name(saved.backbone, BACKBONES, str(directory), "a backbone")
    if ref.backbone not in (None, saved.backbone):
        raise ModelError(
            f"model.backbone is {ref.backbone}, the saved model's is {saved.backbone}",
            where=directory,
            cure="remove it",
        )
    own = ref.weights == "default"
    weights, backbone_only = (
        (directory / WEIGHTS, False)
        if own
        else _named_weights(saved.architecture, saved.backbone, ref.weights)
    )
    return DetectorPlan(
        architecture=saved.architecture,
        backbone=saved.backbone,
        weights=weights,
        backbone_only=backbone_only,
        outputs=(*(() if saved.architecture in YOLOX else (BACKGROUND,)), *saved.labels) if own else None,
        frozen_eps=saved.frozen_eps,
        preprocessing=saved.preprocessing,
    )


def _backbone(architecture: str, requested: str | None) -> str | None:
    if architecture not in PYRAMIDS.values():
        if requested is not None:
            raise ModelError(
                f"{architecture} has no backbone to choose",
                where="model.backbone",
                cure=f"remove it, or use one of {', '.join(_families(architecture))}",
            )
        return None
    if requested is not None and requested not in BACKBONES:
        raise unknown_name(requested, BACKBONES, "model.backbone", "a backbone")
    return requested or ("resnet18" if architecture == SMALL else "resnet50")


def _families(architecture: str) -> list[str]:
    """Those with a backbone to choose that do what this one does."""
    masks = architecture in MASK_NAMES
    return [name for name in PYRAMIDS if (name in MASK_NAMES) == masks]


def _named_weights(
    architecture: str, backbone: str | None, weights: str
) -> tuple[Path | WeightsEnum | None, bool]:
    """(weights, whether they are the backbone's alone)."""
    if weights == "none":
        return None, False
    if is_file_name(weights):
        return named_file(weights, "model.weights"), False
    if architecture in YOLOX:
        raise ModelError(
            f"no weights of {architecture} can be fetched by name",
            where="model.weights",
            expected="none (a random start) or a file",
            cure="--set model.weights=none, or --set model.weights=FILE.safetensors",
        )
    published = backbone in (None, "resnet50") and architecture != SMALL
    whole = dict(zoo.get_model_weights(architecture).__members__) if published else {}
    below = dict(zoo.get_model_weights(backbone).__members__) if backbone is not None else {}
    if weights == "default":
        # The first published weights of a backbone: those that torchvision's detectors started from.
        return (whole["DEFAULT"], False) if published else (below["IMAGENET1K_V1"], True)
    if weights in whole:
        return whole[weights], False
    if weights in below:
        return below[weights], True
    names = ("default", "none", *whole, *below)
    raise unknown_name(weights, names, f"model.weights of {architecture}", "weights")


def own_preprocessing(architecture: str) -> BoxPreprocessing:
    """What an architecture reads where neither weights nor config say it."""
    if architecture == "ssd300_vgg16":
        # Its VGG was converted from Caffe: pixels minus their mean, not scaled.
        mean, std = (0.48235, 0.45882, 0.40784), (1 / 255,) * 3
    elif architecture == "ssdlite320_mobilenet_v3_large":
        mean, std = (0.5,) * 3, (0.5,) * 3
    elif architecture in YOLOX:  # pixels as they are, from 0 to 255
        mean, std = (0.0,) * 3, (1 / 255,) * 3
    else:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    square = {**FIXED, **YOLOX}.get(architecture)
    return BoxPreprocessing(image_size=square or 800, longest_side=square or 1333, mean=mean, std=std)
