"""Segmentation networks by name: torchvision's, and those of segmentation-models-pytorch (``smp:unet``).

As in :mod:`ptm.vision.classifier_plan`: which architecture, which weights, which preprocessing; nothing is read but a
small JSON file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from torchvision import models as zoo
from torchvision.models import WeightsEnum

from ptm.base.extras import install
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset
from ptm.errors import ModelError, Problem
from ptm.models.weights import is_file_name
from ptm.vision import timm_models
from ptm.vision.backbones import BackboneWeights, is_timm_backbone, missing_backbone, plan_backbone
from ptm.vision.names import IMAGENET_MEAN, IMAGENET_STD, is_path, named_weights, unknown_name
from ptm.vision.preprocessing import MaskPreprocessing
from ptm.vision.saved import WEIGHTS, SavedSegmenter, read_segmenter, saved_directory
from ptm.vision.timm_models import is_timm

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


@dataclass(frozen=True, kw_only=True)
class SegmenterPlan:
    """What a ``model:`` section means."""

    architecture: str
    backbone: str | None  # the encoder of an smp: network
    weights: BackboneWeights | None  # None: a random start
    weights_of_backbone: bool  # whether they are those of a classifier, for the backbone alone
    labels: tuple[str, ...] | None  # names of the outputs that the weights come with
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    saved: SavedSegmenter | None = None  # what an earlier run wrote down
    bare: bool = False  # as of ModelRef


def plan_segmenter(ref: ModelRef) -> SegmenterPlan:
    """Resolve names; raises ModelError for what does not exist. Reads no weights and opens no connection."""
    if is_path(ref.name):
        return _plan_saved(ref)
    if ref.name in SMP and is_timm_backbone(ref.backbone):
        return _plan_timm_backbone(ref)
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
    return read_segmenter(saved_directory(Path(name).expanduser())) if is_path(name) else None


def missing_downloads(ref: ModelRef) -> list[Problem]:
    """The weights that are neither here nor can be fetched: [] when all is well."""
    return missing_backbone(plan_segmenter(ref).weights, ref)


def _plan_saved(ref: ModelRef) -> SegmenterPlan:
    directory = saved_directory(Path(ref.name).expanduser())
    saved = read_segmenter(directory)
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
        bare=ref.bare,
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


def _plan_timm_backbone(ref: ModelRef) -> SegmenterPlan:
    """Above a network of timm. Weights from a file are those of the backbone, as all that have a name are."""
    smp_package()
    backbone, weights = plan_backbone(ref)
    timm_models.construct_body(backbone, ref.key("backbone"))
    preset = timm_models.preprocessing_of(backbone)
    return SegmenterPlan(
        architecture=ref.name,
        backbone=backbone,
        weights=weights,
        weights_of_backbone=weights is not None,
        labels=None,
        image_size=_SMP_IMAGE_SIZE,
        mean=preset.mean,
        std=preset.std,
    )


def _file_or_none(ref: ModelRef, name: str, backbone: str | None = None) -> Path | WeightsEnum | None:
    """Weights of a whole network from a file, none, or, for a residual backbone, torchvision's of that backbone."""
    weights = ref.weights
    residual = backbone in zoo.list_models(module=zoo) and (backbone or "").startswith("resne")
    file = is_file_name(weights)
    if residual or weights == "none" or file:
        return named_weights(backbone if residual and backbone else "resnet18", weights, ref.role)
    raise ModelError(
        f"no weights {weights!r} of {name}" + (f" with the backbone {backbone}" if backbone else ""),
        where=ref.key("weights"),
        expected="none (a random start), a file, or a backbone that torchvision has weights for: resnet18, resnet50",
        cure=f"--set {ref.role}.weights=none, or --set {ref.role}.backbone=resnet18",
    )


def _require_encoder(backbone: str, where: str) -> None:
    if is_timm(backbone):
        timm_models.require_known(backbone, where)
        return
    known = tuple(smp_package().encoders.encoders)
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


def smp_package() -> ModuleType:
    try:
        import segmentation_models_pytorch
    except ImportError:
        raise ModelError(
            "smp: networks need the package segmentation-models-pytorch, which is not installed",
            where="model.name",
            cure=f"{install('unet')}, or use a network of torchvision: deeplabv3_mobilenet_v3_large",
        ) from None
    module: ModuleType = segmentation_models_pytorch
    return module


def preprocessing_of(
    plan: SegmenterPlan, spec: RunSpec, data: Dataset, model: ModelRef, *, complete: bool
) -> MaskPreprocessing:
    """What ``data:`` says, else what the network comes with. A teacher sees what its student sees, for their pixels are
    compared one by one, but has a mean and std of its own; a trained network keeps its scale."""
    section = spec.data
    masks = data.eval.columns.get("mask")
    if masks is not None:
        values = masks[0].values
    elif plan.saved is not None:
        by_label = dict(zip(plan.saved.labels, plan.saved.preprocessing.mask_values, strict=True))
        same_names = set(by_label) == set(data.labels)
        values = (
            tuple(by_label[name] for name in data.labels)
            if same_names
            else plan.saved.preprocessing.mask_values
        )
    else:
        values = tuple(range(len(data.labels)))
    own = MaskPreprocessing(
        image_size=section.image_size or plan.image_size,
        whole=section.augment == "none",
        mean=section.mean or plan.mean,
        std=section.std or plan.std,
        mask_values=values,
    )
    if model.role == "teacher":
        student_ref = spec.model.ref()
        student_plan = plan_segmenter(student_ref)
        student = preprocessing_of(student_plan, spec, data, student_ref, complete=False)
        return replace(student, mean=model.mean or plan.mean, std=model.std or plan.std)
    return replace(own, whole=plan.saved.preprocessing.whole) if complete and plan.saved is not None else own
