"""Detectors by name: which architecture, which weights, which preprocessing; then the model itself.

The first output of every class score is the background (in RetinaNet and FCOS it means nothing and is never learned):
label i of the data is output i + 1, as torchvision has it. YOLOX has no output for it.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models import WeightsEnum, detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.ssd import SSD
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from ptm.base.seeds import INIT, mix
from ptm.config.model_ref import ModelRef
from ptm.config.spec import DataSpec
from ptm.errors import ConfigError, ModelError, Problem, listing
from ptm.models.weights import SUFFIXES, LoadReport, fit_weights, read_weights
from ptm.vision.downloads import fetch, missing_file
from ptm.vision.models import IMAGENET_MEAN, IMAGENET_STD, is_path, unknown_name
from ptm.vision.saved import FILE, FORMAT, MAX_SIDE, WEIGHTS, read_fields, saved_directory

TASK = "object-detection"
BACKGROUND = "__background__"

# Families on a residual network with a feature pyramid, and the name of torchvision's with ResNet-50.
PYRAMIDS = {
    "fasterrcnn": "fasterrcnn_resnet50_fpn",
    "retinanet": "retinanet_resnet50_fpn",
    "fcos": "fcos_resnet50_fpn",
}
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
_IMPROVED = ("fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2")
# YOLOX through libreyolo (ptm.vision.yolo); the sides of their square inputs in pixels are those of the authors.
YOLOX = {f"libreyolo:yolox-{size}": 416 if size in "nt" else 640 for size in "ntsmlx"}
NAMES = (*PYRAMIDS, *PYRAMIDS.values(), *_IMPROVED, *FIXED, *YOLOX)

# Layers that torchvision's recipes do not train when they start from pre-trained weights.
_STEM = ("backbone.body.conv1.", "backbone.body.bn1.", "backbone.body.layer1.")
_NOT_TRAINED = {
    "ssd300_vgg16": ("backbone.features.0.", "backbone.features.2."),
    "ssdlite320_mobilenet_v3_large": (),
}

# Tensors with a row a class, or (all but bbox_pred) a row an anchor and class.
_CLASS_ROWS = re.compile(
    r"^(roi_heads\.box_predictor\.(?:cls_score|bbox_pred)"
    r"|head\.classification_head\.(?:cls_logits|module_list\.\d+(?:\.1)?)|head\.cls_preds\.\d)\.(?:weight|bias)$"
)
# Names in published files that the current code spells differently; the middle one in RetinaNet only.
_PYRAMID_NAMES = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$")
_RETINANET_NAMES = re.compile(r"^(head\.(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)$")
_PROPOSAL_NAMES = re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$")


@dataclass(frozen=True, kw_only=True)
class BoxPreprocessing:
    """From an RGB image to a detector's input.

    Scale to [0, 1], subtract ``mean``, divide by ``std`` (by channel); resize so that the shorter side is
    ``image_size`` and no side longer than ``longest_side`` (bilinear, without antialiasing), both in pixels.
    SSD resizes both sides to ``image_size``; YOLOX the longer one, in BGR, and pads with grey (114) to a square. All of
    it happens inside the model.
    """

    image_size: int
    longest_side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SavedDetector:
    """The content of ``model.json``. ``backbone`` is None where the architecture has but one.

    ``frozen_eps``: the epsilon of the backbone's frozen batch normalisation; None where it is an ordinary one.
    """

    architecture: str
    backbone: str | None
    frozen_eps: float | None
    labels: tuple[str, ...]
    preprocessing: BoxPreprocessing


@dataclass(frozen=True, kw_only=True)
class DetectorPlan:
    """What a ``model:`` section means."""

    architecture: str
    backbone: str | None
    weights: Path | WeightsEnum | None  # of the whole detector, or of its backbone; None: a random start
    backbone_only: bool
    outputs: (
        tuple[str, ...] | None
    )  # what the outputs of ``weights`` are called, background first, where known
    frozen_eps: float | None  # as in SavedDetector; of a file it is known when the file is read
    preprocessing: BoxPreprocessing


def plan_model(ref: ModelRef) -> DetectorPlan:
    """Resolve names; raises ModelError for what does not exist. Reads no weights and opens no connection."""
    if ref.role == "teacher":
        raise ConfigError(
            "detectors cannot be distilled", where="teacher", cure="remove teacher: and distill:"
        )
    if is_path(ref.name):
        return _plan_saved(ref)
    if ref.name not in NAMES:
        raise unknown_name(ref.name, NAMES, "model.name", "a detector")
    architecture = PYRAMIDS.get(ref.name, ref.name)
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
        preprocessing=_preprocessing(architecture),
    )


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The labels of a detector saved earlier; None for any other name."""
    return read_saved(saved_directory(Path(name).expanduser())).labels if is_path(name) else None


def missing_downloads(ref: ModelRef) -> list[Problem]:
    """The weights that are neither here nor can be fetched: [] when all is well."""
    weights = plan_model(ref).weights
    return missing_file(weights, ref) if isinstance(weights, WeightsEnum) else []


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
            cure=f"remove data.image_size and data.longest_side, or use one of {', '.join(PYRAMIDS)}",
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


def build_model(
    plan: DetectorPlan, labels: tuple[str, ...], *, seed: int, complete: bool
) -> tuple[nn.Module, LoadReport, DetectorPlan]:
    """The detector for ``labels``, on the CPU, and the plan with what its weights turned out to be.

    What is random in it is a function of ``seed``; no other randomness is touched. Where the weights know all labels by
    name, their outputs are kept and put into this order, else the layer that scores classes is new. ``complete``: it
    will be used as it is, so nothing in it may be random.
    """
    if complete and (plan.weights is None or plan.backbone_only):
        raise ModelError(
            f"{plan.architecture} without trained weights of its own has not learned to find anything",
            expected="trained weights",
            cure="use the directory of a finished run, or weights from a file",
        )
    state, where = _read(plan)
    if isinstance(plan.weights, Path) and plan.outputs is None and plan.architecture in PYRAMIDS.values():
        counted = any(
            name.startswith("backbone.body.") and name.endswith("batches_tracked") for name in state
        )
        plan = replace(plan, frozen_eps=None if counted else 0.0)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's of layers that it trains without being asked
        torch.default_generator.manual_seed(mix(seed, INIT))
        model = construct(plan, len(labels))
    if plan.weights is None:
        return model, LoadReport("random start", 0), plan
    _leave_untrained(model, plan)
    if plan.backbone_only:
        new = ("backbone.fpn", "rpn", "roi_heads", "head")
        return model, fit_weights(model, state, new, where, complete=False), plan
    if plan.outputs is not None:
        state = _for_labels(state, plan.outputs, labels, where, complete=complete)
    scores = tuple(match[1] for name in model.state_dict() if (match := _CLASS_ROWS.match(name)))
    return model, fit_weights(model, state, scores, where, complete=complete), plan


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
    two_stage = plan.architecture == PYRAMIDS["fasterrcnn"]
    backbone = resnet_fpn_backbone(
        backbone_name=plan.backbone,
        weights=None,
        norm_layer=norm,
        trainable_layers=5,
        **({} if two_stage else one_stage),
    )
    focal = detection.RetinaNet if plan.architecture == PYRAMIDS["retinanet"] else detection.FCOS
    kind: type[nn.Module] = detection.FasterRCNN if two_stage else focal
    return kind(backbone, **options)


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


def write_saved(directory: Path, saved: SavedDetector, model: nn.Module) -> None:
    content = {
        "format": FORMAT,
        "task": TASK,
        "architecture": saved.architecture,
        "backbone": saved.backbone,
        "frozen_eps": saved.frozen_eps,
        "labels": list(saved.labels),
        **asdict(saved.preprocessing),
        "anchors": _anchors(model),
    }
    (directory / FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_saved(directory: Path) -> SavedDetector:
    """Read and check ``model.json``, whoever wrote it: a value that makes no sense is a ModelError."""
    fields = read_fields(directory, TASK)
    size = fields.whole("image_size", MAX_SIDE)
    return SavedDetector(
        architecture=fields.get("architecture", lambda v: v in NAMES, f"one of {', '.join(NAMES)}"),
        backbone=fields.get(
            "backbone", lambda v: v is None or v in BACKBONES, f"null or one of {', '.join(BACKBONES)}"
        ),
        frozen_eps=fields.get(
            "frozen_eps",
            lambda v: v is None or (isinstance(v, float) and 0 <= v < 1),
            "null or a small number",
        ),
        labels=fields.labels(fewest=1),
        preprocessing=BoxPreprocessing(
            image_size=size,
            longest_side=max(size, fields.whole("longest_side", MAX_SIDE)),
            mean=fields.channels("mean", least=-1000.0, expected="three numbers"),
            std=fields.channels("std", least=1e-6, expected="three positive numbers"),
        ),
    )


def _plan_saved(ref: ModelRef) -> DetectorPlan:
    directory = saved_directory(Path(ref.name).expanduser())
    saved = read_saved(directory)
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


def _backbone(architecture: str, chosen: str | None) -> str | None:
    if architecture not in PYRAMIDS.values():
        if chosen is not None:
            raise ModelError(
                f"{architecture} has no backbone to choose",
                where="model.backbone",
                cure=f"remove it, or use one of {', '.join(PYRAMIDS)}",
            )
        return None
    if chosen is not None and chosen not in BACKBONES:
        raise unknown_name(chosen, BACKBONES, "model.backbone", "a backbone")
    return chosen or "resnet50"


def _named_weights(
    architecture: str, backbone: str | None, weights: str
) -> tuple[Path | WeightsEnum | None, bool]:
    """(weights, whether they are the backbone's alone)."""
    if weights == "none":
        return None, False
    path = Path(weights).expanduser()
    if "/" in weights or path.suffix.lower() in SUFFIXES:
        if not path.exists():
            raise ModelError("there is no such file", where=path, cure="correct model.weights")
        return path, False
    if architecture in YOLOX:
        raise ModelError(
            f"no weights of {architecture} can be fetched by name",
            where="model.weights",
            expected="none (a random start) or a file",
            cure="--set model.weights=none, or --set model.weights=FILE.safetensors",
        )
    published = backbone in (None, "resnet50")
    whole = dict(zoo.get_model_weights(architecture).__members__) if published else {}
    below = dict(zoo.get_model_weights(backbone).__members__) if backbone is not None else {}
    if weights == "default":
        # The first published weights of a backbone: those that torchvision's detectors started from.
        return (whole["DEFAULT"], False) if published else (below["IMAGENET1K_V1"], True)
    if weights in whole:
        return whole[weights], False
    if weights in below:
        return below[weights], True
    known = ("default", "none", *whole, *below)
    raise unknown_name(weights, known, f"model.weights of {architecture}", "weights")


def _preprocessing(architecture: str) -> BoxPreprocessing:
    if (
        architecture == "ssd300_vgg16"
    ):  # its VGG was converted from Caffe: pixels minus their mean, not scaled
        mean, std = (0.48235, 0.45882, 0.40784), (1 / 255,) * 3
    elif architecture == "ssdlite320_mobilenet_v3_large":
        mean, std = (0.5,) * 3, (0.5,) * 3
    elif architecture in YOLOX:  # pixels as they are, from 0 to 255
        mean, std = (0.0,) * 3, (1 / 255,) * 3
    else:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    square = {**FIXED, **YOLOX}.get(architecture)
    return BoxPreprocessing(image_size=square or 800, longest_side=square or 1333, mean=mean, std=std)


def _read(plan: DetectorPlan) -> tuple[Mapping[str, Tensor], str]:
    """Tensors by the names of the current code, and where they come from."""
    if plan.weights is None:
        return {}, ""
    path = fetch(plan.weights.url) if isinstance(plan.weights, WeightsEnum) else plan.weights
    where = str(plan.weights) if isinstance(plan.weights, WeightsEnum) else str(path)
    state = read_weights(path)
    if plan.backbone_only:
        return {f"backbone.body.{n}": t for n, t in state.items() if not n.startswith("fc.")}, where
    return {current_name(plan.architecture, name): tensor for name, tensor in state.items()}, where


def current_name(architecture: str, name: str) -> str:
    """As torchvision spells it now; its own files are older."""
    name = _PYRAMID_NAMES.sub(r"\1.0.\2", name)
    name = _PROPOSAL_NAMES.sub(r"\1.0.0.\2", name)
    if architecture == PYRAMIDS["retinanet"]:
        name = _RETINANET_NAMES.sub(lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}", name)
    return name


def _leave_untrained(model: nn.Module, plan: DetectorPlan) -> None:
    """The lowest layers keep their pre-trained weights, as in torchvision's recipes; `model.freeze` can say more."""
    if plan.weights is None:
        return
    saved_from_scratch = plan.frozen_eps is None and plan.architecture in PYRAMIDS.values()
    prefixes = () if saved_from_scratch else _NOT_TRAINED.get(plan.architecture, _STEM)
    for name, parameter in model.named_parameters():
        if name.startswith(prefixes):
            parameter.requires_grad_(False)


def _for_labels(
    state: Mapping[str, Tensor],
    outputs: tuple[str, ...],
    labels: tuple[str, ...],
    where: str,
    *,
    complete: bool,
) -> Mapping[str, Tensor]:
    """The class scores of these labels, in their order; without them, where one of the labels is not known."""
    named = [name for name in outputs if name != BACKGROUND]
    unknown = [name for name in labels if name not in named]
    if unknown and complete:
        raise ModelError(
            f"the model does not know the label {listing(unknown)}",
            where=where,
            expected=f"labels out of {listing(named)}",
            cure="use a model trained on these labels, or correct data.labels",
        )
    if unknown:
        return {name: tensor for name, tensor in state.items() if not _CLASS_ROWS.match(name)}
    background = [BACKGROUND] if BACKGROUND in outputs else []
    rows = torch.tensor([outputs.index(name) for name in (*background, *labels)])
    return {
        name: _rows(name, tensor, rows, len(outputs)) if _CLASS_ROWS.match(name) else tensor
        for name, tensor in state.items()
    }


def _rows(name: str, tensor: Tensor, rows: Tensor, outputs: int) -> Tensor:
    """[anchors·classes, …] or, of bbox_pred, [classes·4, …], for some of the classes."""
    rest = tensor.shape[1:]
    if tensor.shape[0] % outputs:
        return tensor  # does not fit; fit_weights says so
    if ".bbox_pred." in name:
        return tensor.reshape(outputs, -1, *rest)[rows].reshape(-1, *rest)
    return tensor.reshape(-1, outputs, *rest)[:, rows].reshape(-1, *rest)


def _anchors(model: nn.Module) -> dict[str, Any]:
    """For the record: sizes in pixels of the resized image, or scales relative to it, and aspect ratios."""
    generator: Any = getattr(getattr(model, "rpn", model), "anchor_generator", None)
    if generator is None:  # YOLOX: a cell is an anchor
        return {"strides": [8, 16, 32]}
    sizes = "sizes" if hasattr(generator, "sizes") else "scales"
    return {sizes: getattr(generator, sizes), "aspect_ratios": generator.aspect_ratios}
