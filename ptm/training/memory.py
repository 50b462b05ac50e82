"""Out of memory, as one message that names what was too large: the images, the texts, the classes, or the model."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ptm.errors import ModelError, OutOfMemory
from ptm.pipeline import Batch, Pipeline

OTHER_MODEL = "a smaller model, model.adapter, or model.freeze: backbone"
_FLOAT = 4  # bytes
# In all of torch's and numpy's messages: the bytes of the one tensor that there was no room for.
_ASKED = re.compile(
    r"(?:[Tt]ried to allocate|[Uu]nable to allocate) (?P<size>[\d.]+) ?(?P<unit>bytes|[KMGTPE]iB)"
)
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# The last is oneDNN's, whose kernels are programs that it writes into pages of their own.
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|could not create a primitive$", re.IGNORECASE
)
_PER_PIXEL = 64  # channels that a first convolution makes of a pixel, at half the height and width, and their gradients
_PER_TOKEN = 16  # tensors of a token's width in a layer that wait for the backward pass


@dataclass(frozen=True)
class Part:
    """Something that takes memory, about how much (bytes), and what makes it smaller."""

    what: str
    bytes: float
    cure: str


def recompute_layers(
    model: Any, where: str, entered: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> None:
    """Let the layers of a model of transformers keep only their inputs, in training (arXiv:1604.06174).

    ``entered`` makes what is to be entered while they are computed again, besides torch's own autocast.

    Dropout draws the same again, so that the gradients of an encoder are the same bits; a decoder then keeps no keys
    and values, which rounds otherwise. Raises ModelError for a model without it.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ModelError(
            "this model cannot compute its layers again",
            where=where,
            cure="remove train.gradient_checkpointing; train.micro_batch_size saves memory too",
        )
    # It tells of each decoder that keys and values are not kept; in training nobody asked for them.
    logging.getLogger("transformers.modeling_layers").setLevel(logging.ERROR)
    how = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), entered())}
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)


def is_out_of_memory(error: BaseException) -> bool:
    """Also where torch says so in a RuntimeError, as it does on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return type(error) is RuntimeError and _NO_MEMORY.search(str(error)) is not None


def asked_bytes(error: BaseException) -> float | None:
    """How many bytes there was no room for, where the message says it."""
    match = _ASKED.search(str(error))
    return float(match["size"]) * 1024 ** _UNITS.index(match["unit"]) if match else None


@contextmanager
def memory_errors(what: str, cure: str) -> Iterator[None]:
    """Whatever runs out of memory inside becomes OutOfMemory: ``what`` did not fit, and what to do about it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(error, what, "", cure) from error


@contextmanager
def batch_memory(
    pipeline: Pipeline, batch: Batch, batch_key: str, *, training: bool = False
) -> Iterator[None]:
    """The same for a batch in a model. ``batch_key`` is what sets how many examples it has."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        largest = max(parts(pipeline, batch, training=training), key=lambda part: part.bytes)
        n = len(batch)
        same = " (the batch stays the same)" if batch_key == "train.micro_batch_size" else ""
        fewer = [f"{batch_key}={n // 2}{same}"] if n > 1 else []
        cures = [largest.cure, *fewer] if largest.what.startswith("the model") else [*fewer, largest.cure]
        raise _out_of_memory(
            error,
            f"a batch of {n} does not fit",
            f"most of it is for {largest.what}, about {shown(largest.bytes)}",
            ", or ".join(cures),
        ) from error


def _out_of_memory(error: BaseException, what: str, where: str, cure: str) -> OutOfMemory:
    size_bytes = asked_bytes(error)
    size = f"; {shown(size_bytes)} were asked for at once" if size_bytes else ""
    return OutOfMemory(f"out of memory: {what}{size}", where=where, cure=cure)


def parts(pipeline: Pipeline, batch: Batch, *, training: bool) -> list[Part]:
    """What takes memory when this batch is in the model, in rough numbers, which are only compared."""
    model, classes = pipeline.model, len(pipeline.labels)
    copies = 4 if training else 1  # with gradients and the optimizer's two moments
    weights = sum(p.numel() for p in model.parameters())
    parts_list = [
        Part(
            f"the model, {weights:,} parameters" + (" with gradients and the optimizer's state" * training),
            _FLOAT * copies * weights,
            OTHER_MODEL if training else "a smaller model",
        )
    ]
    images = [
        tensor for tensor in _tensors(batch.inputs) if tensor.ndim >= 3 and not tensor.is_floating_point()
    ]
    pixels = sum(tensor.numel() // 3 for tensor in images)
    if pixels:
        height, width = max((tuple(image.shape[-2:]) for image in images), key=lambda size: size[0] * size[1])
        parts_list.append(
            Part(
                f"images of {height} x {width} pixels",
                _FLOAT * _PER_PIXEL * pixels * (2 if training else 1),
                "a smaller data.image_size, or leave out or cut the largest images",
            )
        )
    texts = [
        tensor for tensor in _tensors(batch.inputs) if tensor.ndim == 2 and not tensor.is_floating_point()
    ]
    if texts and not pixels:
        parts_list += _of_texts(model, max(texts, key=Tensor.numel), training=training)
    rows = (
        len(batch) if pipeline.per_example else pixels or max((t.numel() for t in texts), default=len(batch))
    )
    if classes:
        parts_list.append(
            Part(
                f"{classes:,} classes" + ("" if pipeline.per_example else f" for each of {rows:,} places"),
                _FLOAT * rows * classes * (3 if training else 1),
                "fewer classes",
            )
        )
    return parts_list


def _of_texts(model: Any, ids: Tensor, *, training: bool) -> list[Part]:
    """The tokens [n, length] in the layers of the model, and its outputs if these are words."""
    config = getattr(model, "config", None)
    width, layers, heads, words = (
        int(getattr(config, name, None) or 1)
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    )
    n, length = ids.shape
    held = layers if training else 1
    parts_list = [
        Part(
            f"texts of {length:,} tokens",
            _FLOAT * held * (_PER_TOKEN * n * length * width + n * heads * length**2),
            "a smaller data.max_length",
        )
    ]
    outputs = getattr(model, "get_output_embeddings", lambda: None)()
    if outputs is not None:
        parts_list.append(
            Part(
                f"a vocabulary of {words:,} words for each of {n * length:,} tokens",
                _FLOAT * n * length * words * (3 if training else 1),
                "a smaller data.max_length, or a model with a smaller vocabulary",
            )
        )
    return parts_list


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [tensor for each in inner for tensor in _tensors(each)]


def shown(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
