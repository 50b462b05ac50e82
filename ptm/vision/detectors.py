"""Detectors as networks: built for the labels of the data, with the weights of their plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.ssd import SSD
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from ptm.base.seeds import INIT, mix
from ptm.errors import ModelError
from ptm.models.backbones import within_backbone
from ptm.models.heads import draw_new_head
from ptm.models.weights import LoadReport, fit_weights
from ptm.vision import efficientnet_names, ssd_backbones
from ptm.vision.backbones import commit_of_weights
from ptm.vision.detector_plan import FIXED, PYRAMIDS, SMALL, TWO_STAGE, YOLOX, DetectorPlan
from ptm.vision.detector_weights import read_detector_weights, scoring_layers, select_labels
from ptm.vision.timm_models import is_timm
from ptm.vision.timm_pyramid import TimmPyramid

# Layers that torchvision's recipes do not train when they start from pre-trained weights.
_STEM = ("backbone.body.conv1.", "backbone.body.bn1.", "backbone.body.layer1.")
_NEW_BOXES_STD = 0.001  # of the weights of new layers that move and scale boxes
# Its loss is that of the worst of thousands of anchors, so that small scores are large losses.
_NEW_SSD_STD = 0.0001
SMALL_ANCHORS = (16, 32, 64, 128, 256)  # sides in pixels of the resized image, from the finest map on
_NOT_TRAINED = {
    "ssd300_vgg16": ("backbone.features.0.", "backbone.features.2."),
    "ssdlite320_mobilenet_v3_large": (),
}


def build_detector(
    plan: DetectorPlan, labels: tuple[str, ...], *, seed: int, complete: bool
) -> tuple[nn.Module, LoadReport, DetectorPlan]:
    """The detector for ``labels``, on the CPU, and the plan with what its weights turned out to be.

    What is random in it is a function of ``seed``; no other randomness is touched. Where the weights know all labels by
    name, their outputs are kept and put into this order, else the layer that scores classes is new. ``complete``: it
    will be used as it is, so nothing in it may be random.
    """
    if complete:
        _require_trained(plan)
    state, where, plan = read_detector_weights(plan, lambda: _sizes(plan, len(labels)))
    if complete:
        _require_trained(plan)  # a file may have turned out to be a backbone's
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's of layers that it trains without being asked
        torch.default_generator.manual_seed(mix(seed, INIT))
        model = construct(plan, len(labels))
    if plan.weights is None:
        _draw_scoring_layers(model, seed)
        return model, LoadReport("random start", 0), plan
    _leave_untrained(model, plan)
    if plan.backbone_only:
        if is_timm(plan.backbone or ""):
            own = model.state_dict()
            named = efficientnet_names.to_timm(state, own)
            state = within_backbone(own, named, ("backbone.body.",)) or named
        new = (
            ssd_backbones.NEW if plan.architecture in FIXED else ("backbone.fpn", "rpn", "roi_heads", "head")
        )
        report = fit_weights(model, state, new, where, complete=False)
    else:
        if plan.outputs is not None:
            state = select_labels(state, plan.outputs, labels, where, complete=complete)
        scores = scoring_layers(model.state_dict())
        report = fit_weights(model, state, scores, where, complete=complete)
    _draw_scoring_layers(model, seed, report.new)
    return model, replace(report, commit=commit_of_weights(plan.weights)), plan


def _sizes(plan: DetectorPlan, labels: int) -> dict[str, torch.Size]:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: tensor.shape for name, tensor in construct(plan, labels).state_dict().items()}


def _require_trained(plan: DetectorPlan) -> None:
    if plan.weights is None or plan.backbone_only:
        raise ModelError(
            f"{plan.architecture} without trained weights of its own has not learned to find anything",
            expected="trained weights",
            cure="use the directory of a finished run, or weights from a file",
        )


def _draw_scoring_layers(model: nn.Module, seed: int, new: Collection[str] | None = None) -> None:
    """New layers above a softmax are drawn to guess, with their boxes (Fast R-CNN, arXiv:1504.08083, section 2.3).

    Those above sigmoids keep the bias of their constructors: an anchor shows an object of a class with a probability of
    0.01 (RetinaNet, arXiv:1708.02002, section 4.1). RetinaNet and FCOS draw the weights small themselves.
    """
    if isinstance(model, detection.FasterRCNN):
        draw_new_head(model, ("roi_heads.box_predictor.cls_score",), seed, new=new)
        draw_new_head(model, ("roi_heads.box_predictor.bbox_pred",), seed, new=new, most=_NEW_BOXES_STD)
        if isinstance(model, detection.MaskRCNN):  # each pixel of a mask is a guess, too
            draw_new_head(model, ("roi_heads.mask_predictor.mask_fcn_logits",), seed, new=new)
    elif isinstance(model, SSD):
        draw_new_head(model, scoring_layers(model.state_dict()), seed, new=new, most=_NEW_SSD_STD)
    elif hasattr(model, "positives"):  # YOLOX
        draw_new_head(model, ("head.cls_preds", "head.obj_preds"), seed, new=new, keep_bias=True)


def construct(plan: DetectorPlan, labels: int) -> nn.Module:
    """The detector with random weights, as torchvision builds it."""
    p = plan.preprocessing
    options: dict[str, Any] = {
        "num_classes": labels + 1,
        "image_mean": list(p.mean),
        "image_std": list(p.std),
    }
    if plan.architecture in YOLOX:
        from ptm.vision.yolo import Yolox

        return Yolox(plan.architecture[-1], labels, p.image_size, p.mean, p.std)
    by_name: Mapping[str, Callable[..., nn.Module]] = detection.__dict__
    if plan.architecture in FIXED:
        return by_name[plan.architecture](weights=None, weights_backbone=None, **options)
    options |= {"min_size": p.image_size, "max_size": p.longest_side}
    if plan.backbone is None:
        return by_name[plan.architecture](weights=None, weights_backbone=None, **options)
    norm = nn.BatchNorm2d if plan.frozen_eps is None else partial(FrozenBatchNorm2d, eps=plan.frozen_eps)
    # Two-stage detectors read all four stages, the others the last three and two more above (arXiv:1708.02002).
    one_stage = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
    two_stage = plan.architecture in TWO_STAGE
    backbone: nn.Module
    if is_timm(plan.backbone):
        backbone = TimmPyramid(plan.backbone, two_stage=two_stage, frozen=plan.frozen_eps is not None)
    else:
        backbone = resnet_fpn_backbone(
            backbone_name=plan.backbone,
            weights=None,
            norm_layer=norm,
            trainable_layers=5,
            **({} if two_stage else one_stage),
        )
    if plan.architecture == SMALL:
        return small_mask_rcnn(backbone, **options)
    kinds: dict[str, type[nn.Module]] = {
        PYRAMIDS["fasterrcnn"]: detection.FasterRCNN,
        PYRAMIDS["maskrcnn"]: detection.MaskRCNN,
        PYRAMIDS["retinanet"]: detection.RetinaNet,
        PYRAMIDS["fcos"]: detection.FCOS,
    }
    return kinds[plan.architecture](backbone, **options)


def small_mask_rcnn(backbone: nn.Module, num_classes: int, **options: Any) -> nn.Module:
    """Mask R-CNN (arXiv:1703.06870) for small images and processors: its heads have an eighth and a quarter of the
    width, its anchors half the size, and its second stage sees 128 regions where the original sees up to 1,000."""
    sizes = tuple((size,) for size in SMALL_ANCHORS)
    model: nn.Module = detection.MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        rpn_pre_nms_top_n_train=256,
        rpn_pre_nms_top_n_test=256,
        rpn_post_nms_top_n_train=128,
        rpn_post_nms_top_n_test=128,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=64,
        box_head=TwoMLPHead(256 * 7 * 7, 128),
        box_predictor=FastRCNNPredictor(128, num_classes),
        mask_head=MaskRCNNHeads(256, (64, 64), 1),
        mask_predictor=MaskRCNNPredictor(64, 64, num_classes),
        **options,
    )
    return model


def head_of(model: nn.Module) -> tuple[str, ...]:
    """Name prefixes of all above the backbone and its pyramid."""
    return tuple(name for name in ("rpn", "roi_heads", "head") if hasattr(model, name))


@contextmanager
def positives_counted(model: nn.Module) -> Iterator[list[int] | None]:
    """While open, a forward pass in training mode leaves the number of anchors that are matched to a box.

    FCOS, SSD and YOLOX divide the loss of a batch by it. None for models that give a mean over images.
    """
    own: Any = getattr(model, "positives", None)
    if own is not None:
        yield own
        return
    owner: Any = model.head if isinstance(model, detection.FCOS) else model
    if not isinstance(model, detection.FCOS | SSD):
        yield None
        return
    counts: list[int] = []
    compute_loss = owner.compute_loss

    def counting(targets: Any, outputs: Any, anchors: Any, matched: list[Tensor]) -> Any:
        counts.append(sum(int((indices >= 0).sum()) for indices in matched))
        return compute_loss(targets, outputs, anchors, matched)

    owner.compute_loss = counting
    try:
        yield counts
    finally:
        del owner.compute_loss


# What gives the numbers of which boxes, scores and masks are made, of the detectors of torchvision and libreyolo.
_GIVING = ("head", "rpn.head", "roi_heads.box_predictor", "roi_heads.mask_predictor")


@contextmanager
def outputs_seen(model: nn.Module) -> Iterator[list[Tensor]]:
    """While open, a forward pass leaves whether all its scores and boxes are finite, bool [] each: those that are not
    are left out of what is detected, as if nothing were there."""
    finite: list[Tensor] = []

    def look(module: nn.Module, inputs: Any, outputs: Any) -> None:
        finite.extend(tensor.isfinite().all() for tensor in _tensors(outputs))

    modules = dict(model.named_modules())
    hooks = [modules[name].register_forward_hook(look) for name in _GIVING if name in modules]
    try:
        yield finite
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    for inner in value.values() if isinstance(value, Mapping) else value:
        yield from _tensors(inner)


def _leave_untrained(model: nn.Module, plan: DetectorPlan) -> None:
    """The lowest layers keep their pre-trained weights, as in torchvision's recipes; `model.freeze` can say more."""
    if plan.weights is None:
        return
    saved_from_scratch = plan.frozen_eps is None and plan.architecture in PYRAMIDS.values()
    prefixes = () if saved_from_scratch else _NOT_TRAINED.get(plan.architecture, _STEM)
    for name, parameter in model.named_parameters():
        if name.startswith(prefixes):
            parameter.requires_grad_(False)


def anchors_of(model: nn.Module) -> dict[str, Any]:
    """For the record: sizes in pixels of the resized image, or scales relative to it, and aspect ratios."""
    generator: Any = getattr(getattr(model, "rpn", model), "anchor_generator", None)
    if generator is None:  # YOLOX: a cell is an anchor
        return {"strides": [8, 16, 32]}
    sizes = "sizes" if hasattr(generator, "sizes") else "scales"
    return {sizes: getattr(generator, sizes), "aspect_ratios": generator.aspect_ratios}
