"""Task ``object-detection``: boxes around objects, and what they are.

The loss is torchvision's, or libreyolo's. What it is a mean over decides the count that the engine divides by, so that
micro-batches add up to the whole batch: images in Faster R-CNN and RetinaNet, matched anchors in FCOS, SSD and YOLOX.
No count mends two things: Faster R-CNN learns from a random sample of anchors and proposals, drawn anew for each
micro-batch; and images of different sizes are padded to the largest of their micro-batch (but not in SSD and YOLOX).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from ptm.base.seeds import VIEW, mix
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.boxes import load_boxes
from ptm.data.examples import Dataset, Examples
from ptm.data.inputs import Source, image_inputs
from ptm.errors import ConfigError, DataError, Problem, refuse
from ptm.metrics.detection import Boxes, DetectionMetrics
from ptm.models.weights import LoadReport
from ptm.pipeline import Batch, Output, Split
from ptm.vision import detectors
from ptm.vision.detectors import DetectorPlan, SavedDetector
from ptm.vision.images import FORMATS, check_headers, decode
from ptm.vision.models import apply_model
from ptm.vision.pipeline import ImagePipeline, colour, png
from ptm.vision.views import MEMORY_LIMIT, ViewLoader

DRAWN_SCORE = 0.5  # detections below are not drawn
_ORIENTATION = 0x0112  # the EXIF tag


def missing(spec: RunSpec) -> list[Problem]:
    """All that would have to be downloaded and cannot be."""
    return detectors.missing_downloads(spec.model.ref())


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    return load_boxes(spec.data, labels=labels, train=train)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """The label names that an earlier run wrote down, if ``name`` is one."""
    return detectors.stored_labels(name)


def read_inputs(spec: RunSpec, paths: Sequence[Source]) -> Iterator[Examples]:
    """Image files, and folders of them."""
    return image_inputs(paths)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> ObjectDetection:
    """Load the model, and find unreadable images. ``complete`` models must come with their output layer."""
    if spec.data.augment == "trivial":
        raise ConfigError(
            "TrivialAugment turns and shears images, which boxes cannot follow",
            where="data.augment",
            expected="none, crop or standard",
        )
    if spec.train.label_smoothing:
        raise ConfigError(
            "the losses of detectors know no label smoothing", where="train.label_smoothing", cure="remove it"
        )
    plan = detectors.plan_model(model)
    plan = replace(plan, preprocessing=detectors.preprocessing_of(plan, spec.data))
    net, report, plan = detectors.build_model(plan, data.labels, seed=spec.train.seed, complete=complete)
    pipeline = ObjectDetection(spec, data, plan, net, report)
    pipeline.read_images()
    return pipeline


class ObjectDetection(ImagePipeline):
    """Pipeline of one detector over images with boxes."""

    distillable = False

    def __init__(
        self, spec: RunSpec, data: Dataset, plan: DetectorPlan, model: nn.Module, report: LoadReport
    ) -> None:
        self.model = model.to(memory_format=torch.channels_last) if spec.runtime.channels_last else model
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
        self._streams: dict[Split, ViewLoader] = {}
        self._kept_bytes: dict[Split, int] = {}

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        """``inputs["images"]``: uint8 [3, height, width] each. ``targets``: ``boxes`` fp32 [k, 4], ``labels`` int64 [k]
        and ``crowd`` bool [k] an image; in training without the crowds, which are not learned."""
        known = "boxes" in self._examples(split).columns
        for ids, cuts in zip(plan, self._stream(split).cuts(plan, epoch), strict=True):
            images = [torch.from_numpy(pixels).permute(2, 0, 1).contiguous() for pixels, *_ in cuts]
            targets = [
                {
                    "boxes": torch.from_numpy(boxes),
                    "labels": torch.from_numpy(classes),
                    "crowd": torch.from_numpy(crowd),
                }
                for _, boxes, classes, crowd in cuts
            ]
            yield Batch(ids=ids, inputs={"images": images}, targets=targets if known else None)

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
        """``predictions``: Boxes an image, in the pixels of the image as it was decoded. There is no loss."""
        found = model(_floats(batch))
        return Output(
            loss_sum=torch.zeros((), device=batch.inputs["images"][0].device),
            count=len(batch),
            predictions=[_detected(row) for row in found],
        )

    def new_metrics(self) -> DetectionMetrics:
        return DetectionMetrics(self.labels)

    def render_prediction(self, index: int, prediction: Mapping[str, Any]) -> bytes:
        """The image with every box whose score is at least 0.5, its label and its score."""
        from torchvision.utils import draw_bounding_boxes

        pixels = np.array(self._image("eval", index))
        rows = list(zip(prediction["boxes"], prediction["labels"], prediction["scores"], strict=True))
        rows = [row for row in rows if row[2] >= DRAWN_SCORE]
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        if rows:
            image = draw_bounding_boxes(
                image,
                torch.tensor([box for box, _, _ in rows]),
                labels=[f"{label} {score:.2f}" for _, label, score in rows],
                colors=[colour(self.labels.index(label)) for _, label, _ in rows],
                width=max(1, round(min(pixels.shape[:2]) / 200)),
            )
        return png(Image.fromarray(image.permute(1, 2, 0).numpy()))

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
        detectors.write_saved(directory, saved, self.model)

    def describe(self) -> dict[str, Any]:
        return {
            **{split: self._counted(split) for split in self._splits()},
            "preprocessing": {**asdict(self._plan.preprocessing), "augment": self._augment},
        }

    def _counted(self, split: Split) -> dict[str, Any]:
        columns = self._examples(split).columns
        facts: dict[str, Any] = {
            "examples": self.size(split),
            "decoded_bytes_kept": self._kept_bytes.get(split, 0),
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

    def _read(self, split: Split) -> None:
        """Images of another size than their annotation says are refused, too."""
        self._stream(split)

    def _forget(self) -> None:
        self._streams, self._kept_bytes = {}, {}

    def _stream(self, split: Split) -> ViewLoader:
        if split in self._streams:
            return self._streams[split]
        examples, runtime = self._examples(split), self._spec.runtime
        threads = runtime.threads or torch.get_num_threads()
        images = examples.columns["image"]
        check_headers(images, examples.where, threads)
        headers = [_header(image) for image in images]
        kept = None
        self._kept_bytes[split] = 0
        if 3 * sum(width * height for width, height, _ in headers) <= MEMORY_LIMIT:
            kept = _decode_all(images, examples.where, threads)
            self._kept_bytes[split] = sum(pixels.nbytes for pixels in kept)
        training = split == "train"
        view_maker = BoxViewMaker(
            images,
            examples.where,
            _upright_targets(examples, headers),
            self._augment if training else "none",
            self._spec.train.seed,
            kept,
            learning=training,
        )
        self._streams[split] = ViewLoader(view_maker, runtime.workers, pin_memory=False)
        return self._streams[split]


Target = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes fp32 [k, 4], classes int64 [k], crowd bool [k]


@dataclass(frozen=True)
class BoxViewMaker:
    """Epoch and ids to views: for each id pixels uint8 [height, width, 3] and its target.

    A training view is a pure function of (seed, epoch, id). ``learning``: leave crowds out.
    """

    images: Sequence[Any]
    where: Callable[[int], str]
    targets: Sequence[Target]
    augment: str
    seed: int
    kept: Sequence[np.ndarray] | None
    learning: bool

    @property
    def cheap(self) -> bool:
        return self.kept is not None and self.augment == "none"

    def __call__(self, epoch: int, ids: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        return [self._view(epoch, index) for index in ids.tolist()]

    def _view(self, epoch: int, index: int) -> tuple[np.ndarray, ...]:
        boxes, classes, crowd = self.targets[index]
        if self.learning:
            boxes, classes, crowd = boxes[~crowd], classes[~crowd], crowd[~crowd]
        if self.kept is None:
            pixels = np.array(decode(self.images[index], self.where(index)))
        else:
            pixels = self.kept[index]
        if self.augment != "none":
            pixels, boxes, classes = self._random(pixels, boxes, classes, mix(self.seed, VIEW, epoch, index))
            crowd = np.zeros(len(classes), dtype=bool)
        return pixels, boxes, classes, crowd

    def _random(
        self, pixels: np.ndarray, boxes: np.ndarray, classes: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Half of them mirrored; ``crop``: first a part of the image that overlaps the objects more or less (SSD,
        arXiv:1512.02325, 2.2). torchvision draws from torch's global generator, which is put back."""
        image = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))
        target = {
            "boxes": tv_tensors.BoundingBoxes(
                torch.from_numpy(boxes), format="XYXY", canvas_size=image.shape[-2:]
            ),
            "labels": torch.from_numpy(classes),
        }
        steps: list[nn.Module] = [v2.RandomHorizontalFlip()]
        if self.augment == "crop" and len(boxes):  # a part is chosen by what it leaves of the boxes
            steps = [v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(), *steps]
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: that would reseed the GPU as well, in the middle of a run.
            torch.default_generator.manual_seed(seed)
            image, target = v2.Compose(steps)(image, target)
        corners = target["boxes"].as_subclass(Tensor)
        return image.permute(1, 2, 0).numpy(), corners.numpy(), target["labels"].numpy()


def upright(boxes: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Boxes [k, 4] on the stored pixels, of ``size`` (width, height), where they come to stand when the image is turned
    as its EXIF ``orientation`` (1 to 8, anything else means 1) says."""
    width, height = size
    x, y = boxes[:, [0, 2]], boxes[:, [1, 3]]
    if orientation in (2, 3, 7, 8):
        x = width - x[:, ::-1]
    if orientation in (3, 4, 6, 7):
        y = height - y[:, ::-1]
    if orientation in (5, 6, 7, 8):
        x, y = y, x
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)


def _upright_targets(examples: Examples, headers: Sequence[tuple[int, int, int]]) -> list[Target]:
    """Boxes refer to the stored pixels, or to the upright image if the annotation gives its size. Raises DataError
    where it gives neither's."""
    columns = examples.columns
    if "boxes" not in columns:
        none = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
        return [none] * len(examples)
    targets: list[Target] = []
    problems: list[Problem] = []
    for index, (width, height, orientation) in enumerate(headers):
        boxes, said = columns["boxes"][index], tuple(columns["size"][index])
        if said == (width, height):
            boxes = upright(boxes, said, orientation)
        elif orientation < 5 or said != (height, width):
            problems.append(
                Problem(
                    f"the image has {width}x{height} pixels, its annotation says {said[0]}x{said[1]}",
                    examples.where(index),
                    "the same size in both, or boxes may be at the wrong places",
                    "correct the annotation or replace the image",
                )
            )
        targets.append((boxes, columns["classes"][index], columns["crowd"][index]))
    refuse(problems, noun="images")
    return targets


def _header(path: Path) -> tuple[int, int, int]:
    """Width and height as stored, and the EXIF orientation."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            return image.width, image.height, orientation if orientation in range(1, 9) else 1
    except Exception as error:  # a hostile or broken file can raise anything; none of it is a bug of ours
        raise DataError(
            f"its EXIF data cannot be read: {error}", where=path, cure="replace the image"
        ) from None


def _decode_all(images: Sequence[Any], where: Callable[[int], str], threads: int) -> list[np.ndarray]:
    """uint8 [height, width, 3] each; DataError names the unreadable ones."""

    def pixels(row: int) -> np.ndarray | tuple[Problem, ...]:
        try:
            return np.array(decode(images[row], where(row)))
        except DataError as error:
            return error.problems

    with ThreadPoolExecutor(threads) as pool:  # closed again before any worker process is forked
        results = list(pool.map(pixels, range(len(images))))
    problems = (problem for result in results if isinstance(result, tuple) for problem in result)
    refuse(problems, noun="images")
    return [result for result in results if isinstance(result, np.ndarray)]


def _floats(batch: Batch) -> list[Tensor]:
    """Images as fp32 [3, height, width] in [0, 1]; mean and std are subtracted and divided in the model."""
    return [pixels.float() / 255 for pixels in batch.inputs["images"]]


def _detected(found: Mapping[str, Tensor]) -> Boxes:
    """Without what RetinaNet and FCOS may take for the background, which is no object."""
    keep = found["labels"] > 0
    return Boxes(
        corners=found["boxes"][keep].float().cpu().numpy(),
        classes=found["labels"][keep].cpu().numpy() - 1,
        scores=found["scores"][keep].float().cpu().numpy(),
    )
