"""Task ``object-detection``: boxes around objects, and what they are.

The loss is torchvision's, or libreyolo's. What it is a mean over decides the count that the engine divides by, so that
micro-batches add up to the whole batch: images in Faster R-CNN and RetinaNet, matched anchors in FCOS, SSD and YOLOX.
No count mends two things: Faster R-CNN learns from a random sample of anchors and proposals, drawn anew for each
micro-batch; and images of different sizes are padded to the largest of their micro-batch (but not in SSD and YOLOX).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.boxes import load_boxes
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, image_inputs
from ptm.errors import ConfigError, Problem
from ptm.metrics.detection import Boxes, DetectionMetrics
from ptm.models.weights import LoadReport
from ptm.pipeline import Batch, Output, Split
from ptm.training.finite import outputs_not_finite
from ptm.vision import detector_plan, detectors
from ptm.vision.box_views import BoxViewMaker, decode_each, fits_scale, read_header, upright_targets
from ptm.vision.detector_plan import FIXED, YOLOX, DetectorPlan
from ptm.vision.drawing import draw_boxes
from ptm.vision.images import Fits, any_size, check_headers
from ptm.vision.loader import ViewLoader
from ptm.vision.looked_at import headers_read
from ptm.vision.pipeline import ImagePipeline, apply_model, decided_data, laid_out
from ptm.vision.saved import SavedDetector
from ptm.vision.views import MEMORY_LIMIT

TARGETS = ("boxes", "labels", "crowd", "masks")  # of an image; masks of instances alone
DRAWN_SCORE = 0.5  # detections below are not drawn


Detection = TypeVar("Detection", bound="ObjectDetection")


def missing(spec: RunSpec) -> list[Problem]:
    """All that would have to be downloaded and cannot be."""
    return detector_plan.missing_downloads(spec.model.ref())


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    return load_boxes(spec.data, labels=labels, train=train)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The label names that an earlier run wrote down, if ``name`` is one."""
    return detector_plan.stored_labels(name)


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Image files, and folders of them."""
    return image_inputs(paths, left_out=left_out)


def size_check(spec: RunSpec) -> Fits:
    """Which sizes of images the model can be given."""
    return size_check_of(detector_plan.plan_detector(spec.model.ref()), spec)


def size_check_of(plan: DetectorPlan, spec: RunSpec) -> Fits:
    """As :func:`size_check`, of a plan."""
    return _size_check(replace(plan, preprocessing=detector_plan.preprocessing_of(plan, spec.data)))


def _size_check(plan: DetectorPlan) -> Fits:
    square = plan.architecture in FIXED or plan.architecture in YOLOX  # they take any, and leave a pixel
    return any_size if square else fits_scale(plan.preprocessing)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> ObjectDetection:
    """Load the model, and find unreadable images. ``complete`` models must come with their output layer."""
    return build_as(ObjectDetection, spec, data, detector_plan.plan_detector(model), complete)


def build_as(
    kind: type[Detection], spec: RunSpec, data: Dataset, plan: DetectorPlan, complete: bool
) -> Detection:
    """As :func:`build`, of a pipeline of this kind."""
    if spec.data.augment in ("trivial", "randaugment"):
        raise ConfigError(
            f"augment: {spec.data.augment} turns and shears images, which boxes cannot follow",
            where="data.augment",
            expected="none, crop or standard",
        )
    if spec.train.label_smoothing:
        raise ConfigError(
            "the losses of detectors know no label smoothing", where="train.label_smoothing", cure="remove it"
        )
    plan = replace(plan, preprocessing=detector_plan.preprocessing_of(plan, spec.data))
    net, report, plan = detectors.build_detector(plan, data.labels, seed=spec.train.seed, complete=complete)
    pipeline = kind(spec, data, plan, net, report)
    pipeline.effective_data = decided_data(plan.preprocessing)
    pipeline.read_images()
    return pipeline


class ObjectDetection(ImagePipeline):
    """Pipeline of one detector over images with boxes."""

    distillable = False

    def __init__(
        self, spec: RunSpec, data: Dataset, plan: DetectorPlan, model: nn.Module, report: LoadReport
    ) -> None:
        self.model = laid_out(model, spec)
        self.labels = data.labels
        self.head = detectors.head_of(model)
        self.load_report = report
        self._augment = spec.data.augment
        self.input_fingerprint = f"images in their own sizes, augment={self._augment}"
        self.random_views = self._augment != "none"
        self.output_fingerprint = f"{plan.architecture} backbone={plan.backbone} {plan.preprocessing}"
        self._spec = spec
        self._data = data
        self._plan = plan
        self._loaders: dict[Split, ViewLoader] = {}
        self._decoded_bytes: dict[Split, int] = {}

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        """``inputs["images"]``: uint8 [3, height, width] each. ``targets``: ``boxes`` fp32 [k, 4], ``labels`` int64 [k]
        and ``crowd`` bool [k] an image; in training without the crowds, which are not learned."""
        annotated = "boxes" in self._examples(split).columns
        for ids, views in zip(plan, self._loader(split).views(plan, epoch), strict=True):
            images = [torch.from_numpy(pixels).permute(2, 0, 1).contiguous() for pixels, *_ in views]
            targets = [
                {name: torch.from_numpy(part) for name, part in zip(TARGETS, target, strict=False)}
                for _, *target in views
            ]
            yield Batch(ids=ids, inputs={"images": images}, targets=targets if annotated else None)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        """In training mode the loss and its ``parts``, torchvision's by their names there; else what is detected."""
        if not model.training or batch.targets is None:
            return self.evaluate_batch(model, batch)
        # Output 0 is the background.
        targets = [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in batch.targets]
        with detectors.positives_counted(self.model) as positives:
            means = apply_model(model, _floats(batch), targets)
        count = len(batch) if positives is None else max(1, sum(positives))
        parts = {name: mean.float() * count for name, mean in means.items()}
        return Output(
            loss_sum=torch.stack(list(parts.values())).sum(),
            count=count,
            parts={name: part.detach() for name, part in parts.items()},
        )

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """``predictions``: Boxes an image, in the pixels of the image as it was decoded. There is no loss.

        One image at a time: torchvision pads a batch to its largest image, so that what is detected in an image would
        depend on those beside it. Raises NotFinite for scores and boxes that are no numbers.
        """
        # One after the other in floating-point numbers, too: they take four times the bytes of the pixels.
        found: list[Boxes] = []
        for index, image in zip(batch.ids, batch.inputs["images"], strict=True):
            with detectors.outputs_seen(self.model) as finite:
                found.append(self._find(model, image.float() / 255))
            if not all(finite):
                raise outputs_not_finite([int(index)], self)
        return Output(
            loss_sum=torch.zeros((), device=batch.inputs["images"][0].device),
            count=len(batch),
            predictions=found,
        )

    def _find(self, model: nn.Module, image: Tensor) -> Boxes:
        """What is detected in an image, fp32 [3, height, width]."""
        return _detected(model([image])[0])

    def new_metrics(self) -> DetectionMetrics:
        return DetectionMetrics(
            self.labels, difficult=self._spec.data.source.startswith("voc:"), least=self.least_score
        )

    def render_prediction(self, index: int, prediction: Mapping[str, Any]) -> bytes:
        """The image with every box whose score is high enough, its label and its score; white: what is there."""
        rows = zip(prediction["boxes"], prediction["labels"], prediction["scores"], strict=True)
        boxes = [row for row in rows if row[2] >= self._least_drawn]
        truth = prediction.get("target_boxes", ())
        return draw_boxes(self._image("eval", index), boxes, self.labels, truth)

    @property
    def _drawn_on(self) -> Literal["upright", "stored"] | None:
        """A file of YOLO's says no size by which one could tell; programs that write it show photos upright."""
        data = self._spec.data
        return data.boxes or ("upright" if data.source.startswith("yolo:") else None)

    @property
    def _least_drawn(self) -> float:
        return DRAWN_SCORE if self.least_score is None else self.least_score

    @property
    def drawing_note(self) -> str:
        return f"boxes with a score of at least {self._least_drawn:g} (ptm predict --threshold); white: what is there"

    def save_model(self, directory: Path) -> None:
        """``model.safetensors`` and ``model.json``. Without ptm, for a Faster R-CNN from scratch on ResNet-18::

            m = json.loads(Path("model.json").read_text())
            body = resnet_fpn_backbone(backbone_name=m["backbone"], weights=None, norm_layer=torch.nn.BatchNorm2d)
            model = FasterRCNN(body, len(m["labels"]) + 1, m["image_size"], m["longest_side"], m["mean"], m["std"])
            model.load_state_dict(load_file("model.safetensors"))
            found = model.eval()([image / 255])  # label i is m["labels"][i - 1]

        Where ``frozen_eps`` is a number, the backbone's norm is ``FrozenBatchNorm2d`` with that eps. RetinaNet and FCOS
        read ``returned_layers=[2, 3, 4]`` with ``extra_blocks=LastLevelP6P7(256, 256)``; where ``backbone`` is null,
        ``torchvision.models.get_model(m["architecture"], weights=None, weights_backbone=None, num_classes=…)``.
        """
        self._save_weights(directory)
        saved = SavedDetector(
            architecture=self._plan.architecture,
            backbone=self._plan.backbone,
            frozen_eps=self._plan.frozen_eps,
            labels=self.labels,
            preprocessing=self._plan.preprocessing,
        )
        saved.write(directory, detectors.anchors_of(self.model), masks=self._plan.masks)

    def describe(self) -> dict[str, Any]:
        return {
            **{split: self._counted(split) for split in self._splits()},
            "preprocessing": {**asdict(self._plan.preprocessing), "augment": self._augment},
        }

    def _counted(self, split: Split) -> dict[str, Any]:
        columns = self._examples(split).columns
        facts: dict[str, Any] = {
            "examples": self.size(split),
            "decoded_bytes_kept": self._decoded_bytes.get(split, 0),
        }
        if "boxes" in columns:
            classes = np.bincount(np.concatenate(columns["classes"]), minlength=len(self.labels))
            facts |= {
                "boxes_per_label": dict(zip(self.labels, classes.tolist(), strict=True)),
                "boxes_not_learned": int(sum(crowd.sum() for crowd in columns["crowd"])),
                "boxes_without_area_left_out": int(sum(columns["empty"])),
                "examples_without_boxes": sum(len(boxes) == 0 for boxes in columns["boxes"]),
            }
        return facts

    def _kept(self, split: Split) -> bool:
        return bool(self._decoded_bytes.get(split))

    def _read(self, split: Split) -> None:
        """Images of another size than their annotation says are refused, too."""
        self._loader(split)

    def _forget(self) -> None:
        self._loaders, self._decoded_bytes = {}, {}

    def _training_views(self) -> ViewLoader:
        return self._loader("train")

    def _loader(self, split: Split) -> ViewLoader:
        if split in self._loaders:
            return self._loaders[split]
        examples, runtime = self._examples(split), self._spec.runtime
        threads = runtime.threads or torch.get_num_threads()
        images = examples.columns["image"]

        def read() -> list[tuple[int, int, int]]:
            check_headers(images, examples.where, threads, _size_check(self._plan), self._reading.page)
            return [read_header(image, self._reading.page) for image in images]

        fits = f"{self._plan.architecture} {self._plan.preprocessing}"
        headers = headers_read(self._data, split, self._reading, fits, read)
        decoded = None
        self._decoded_bytes[split] = 0
        if 3 * int((headers[:, 0] * headers[:, 1]).sum()) <= MEMORY_LIMIT:
            decoded = decode_each(images, examples.where, threads, self._reading)
            self._decoded_bytes[split] = sum(pixels.nbytes for pixels in decoded)
        training = split == "train"
        view_maker = BoxViewMaker(
            images,
            examples.where,
            upright_targets(examples, headers.tolist(), self._drawn_on),
            self._augment if training else "none",
            self._spec.train.seed,
            decoded,
            learning=training,
            reading=self._reading,
            masks=examples.columns.get("masks"),
        )
        self._loaders[split] = ViewLoader(view_maker, runtime.workers, pin_memory=False)
        return self._loaders[split]


def _floats(batch: Batch) -> list[Tensor]:
    """Images as fp32 [3, height, width] in [0, 1]; mean and std are subtracted and divided in the model."""
    return [pixels.float() / 255 for pixels in batch.inputs["images"]]


def _detected(detections: Mapping[str, Tensor]) -> Boxes:
    """Without what RetinaNet and FCOS may take for the background, which is no object."""
    keep = detections["labels"] > 0
    return Boxes(
        corners=detections["boxes"][keep].float().cpu().numpy(),
        classes=detections["labels"][keep].cpu().numpy() - 1,
        scores=detections["scores"][keep].float().cpu().numpy(),
    )
