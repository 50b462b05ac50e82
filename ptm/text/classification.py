"""Task ``text-classification``: one text, or a pair, to one of several labels, any number of them, or a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, text_inputs
from ptm.data.label_columns import label_column
from ptm.data.tabular import load_dataset
from ptm.data.unlabelled import with_unlabelled
from ptm.metrics.decisions import stored_decisions
from ptm.metrics.label_types import new_metrics, supervised_loss
from ptm.metrics.training_loss import TrainingLoss
from ptm.pipeline import Batch, Metrics, Output, Split, class_logits
from ptm.text import features, origins, window_pool
from ptm.text.classifiers import PURPOSES, Classifier, build_classifier
from ptm.text.first_token import first_token_alone
from ptm.text.insight import STEPS, by_word, integrated_gradients
from ptm.text.models import trained_length
from ptm.text.pipeline import ClassifierPipeline
from ptm.text.tokens import Tokens, longest_text, separate_pairs, tokenize
from ptm.text.window_pool import WindowPool, load_pool, save_pool
from ptm.text.windows import LongTexts, in_parts, pooled

missing, stored_labels = origins.missing_downloads, origins.stored_labels


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    columns = _columns(spec)
    bare = spec.needs_no_labels
    load = partial(load_dataset, spec.data, columns, labels=labels, train=train, unlabelled=bare)
    return with_unlabelled(load, spec.data, columns) if train else load()


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    return text_inputs(paths, _columns(spec), spec.data, left_out)


def _columns(spec: RunSpec) -> dict[str, str]:
    pair = {} if spec.data.text_pair is None else {"text_pair": spec.data.text_pair}
    return {"text": spec.data.text or "text", **pair}


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> TextClassification:
    """Load the model, tokenise both splits. ``complete`` models must come with their output layer."""
    loaded = build_classifier(
        model,
        data.labels,
        seed=spec.train.seed,
        complete=complete,
        purpose=PURPOSES[spec.data.label_type],
        texts=None if data.train is None else partial(_all_texts, data.train),
    )
    if spec.data.text_pair is not None and not complete:  # a trained one reads as it was trained
        separate_pairs(loaded.tokenizer, model.where)
    added = loaded.tokenizer.num_special_tokens_to_add(pair=spec.data.text_pair is not None)
    requested = _taught_length(spec, model, loaded) if model.role == "teacher" else spec.data.max_length
    requested = requested or (trained_length(loaded) if complete else None)
    max_length = longest_text(requested, loaded.max_positions, model, added=added)
    long_texts = LongTexts.of(spec.data, max_length, added)
    if long_texts.mode == "windows" and long_texts.pool == "learned":
        loaded = _with_pool(loaded, model, complete=complete)
    encode = partial(
        tokenize, loaded.tokenizer, max_length=max_length, segments=loaded.segments, long_texts=long_texts
    )
    pipeline = TextClassification(spec, data, loaded, encode, long_texts)
    if complete and model.role != "teacher":
        pipeline.decisions = stored_decisions(model.name, data.labels)
    pipeline.cuts_to(max_length, text=_columns(spec)["text"], **label_column(spec.data))
    return pipeline


def _with_pool(loaded: Classifier, ref: ModelRef, *, complete: bool) -> Classifier:
    """With a layer that weighs windows: that of a trained model, else a new one."""
    outputs = int(loaded.model.config.num_labels)
    pool = load_pool(Path(ref.name), outputs, ref.where) if complete else WindowPool(outputs)
    loaded.model.add_module(window_pool.NAME, pool)
    new = () if complete or not loaded.report.loaded else (f"{window_pool.NAME}.weight",)
    report = replace(loaded.report, new=(*loaded.report.new, *new))
    return replace(loaded, head=(*loaded.head, f"{window_pool.NAME}."), report=report)


def _taught_length(spec: RunSpec, model: ModelRef, loaded: Classifier) -> int | None:
    """Tokens that a teacher's texts are cut to: ``teacher.max_length``, else what it was trained with, where its
    tokenizer says less than it has positions for, else the student's; never more than it takes. None: the default."""
    limit, own = loaded.max_positions, trained_length(loaded)
    if model.max_length is not None or own is not None:
        return model.max_length or own
    requested = spec.data.max_length
    return requested if requested is None or limit is None else min(requested, limit)


def _all_texts(examples: Examples) -> list[str]:
    return [text for column in examples.columns.values() for text in column]


class TextClassification(ClassifierPipeline[Tokens]):
    """Pipeline of one model over tokenised examples."""

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: Classifier,
        encode: Callable[[Examples], Tokens],
        long_texts: LongTexts,
    ) -> None:
        super().__init__(spec, data, loaded, encode, *filter(None, [long_texts.max_length, long_texts.name]))
        self._pool = long_texts.pool if long_texts.mode == "windows" else ""
        self.reads = f"texts of at most {long_texts.max_length} tokens"
        if self._pool:
            self.reads = f"texts in windows of {long_texts.max_length} tokens"
            self.output_fingerprint += f" {self._pool} of windows"
            self.feature_names = ()  # they would be those of windows
        self.head_input = "pooler" if "pooler" in self.feature_names else ""
        targets = None if data.train is None else data.train.targets
        self._training_loss = TrainingLoss.of(spec.train, spec.data.label_type, targets, data.labels)

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        targets = self._examples(split).targets
        encoding = self._encodings[split]
        inputs = encoding.pad(ids, self._tokenizer.pad_token_id)
        if self._pool:
            inputs["windows"] = torch.from_numpy(encoding.counts(ids))
        return Batch(
            ids=ids,
            inputs=inputs,
            targets=None if targets is None else torch.from_numpy(targets[ids]),
        )

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        inputs = {name: tensor for name, tensor in batch.inputs.items() if name != "windows"}
        inside: dict[str, Tensor] = {}
        inner = any(name != "pooler" for name in requested)
        # Asking for more does not change logits; in training it does, by dropout.
        with nullcontext() if inner and model.training else first_token_alone(model, rest=inner):
            if "windows" in batch.inputs and not model.training:
                (logits,) = in_parts(lambda part: (model(**part).logits,), inputs)
            else:
                result, inside = features.run(self.model, model, inputs, requested)
                logits = result.logits
        if "windows" in batch.inputs:
            own: Any = self.model
            learned = getattr(own, window_pool.NAME, None)
            counts = batch.inputs["windows"]
            logits = logits.float()
            logits = pooled(logits, counts, self._pool) if learned is None else learned(logits, counts)
        return self._output(logits, batch, inside)

    def forward_head(self, batch: Batch, head_input: Tensor) -> Output:
        model: Any = self.model
        return self._output(model.classifier(model.dropout(head_input)), batch, {})

    def _output(self, logits: Tensor, batch: Batch, inside: dict[str, Tensor]) -> Output:
        logits = self._in_data_order(logits)  # [n, classes], or [n, 1] for a number
        if batch.targets is None:
            return Output(loss_sum=logits.new_zeros(()), count=len(batch), logits=logits, features=inside)
        if self.model.training:
            loss_sum = self._training_loss(logits, batch.targets)
        else:
            loss_sum = supervised_loss(logits, batch.targets, self._spec.data.label_type)
        return Output(loss_sum=loss_sum, count=len(batch), logits=logits, features=inside)

    def save_model(self, directory: Path) -> None:
        """What weighs windows stands in a file of its own: transformers knows no such layer."""
        modules = self._loaded.model._modules
        pool = modules.pop(window_pool.NAME, None)
        super().save_model(directory)
        if pool is not None:
            modules[window_pool.NAME] = pool
            save_pool(pool, directory)

    def decided(self, batch: Batch, output: Output) -> Output:
        return self.decisions.applied(output, batch, self._spec.data.label_type) if self.decisions else output

    def insight(self, index: int, label: str) -> dict[str, Any]:
        if self._pool:  # a text is several inputs
            return {}
        batch = self._batch("eval", np.array([index]), 0).to(next(self.model.parameters()).device)
        number = self.labels.index(label)

        def score(inputs: Mapping[str, Tensor]) -> Tensor:
            repeated = Batch(ids=np.full(len(inputs["input_ids"]), index), inputs=dict(inputs), targets=None)
            return class_logits(self.forward(self.model, repeated))[:, number]

        added = integrated_gradients(self.model, batch.inputs, score)
        if added is None:
            return {}
        return {"words": by_word(self._tokenizer, batch.inputs["input_ids"][0].tolist(), added)}

    def insight_operations(self, index: int) -> float:
        embedded = sum(p.numel() for n, p in self.model.named_parameters() if n.startswith(self.embeddings))
        weights = sum(p.numel() for p in self.model.parameters()) - embedded
        return 6.0 * STEPS * weights * int(self._encodings["eval"].lengths[index])

    def new_metrics(self) -> Metrics:
        data = self._spec.data
        thresholds = self.decisions.thresholds if self.decisions else {}
        return new_metrics(self.labels, data.label_type, data.positive_label, thresholds, self.least_score)
