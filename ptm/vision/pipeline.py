"""What all pipelines over images have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ptm.base.console import Reporter
from ptm.config.spec import RunSpec
from ptm.data.arrow import select
from ptm.data.examples import Dataset, Examples
from ptm.data.image_reading import ImageReading
from ptm.errors import Gathered, ModelError, Problem
from ptm.pipeline import Pipeline, Split
from ptm.vision.drawing import png
from ptm.vision.images import decode, few_bits, find_unreadable
from ptm.vision.loader import ViewLoader
from ptm.vision.looked_at import WORTH_KEEPING, looked_at
from ptm.vision.saved import WEIGHTS

_LOOKED_AT = 8  # images of a split that are examined for unused bits
_THUMBNAIL = 128  # pixels, the longer side


class ImagePipeline(Pipeline):
    """Examples with a column ``image``; a model whose weights are saved as they are."""

    _spec: RunSpec
    _mean: Tensor
    _std: Tensor
    _permutation: Tensor | None = None

    def size(self, split: Split) -> int:
        return len(self._examples(split))

    def example(self, split: Split, index: int) -> dict[str, Any]:
        """A thumbnail as PNG bytes, and where the image is."""
        image = self._image(split, index)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return {"image_png": png(image), "where": self._examples(split).where(index)}

    def named_example(self, split: Split, index: int) -> dict[str, Any]:
        return {"where": self._examples(split).where(index)}

    def with_examples(self, examples: Examples) -> Self:
        other = copy(self)
        other._data = Dataset(None, examples, self.labels, {})
        other._forget()
        return other

    def evaluating(self, examples: Examples) -> Self:
        other = self.with_examples(examples)
        other.read_images()
        return other

    def read_images(self) -> None:
        """Open, and where they fit decode, the images of all splits; DataError names those that do not fit."""
        gathered = Gathered()
        for split in self._splits():
            with gathered.of():
                self._read(split)
        gathered.refuse()

    def unreadable_inputs(self, reporter: Reporter, rank: int, ranks: int) -> list[Problem]:
        """Of the images that training decodes again and again, those that cannot be decoded whole; every process looks
        at its share. Warns of pictures that come out nearly black."""
        problems: list[Problem] = []
        for split in self._splits():
            examples = self._examples(split)
            images = examples.columns["image"]
            if rank == 0:
                warn_of_few_bits(images, examples.where, reporter, self._reading)
            if self._kept(split):
                continue  # decoded already
            rows = range(rank, len(images), ranks)
            looked, begun = looked_at(self._data, split, rows, self._reading), time.perf_counter()
            if looked.done:
                continue
            reporter.begin(f"decoding {split} images", len(rows))
            found = find_unreadable(
                images if len(rows) == len(images) else select(images, rows),
                lambda i, rows=rows, where=examples.where: where(rows[i]),  # type: ignore[misc]
                self._spec.runtime.threads or torch.get_num_threads(),
                lambda done: reporter.advance(done, "each whole, once"),
                reading=self._reading,
            )
            reporter.end()
            problems += found
            if not found and time.perf_counter() - begun > WORTH_KEEPING:
                looked.keep({"images": "decoded whole", "split": split, "data": self._spec.data.source})
        return problems

    def set_workers(self, workers: int) -> bool:
        return self._training_views().set_workers(workers)

    @abstractmethod
    def _training_views(self) -> ViewLoader:
        """What makes the views that are learned from."""

    @abstractmethod
    def _kept(self, split: Split) -> bool:
        """Whether all images of a split were decoded, and are kept."""

    @abstractmethod
    def _read(self, split: Split) -> object:
        """Make ready the images of a split, if they are not yet; DataError names all that cannot be used."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what was read, in favour of other examples. Other copies of this pipeline keep it."""

    @property
    def _reading(self) -> ImageReading:
        return ImageReading.of(self._spec.data)

    def _splits(self) -> list[Split]:
        return ["eval"] if self._data.train is None else ["train", "eval"]

    def _image(self, split: Split, index: int) -> Image.Image:
        examples = self._examples(split)
        return decode(examples.columns["image"][index], examples.where(index), reading=self._reading)

    def _set_normalisation(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.reads = "mean {}, std {}".format(
            *(", ".join(f"{v:g}" for v in values) for values in (mean, std))
        )
        self._mean = torch.tensor(mean).view(1, 3, 1, 1)
        self._std = torch.tensor(std).view(1, 3, 1, 1)

    def _normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [n, 3, h, w] to fp32, in the order of operations of torchvision's presets and the run's layout."""
        if self._mean.device != pixels.device:
            self._mean, self._std = self._mean.to(pixels.device), self._std.to(pixels.device)
        layout = torch.channels_last if self._spec.runtime.channels_last else torch.contiguous_format
        return pixels.to(torch.float32, memory_format=layout).div_(255).sub_(self._mean).div_(self._std)

    def _apply(self, model: Callable[..., Any], pixels: Tensor) -> Any:
        """What the model makes of uint8 [n, 3, h, w]."""
        return apply_model(model, self._normalise(pixels))

    def _set_order(self, permutation: np.ndarray | None) -> None:
        """Which output stands for each label of the data; None: they are in order."""
        self._permutation = None if permutation is None else torch.from_numpy(permutation)

    def _in_data_order(self, logits: Tensor, dim: int) -> Tensor:
        """fp32, its classes (along ``dim``) as the data number them."""
        logits = logits.float()
        if self._permutation is None:
            return logits
        if self._permutation.device != logits.device:
            self._permutation = self._permutation.to(logits.device)
        return logits.index_select(dim, self._permutation)

    def _save_weights(self, directory: Path) -> None:
        from safetensors.torch import save

        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        # Not save_file: of a full disk it tells in an exception of its own.
        (directory / WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))


def decided_data(preprocessing: object) -> dict[str, Any]:
    """What the weights decided of ``data:`` where it says nothing."""
    keys = ("image_size", "longest_side", "mean", "std", "mask_values")
    return {key: getattr(preprocessing, key) for key in keys if hasattr(preprocessing, key)}


def warn_of_few_bits(
    images: Sequence[Any], where: Callable[[int], str], reporter: Reporter, reading: ImageReading
) -> None:
    """Of some of the images, whether they are pictures of 16 bits that use few of them, and nobody says which."""
    if reading.limits is not None:
        return
    step = max(1, len(images) // _LOOKED_AT)
    for row in range(0, len(images), step):
        highest = few_bits(images[row], reading.page)
        if highest is not None:
            reporter.say(
                f"warning: {where(row)} has 16 bits a pixel, and no value above {highest}: read as a fraction of "
                "65,535 it is nearly black. Say which value is white, of 12 bits data.image_range: [0, 4095]"
            )
            return


def laid_out(model: nn.Module, spec: RunSpec) -> nn.Module:
    """``model``, its weights as ``runtime.channels_last`` wants them. On a CPU the images alone decide the layout of
    convolutions, whose weights oneDNN copies in any case, and the optimizer reads weights faster as they are."""
    on_gpu = spec.runtime.device != "cpu" and torch.cuda.is_available()
    return model.to(memory_format=torch.channels_last) if on_gpu and spec.runtime.channels_last else model


def apply_model(model: Callable[..., Any], *inputs: Any) -> Any:
    """``model(*inputs)``; ModelError where a batch norm is to learn from a single value."""
    try:
        return model(*inputs)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ModelError(
            "a training batch of one image cannot pass this model's batch normalisation",
            where="train.batch_size",
            expected="at least two images in every forward pass, the last one of an epoch included",
            cure="choose another batch_size, micro_batch_size or data.max_train_examples, or a larger image_size",
        ) from None
