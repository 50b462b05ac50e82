"""Task ``text-classification``: one text, or a pair, to one of several labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ptm import hub
from ptm.data.examples import Dataset, load_dataset
from ptm.errors import ConfigError, Problem
from ptm.metrics import ClassificationMetrics
from ptm.pipeline import Batch, Output, Split
from ptm.spec import ModelSpec, RunSpec, TeacherSpec
from ptm.text import models
from ptm.text.tokens import Tokens, tokenize, tokenizer_digest

DEFAULT_MAX_LENGTH = 128


def missing(spec: RunSpec) -> list[Problem]:
    """All that would have to be downloaded and cannot be."""
    found = models.missing(spec.model) + (models.missing(spec.teacher) if spec.teacher else [])
    if spec.data.source.startswith("hub:"):
        found += hub.missing_dataset(spec.data.source.removeprefix("hub:"))
    return found


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    columns = {"text": spec.data.text or "text"}
    if spec.data.text_pair is not None:
        columns["text_pair"] = spec.data.text_pair
    return load_dataset(spec.data, columns, labels=labels, train=train)


def stored_labels(name: str) -> tuple[str, ...] | None:
    return models.stored_labels(name)


def build(
    spec: RunSpec, data: Dataset, *, model: ModelSpec | TeacherSpec, trained: bool
) -> TextClassification:
    """Load the model, tokenise both splits. ``trained`` models must come with their output layer."""
    role = "teacher" if isinstance(model, TeacherSpec) else "model"
    loaded = models.build_model(
        model, data.labels, seed=spec.train.seed, trained=trained, where=f"{role} {model.name!r}"
    )
    longest = loaded.max_positions
    max_length = spec.data.max_length or min(DEFAULT_MAX_LENGTH, longest or DEFAULT_MAX_LENGTH)
    if longest is not None and max_length > longest:
        raise ConfigError(
            f"max_length {max_length} is more than the {longest} tokens that {model.name} takes",
            where="data.max_length",
            cure=f"set it to {longest} or less",
        )
    added = loaded.tokenizer.num_special_tokens_to_add(pair=spec.data.text_pair is not None)
    if max_length <= added:
        raise ConfigError(
            f"max_length {max_length} leaves no room for a text: the tokenizer adds {added} tokens",
            where="data.max_length",
            cure=f"set it to {added + 1} or more",
        )
    view = f"{tokenizer_digest(loaded.tokenizer)}/{max_length}"
    to_tokens = partial(tokenize, loaded.tokenizer, max_length=max_length, segments=loaded.segments)
    splits: dict[Split, Tokens] = {"eval": to_tokens(data.eval)}
    if data.train is not None:
        splits["train"] = to_tokens(data.train)
    return TextClassification(spec, data, loaded, splits, view)


class TextClassification:
    """Pipeline of one model over tokenised examples."""

    def __init__(
        self, spec: RunSpec, data: Dataset, loaded: models.TextModel, tokens: dict[Split, Tokens], view: str
    ) -> None:
        self.model: nn.Module = loaded.model
        self.labels = data.labels
        self.head = loaded.head
        self.embeddings = loaded.embeddings
        self.load_report = loaded.report
        self.view = view
        self._data = data
        self._tokens = tokens
        self._tokenizer = loaded.tokenizer
        self._permutation = None if loaded.permutation is None else torch.from_numpy(loaded.permutation)
        self._label_smoothing = spec.train.label_smoothing

    def size(self, split: Split) -> int:
        return len(self._tokens[split].starts) - 1

    def lengths(self, split: Split) -> np.ndarray:
        return self._tokens[split].lengths

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        tokens = self._tokens[split]
        targets = (self._data.train if split == "train" else self._data.eval).targets  # type: ignore[union-attr]
        for ids in plan:
            inputs = tokens.pad(ids, self._tokenizer.pad_token_id)
            yield Batch(ids=ids, inputs=inputs, targets=torch.from_numpy(targets[ids]))

    def forward(self, model: nn.Module, batch: Batch) -> Output:
        logits = model(**batch.inputs).logits.float()  # [n, classes]
        if self._permutation is not None:
            logits = logits[:, self._permutation.to(logits.device)]
        assert batch.targets is not None
        smoothing = self._label_smoothing if model.training else 0.0
        loss_sum = F.cross_entropy(logits, batch.targets, reduction="sum", label_smoothing=smoothing)
        return Output(loss_sum=loss_sum, count=len(batch), logits=logits)

    def new_metrics(self) -> ClassificationMetrics:
        return ClassificationMetrics(self.labels)

    def example(self, split: Split, index: int) -> dict[str, Any]:
        examples = self._data.train if split == "train" else self._data.eval
        assert examples is not None
        text = " ⟂ ".join(str(column[index]) for column in examples.columns.values())
        return {"text": text, "where": examples.where(index)}

    def save_model(self, directory: Path) -> None:
        """The layout of save_pretrained, which ``transformers.pipeline("text-classification", …)`` loads."""
        self.model.save_pretrained(directory)  # type: ignore[operator]
        self._tokenizer.save_pretrained(directory)

    def facts(self) -> dict[str, Any]:
        return {
            split: {
                "examples": self.size(split),
                "tokens": int(tokens.starts[-1]),
                "longest_tokens": int(tokens.lengths.max()),
                "cut_to_max_length": tokens.cut,
            }
            for split, tokens in self._tokens.items()
        }
