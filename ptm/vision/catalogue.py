"""Vision models for ``ptm models``. torchvision states the figures of its models with their weights."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from types import ModuleType

from ptm.base.extras import install
from ptm.models.catalogue import BYTES_A_PARAMETER, Choice, Family
from ptm.models.packages import is_installed
from ptm.vision.packages import PACKAGES

# Percent of CIFAR-10's test images, and parameters of ptm's networks with ten outputs.
_CIFAR: Mapping[str, tuple[int, float | None]] = {
    "resnet8": (75_290, None),
    "resnet14": (172_506, None),
    "resnet20": (269_722, 91.25),
    "resnet32": (464_154, 92.49),
    "resnet44": (658_586, 92.83),
    "resnet56": (853_018, 93.03),
    "resnet110": (1_727_962, 93.57),
}
_SMALL_PARAMETERS = 16_265_329  # of maskrcnn_small on ResNet-18, with COCO's 91 outputs
# Task → the modules of torchvision that have models for it, and how the metric is called there and here.
_METRICS = {
    "image-classification": ("acc@1", "ImageNet-1K top-1 accuracy"),
    "object-detection": ("box_map", "COCO val2017 box mAP"),
    "instance-segmentation": ("mask_map", "COCO val2017 mask mAP"),
    "semantic-segmentation": ("miou", "COCO val2017, VOC classes, mean IoU"),
}


def choices() -> Iterator[Choice]:
    """Networks for small images, and what torchvision has."""
    for name, (parameters, accuracy) in _CIFAR.items():
        yield Choice(
            task="image-classification",
            name=name,
            parameters=parameters,
            file_bytes=BYTES_A_PARAMETER * parameters,
            metric="CIFAR-10 accuracy" if accuracy else "",
            value=accuracy,
            source="arXiv:1512.03385, table 6" if accuracy else "",
        )
    for weights in PACKAGES.values():
        yield Choice(
            task="image-classification",
            name=weights.name,
            parameters=weights.parameters,
            file_bytes=BYTES_A_PARAMETER * weights.parameters,
            giga_operations=weights.giga_operations,
            metric="ImageNet-1K top-1 accuracy",
            value=weights.correct_percent,
            source=weights.source,
            here=is_installed(weights.name),
        )
    for task, names in _names().items():
        key, metric = _METRICS[task]
        for name in names:
            yield _of_torchvision(task, name, key, metric)
    yield from _on_a_backbone()


def _on_a_backbone() -> Iterator[Choice]:
    """Detectors on ``model.backbone``, with the figures of their usual one; those on ResNet-50 are torchvision's."""
    from ptm.vision.detector_plan import MASK_NAMES, PYRAMIDS, SMALL

    for name, usual in PYRAMIDS.items():
        task = "instance-segmentation" if name in MASK_NAMES else "object-detection"
        if name == SMALL:
            size = BYTES_A_PARAMETER * _SMALL_PARAMETERS
            yield Choice(task=task, name=name, parameters=_SMALL_PARAMETERS, file_bytes=size)
        else:
            yield replace(_of_torchvision(task, usual, *_METRICS[task]), name=name)


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    """Task → names of torchvision that ptm can build."""
    from torchvision import models as zoo

    from ptm.vision import detector_plan

    return {
        "image-classification": tuple(zoo.list_models(module=zoo)),
        "object-detection": tuple(
            n for n in zoo.list_models(module=zoo.detection) if n in detector_plan.NAMES
        ),
        "instance-segmentation": tuple(
            n for n in zoo.list_models(module=zoo.detection) if n in detector_plan.MASK_NAMES
        ),
        "semantic-segmentation": tuple(zoo.list_models(module=zoo.segmentation)),
    }


def _of_torchvision(task: str, name: str, key: str, metric: str) -> Choice:
    """What torchvision states of the weights that ``weights: default`` means."""
    from torchvision.models import get_model_weights

    weights = next(iter(get_model_weights(name)), None)
    if weights is None:
        return Choice(task=task, name=name)
    best = type(weights).DEFAULT
    meta = best.meta
    values = [figures[key] for figures in meta["_metrics"].values() if key in figures]
    return Choice(
        task=task,
        name=name,
        parameters=meta["num_params"],
        file_bytes=round(meta["_file_size"] * 1024**2),
        giga_operations=meta["_ops"],
        metric=metric,
        value=values[0] if values else None,
        source=f"torchvision {best}",
    )


def families() -> Iterator[Family]:
    """What is named by a pattern, and whether what it needs is installed."""
    timm = _imported("timm")
    yield Family(
        tasks=("image-classification",),
        pattern="timm:NAME",
        example="timm:resnet18",
        count=len(timm.list_models()) if timm else None,
        missing="" if timm else install("timm"),
    )
    smp = importlib.util.find_spec("segmentation_models_pytorch")
    yield Family(
        tasks=("semantic-segmentation",),
        pattern="smp:NAME",
        example="smp:unet, with model.backbone: resnet18",
        count=_smp_count(),
        missing="" if smp else install("unet"),
    )
    yield Family(
        tasks=("object-detection",),
        pattern="libreyolo:NAME",
        example="libreyolo:yolox-s",
        count=_yolo_count(),
        missing="" if importlib.util.find_spec("libreyolo") else install("yolo"),
    )


def _smp_count() -> int:
    from ptm.vision import segmenter_plan

    return len(segmenter_plan.SMP)


def _yolo_count() -> int:
    from ptm.vision import detector_plan

    return len(detector_plan.YOLOX)


def _imported(package: str) -> ModuleType | None:
    return importlib.import_module(package) if importlib.util.find_spec(package) is not None else None
