"""Which features a distillation compares, layer by layer, and the projections it learns for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ptm.base.seeds import INIT, mix
from ptm.config.spec import DistillSpec
from ptm.distill import feature_losses
from ptm.errors import ConfigError
from ptm.pipeline import Pipeline

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Features:
    """The comparison that ``distill.features`` names. Called with outputs by name and the student's mask."""

    kind: str
    pairs: Pairs  # (student layer, teacher layer)
    heads: int
    module: nn.Module | None  # projections, by the student's layer

    @property
    def student_features(self) -> tuple[str, ...]:
        return requested_features(self.kind, [pair[0] for pair in self.pairs])

    @property
    def teacher_features(self) -> tuple[str, ...]:
        return requested_features(self.kind, [pair[1] for pair in self.pairs])

    def __call__(
        self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], mask: Tensor | None
    ) -> Tensor:
        """The sum over examples; over layers, where several are compared, it is the mean."""
        if self.kind == "relational":
            return feature_losses.relational_loss(student["pooled"], teacher["pooled"])
        terms = [self._layer(k, j, student, teacher, mask) for k, j in self.pairs]
        return torch.stack(terms).mean()

    def _layer(
        self,
        k: int,
        j: int,
        student: Mapping[str, Tensor],
        teacher: Mapping[str, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        if self.kind == "attention":
            return feature_losses.attention_transfer_loss(student[f"hidden.{k}"], teacher[f"hidden.{j}"])
        if self.kind == "cosine":
            return feature_losses.cosine_loss(student[f"hidden.{k}"], teacher[f"hidden.{j}"], mask)
        if self.kind == "minilm":
            relations = [
                feature_losses.relation_loss(
                    student[f"{part}.{k}"].flatten(2).float(),
                    teacher[f"{part}.{j}"].flatten(2).float(),
                    self.heads,
                    mask,
                )
                for part in ("query", "key", "value")
            ]
            return torch.stack(relations).sum()
        hint = feature_losses.hint_loss(
            self._project(k, student[f"hidden.{k}"]), teacher[f"hidden.{j}"], mask
        )
        if self.kind == "hidden" or k == 0:
            return hint
        scores = [
            feature_losses.attention_scores(x[f"query.{layer}"].float(), x[f"key.{layer}"].float())
            for x, layer in ((student, k), (teacher, j))
        ]
        return hint + feature_losses.score_loss(scores[0], scores[1], mask)

    def _project(self, layer: int, x: Tensor) -> Tensor:
        assert isinstance(self.module, nn.ModuleDict)
        projected: Tensor = self.module[str(layer)](x)
        return projected.float()


def requested_features(kind: str, layers: Sequence[int]) -> tuple[str, ...]:
    """Names of the features that a kind of comparison needs of these layers."""
    if kind == "relational":
        return ("pooled",)
    if kind == "minilm":
        return tuple(f"{part}.{k}" for k in layers for part in ("query", "key", "value"))
    names = [f"hidden.{k}" for k in layers]
    if kind == "tinybert":
        names += [f"{part}.{k}" for k in layers if k > 0 for part in ("query", "key")]
    return tuple(names)


def layer_pairs(kind: str, pairs: Pairs | None, student: int, teacher: int) -> Pairs:
    """(student layer, teacher layer), counted from 1; 0 are the embeddings, which TinyBERT compares as well. ``pairs``
    are those of the config.

    By default the student's k-th of S layers goes with the teacher's round(k · T / S)-th: evenly spread, last to
    last. MiniLM and the cosine compare the last layers, and nothing else.
    """
    if kind in ("minilm", "cosine"):
        return ((student, teacher),)
    if kind == "relational":
        return ()
    if pairs is not None:
        return pairs
    spread = tuple((k, round(k * teacher / student)) for k in range(1, student + 1))
    return ((0, 0), *spread) if kind == "tinybert" else spread


def build_features(
    spec: DistillSpec, student: Pipeline, teacher: Pipeline, *, seed: int, device: torch.device
) -> Features | None:
    """The comparison of these two models; None when no features are to be compared.

    Raises ConfigError, naming the method, when one of the models cannot give what it needs.
    """
    kind = spec.features
    if kind == "none":
        return None
    where = f"distill.features: {kind}"
    counts = [_layers(p.feature_names) for p in (student, teacher)]
    if kind != "relational" and 0 in counts:
        raise ConfigError("one of the models has no layers that can be told apart", where=where, cure=_CURE)
    pairs = layer_pairs(kind, spec.layers, *counts)
    for index, (role, pipeline) in enumerate((("student", student), ("teacher", teacher))):
        names = requested_features(kind, [pair[index] for pair in pairs])
        missing = [name for name in names if name not in pipeline.feature_names]
        if missing:
            offered = ", ".join(pipeline.feature_names) or "nothing"
            raise ConfigError(
                f"the {role} does not give {', '.join(missing)}", where=where, expected=offered, cure=_CURE
            )
    texts = student.lengths("train") is not None
    if texts and kind != "relational" and student.input_fingerprint != teacher.input_fingerprint:
        raise ConfigError(
            "student and teacher cut texts into different tokens, so there is nothing to compare token by token",
            where=where,
            cure="use features: relational or none, or a student with the teacher's tokenizer",
        )
    shapes = [_shapes(student, student, requested_features(kind, [p[0] for p in pairs]))]
    source = student if student.input_fingerprint == teacher.input_fingerprint else teacher
    shapes.append(_shapes(teacher, source, requested_features(kind, [p[1] for p in pairs])))
    _check_shapes(spec, pairs, *shapes)
    module = None
    if kind in ("hidden", "tinybert"):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix(seed, INIT, 1))
            module = nn.ModuleDict(
                {str(k): _projection(shapes[0][f"hidden.{k}"], shapes[1][f"hidden.{j}"]) for k, j in pairs}
            )
        module.to(device)
    return Features(kind, pairs, spec.relation_heads, module)


_CURE = "use another method, or models of the BERT kind (texts) or the ResNet kind (images)"


def _layers(names: Sequence[str]) -> int:
    return max((int(name.partition(".")[2]) for name in names if name.startswith("hidden.")), default=0)


@torch.no_grad()
def _shapes(pipeline: Pipeline, source: Pipeline, names: Sequence[str]) -> dict[str, torch.Size]:
    """Shapes of features, from a forward pass over one example."""
    (batch,) = source.batches("train", [np.array([0])], 0)
    model = pipeline.model.eval()
    device = next(model.parameters()).device
    features = pipeline.forward(model, batch.to(device), names).features
    return {name: tensor.shape for name, tensor in features.items()}


def _check_shapes(
    spec: DistillSpec, pairs: Pairs, student: Mapping[str, torch.Size], teacher: Mapping[str, torch.Size]
) -> None:
    where = f"distill.features: {spec.features}"
    for k, j in pairs:
        if spec.features == "minilm":
            widths = [shapes[f"value.{layer}"][2:].numel() for shapes, layer in ((student, k), (teacher, j))]
            if any(width % spec.relation_heads for width in widths):
                raise ConfigError(
                    f"widths {widths[0]} and {widths[1]} cannot be cut into {spec.relation_heads} heads",
                    where=where,
                    cure="set distill.relation_heads to a number that divides both",
                )
        if spec.features == "cosine" and student[f"hidden.{k}"][-1] != teacher[f"hidden.{j}"][-1]:
            raise ConfigError(
                f"the student is {student[f'hidden.{k}'][-1]} wide, the teacher {teacher[f'hidden.{j}'][-1]}",
                where=where,
                expected="the same width",
                cure="use features: hidden, which learns a projection",
            )
        if spec.features == "tinybert" and k > 0 and student[f"query.{k}"][2] != teacher[f"query.{j}"][2]:
            raise ConfigError(
                f"the student has {student[f'query.{k}'][2]} attention heads, the teacher {teacher[f'query.{j}'][2]}",
                where=where,
                expected="the same number of heads",
                cure="use features: minilm, which cuts both anew",
            )


def _projection(student: torch.Size, teacher: torch.Size) -> nn.Module:
    """A linear map from the student's width to the teacher's: [n, tokens, d], or 1x1 over [n, channels, h, w]."""
    if len(student) == 4:
        return nn.Conv2d(student[1], teacher[1], 1, bias=False)
    return nn.Linear(student[-1], teacher[-1], bias=False)
