"""A reference to a model: what a loader needs to know of ``model:`` or ``teacher:``, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ptm.config.model_sections import ShapeSpec

Role = Literal["model", "teacher"]


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model to load, and the part that it plays in a run.

    The fields are the keys of its section of the config; None where the section has no such key or leaves it to the
    loader. ``labels`` are names of the outputs, in their order, for weights that come without (``teacher.labels``).
    """

    role: Role = "model"
    name: str
    weights: str = "default"
    revision: str | None = None
    labels: tuple[str, ...] | None = None
    width: int | None = None
    backbone: str | None = None
    decoder: str | None = None
    layers: str | tuple[int, ...] | None = None
    shape: ShapeSpec | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None
    # What a teacher reads, where it is not what comes with its weights.
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = None
    max_length: int | None = None
    # The network alone, its tensors on torch's "meta" device: the weights are those of an export's graph.
    bare: bool = False

    @property
    def where(self) -> str:
        """As messages call it: ``teacher 'bert-base-uncased'``."""
        return f"{self.role} {self.name!r}"

    def key(self, field: str) -> str:
        """The key of the config that a field comes from: ``teacher.weights``."""
        return f"{self.role}.{field}"
