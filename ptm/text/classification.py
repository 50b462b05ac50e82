"""Task ``text-classification``: one text, or a pair, to one of several labels, any number of them, or a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples, load_dataset
from ptm.data.inputs import Source, text_inputs
from ptm.metrics.label_types import new_metrics, supervised_loss
from ptm.pipeline import Batch, Metrics, Output, Pipeline, Split
from ptm.text import features, models, origins
from ptm.text.tokens import Tokens, longest_text, tokenize, tokenizer_digest

missing, stored_labels = origins.missing_downloads, origins.stored_labels


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    return load_dataset(spec.data, _columns(spec), labels=labels, train=train)


def read_inputs(spec: RunSpec, paths: Sequence[Source]) -> Iterator[Examples]:
    return text_inputs(paths, _columns(spec))


def _columns(spec: RunSpec) -> dict[str, str]:
    pair = {} if spec.data.text_pair is None else {"text_pair": spec.data.text_pair}
    return {"text": spec.data.text or "text", **pair}


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> TextClassification:
    """Load the model, tokenise both splits. ``complete`` models must come with their output layer."""
    loaded = models.build_model(
        model,
        data.labels,
        seed=spec.train.seed,
        complete=complete,
        purpose=models.PURPOSES[spec.data.label_type],
        texts=None if data.train is None else partial(_all_texts, data.train),
    )
    added = loaded.tokenizer.num_special_tokens_to_add(pair=spec.data.text_pair is not None)
    max_length = longest_text(spec.data.max_length, loaded.max_positions, model.name, added=added)
    input_fingerprint = f"{tokenizer_digest(loaded.tokenizer)}/{max_length}"
    to_tokens = partial(tokenize, loaded.tokenizer, max_length=max_length, segments=loaded.segments)
    splits: dict[Split, Tokens] = {"eval": to_tokens(data.eval)}
    if data.train is not None:
        splits["train"] = to_tokens(data.train)
    return TextClassification(spec, data, loaded, splits, input_fingerprint, to_tokens)


def _all_texts(examples: Examples) -> list[str]:
    return [text for column in examples.columns.values() for text in column]


class TextClassification(Pipeline):
    """Pipeline of one model over tokenised examples."""

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: models.TextModel,
        tokens: dict[Split, Tokens],
        input_fingerprint: str,
        to_tokens: Callable[[Examples], Tokens],
    ) -> None:
        self.model: nn.Module = loaded.model
        self.labels = data.labels
        self.head = loaded.head
        self.embeddings = loaded.embeddings
        self.load_report = loaded.report
        self.input_fingerprint = input_fingerprint
        self.output_fingerprint = f"{models.config_digest(loaded.model)} outputs {loaded.output_order}"
        self.feature_names = features.feature_names(loaded.model)
        self.head_input = "pooler" if "pooler" in self.feature_names else ""
        self._spec = spec
        self._data = data
        self._loaded = loaded
        self._tokens = tokens
        self._to_tokens = to_tokens
        self._tokenizer = loaded.tokenizer
        self._permutation = None if loaded.permutation is None else torch.from_numpy(loaded.permutation)
        self._label_type = spec.data.label_type
        self._label_smoothing = spec.train.label_smoothing

    def size(self, split: Split) -> int:
        return len(self._tokens[split].starts) - 1

    def lengths(self, split: Split) -> np.ndarray:
        return self._tokens[split].lengths

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        tokens = self._tokens[split]
        targets = self._examples(split).targets
        for ids in plan:
            inputs = tokens.pad(ids, self._tokenizer.pad_token_id)
            yield Batch(
                ids=ids, inputs=inputs, targets=None if targets is None else torch.from_numpy(targets[ids])
            )

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        result, inside = features.run(self.model, model, batch.inputs, requested)
        return self._output(result.logits, batch, inside)

    def forward_head(self, batch: Batch, head_input: Tensor) -> Output:
        model: Any = self.model
        return self._output(model.classifier(model.dropout(head_input)), batch, {})

    def _output(self, logits: Tensor, batch: Batch, inside: dict[str, Tensor]) -> Output:
        logits = logits.float()  # [n, classes], or [n, 1] for a number
        if self._permutation is not None:
            logits = logits[:, self._permutation.to(logits.device)]
        if batch.targets is None:
            return Output(loss_sum=logits.new_zeros(()), count=len(batch), logits=logits, features=inside)
        smoothing = self._label_smoothing if self.model.training else 0.0
        loss_sum = supervised_loss(logits, batch.targets, self._label_type, smoothing)
        return Output(loss_sum=loss_sum, count=len(batch), logits=logits, features=inside)

    def domain_warnings(self) -> list[str]:
        """Texts that the tokenizer has no words for."""
        return models.unknown_words(self._tokenizer, self._tokens["eval"].ids)

    def new_metrics(self) -> Metrics:
        return new_metrics(self.labels, self._label_type)

    def example(self, split: Split, index: int) -> dict[str, Any]:
        examples = self._examples(split)
        text = " ⟂ ".join(str(column[index]) for column in examples.columns.values())
        return {"text": text, "where": examples.where(index)}

    def save_model(self, directory: Path) -> None:
        """The layout of save_pretrained, which ``transformers.pipeline("text-classification", …)`` loads."""
        self.model.save_pretrained(directory)  # type: ignore[operator]
        self._tokenizer.save_pretrained(directory)

    def with_examples(self, examples: Examples) -> TextClassification:
        data = Dataset(None, examples, self.labels, {})
        return TextClassification(
            self._spec,
            data,
            self._loaded,
            {"eval": self._to_tokens(examples)},
            self.input_fingerprint,
            self._to_tokens,
        )

    def describe(self) -> dict[str, Any]:
        return {
            split: {
                "examples": self.size(split),
                "tokens": int(tokens.starts[-1]),
                "longest_tokens": int(tokens.lengths.max()),
                "cut_to_max_length": tokens.cut,
            }
            for split, tokens in self._tokens.items()
        }
