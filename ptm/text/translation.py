"""Task ``translation``: one text to another, written by an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.base.extras import install
from ptm.config.model_ref import ModelRef
from ptm.config.spec import GenerateSpec, RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, text_inputs
from ptm.data.tabular import load_columns
from ptm.errors import ConfigError, DataError, Problem
from ptm.metrics.translation import TranslationMetrics, signatures
from ptm.pipeline import Batch, Output, Split
from ptm.text import origins, seq2seq
from ptm.text.generation import write
from ptm.text.language_models import projecting
from ptm.text.models import trained_length
from ptm.text.pipeline import TextPipeline, unknown_words
from ptm.text.tokens import Tokens, longest_text, require_text
from ptm.training.finite import outputs_not_finite


def missing(spec: RunSpec) -> list[Problem]:
    """As of all texts, and the package that scores translations."""
    without = [] if find_spec("sacrebleu") else [_no_scorer()]
    return [*without, *origins.missing_downloads(spec)]


def _no_scorer() -> Problem:
    what = "translations are scored by the package sacrebleu, which is not installed"
    return Problem(what, "task: translation", cure=install("translation"))


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Pairs of texts; there are no ``labels``. Raises DataError for rows with an empty side."""
    columns = {"text": spec.data.text or "text", "target_text": spec.data.target_text or "target_text"}
    return load_columns(spec.data, columns, train=train)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """None: translations have no labels."""
    return None


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Source texts of files, in pieces."""
    return text_inputs(paths, {"text": spec.data.text or "text"}, spec.data, left_out)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> Translation:
    """Load the model, tokenise both sides of both splits. ``complete`` models must be complete."""
    texts = None if data.train is None else partial(_all_texts, data.train)
    loaded = seq2seq.build_seq2seq(model, texts, seed=spec.train.seed, complete=complete)
    added = max(tokenizer.num_special_tokens_to_add(pair=False) for tokenizer in loaded.tokenizers)
    requested = spec.data.max_length or (trained_length(loaded) if complete else None)
    max_length = longest_text(requested, loaded.max_positions, model, added=added)
    generation = _generation(spec, model.name, loaded)
    seq2seq.set_generation(loaded, generation)
    encode = partial(_tokenize, loaded.tokenizer, loaded.target_tokenizer, loaded.start, max_length)
    pipeline = Translation(spec, data, loaded, encode, max_length)
    pipeline.cuts_to(
        max_length, text=spec.data.text or "text", target_text=spec.data.target_text or "target_text"
    )
    pipeline.effective_generate = generation
    return pipeline


@dataclass(frozen=True)
class Pairs:
    """Both sides of a split in tokens; ``target`` is None where nobody has translated."""

    source: Tokens
    target: Tokens | None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def ids(self) -> np.ndarray:
        """Of the sources."""
        return self.source.ids

    @property
    def lengths(self) -> np.ndarray:
        """The longer side of each pair, int [n].

        Batches cut from pairs in this order waste least: 9 % of the tokens of Multi30k are padding, 17 % by the sum
        of both sides, 18 % by the target alone.
        """
        source = self.source.lengths
        return source if self.target is None else np.maximum(source, self.target.lengths)

    def describe(self) -> dict[str, Any]:
        target = {} if self.target is None else {"target": self.target.describe()}
        return {"source": self.source.describe(), **target}


class Translation(TextPipeline[seq2seq.Seq2Seq, Pairs]):
    """Pipeline of one model over pairs of texts. ``count`` and ``logits`` are of target tokens."""

    per_example = False
    distillable = False  # teachers are asked about examples, not about the tokens of a translation

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        pairs, columns = self._encodings[split], self._examples(split).columns
        inputs: dict[str, Any] = pairs.source.pad(ids, self._tokenizer.pad_token_id)
        if split == "eval":
            inputs["texts"] = [_texts_of(columns, int(row)) for row in ids]
        if pairs.target is None:
            return Batch(ids=ids, inputs=inputs, targets=None)
        decoder_inputs, counts, targets = _teacher_forcing(
            pairs.target, ids, self._loaded.start, self._loaded.pad
        )
        inputs |= {"decoder_input_ids": decoder_inputs, "counts": counts}
        return Batch(ids=ids, inputs=inputs, targets=targets)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        """Teacher forcing: each target token from the source and those before it. Without targets no logits."""
        if batch.targets is None:
            return Output(loss_sum=torch.zeros(()), count=len(batch))
        names = ("input_ids", "attention_mask", "decoder_input_ids")
        inputs = {name: batch.inputs[name] for name in names if name in batch.inputs}
        counts: Tensor = batch.inputs["counts"]
        if model is self.model:
            with projecting(model, counts):
                logits = model(**inputs, use_cache=False).logits
        else:  # a compiled model calls no hooks
            logits = model(**inputs, use_cache=False).logits[counts]
        logits = logits.float()  # [target tokens, vocabulary]
        loss_sum = F.cross_entropy(
            logits, batch.targets, reduction="sum", label_smoothing=self._label_smoothing()
        )
        return Output(loss_sum=loss_sum, count=len(batch.targets), logits=logits, targets=batch.targets)

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """As ``forward``, and the texts that the model writes by itself: ``predictions``, a dictionary each. Raises
        NotFinite where scores of their words are no numbers, and the loss does not tell."""
        ids = batch.inputs["input_ids"]
        mask = batch.inputs.get("attention_mask", torch.ones_like(ids))
        written, seen = write(self._loaded.model, input_ids=ids, attention_mask=mask)
        texts = self._loaded.target_tokenizer.batch_decode(written, skip_special_tokens=True)
        predictions = [
            {**pair, "prediction": text.strip()}
            for pair, text in zip(batch.inputs["texts"], texts, strict=True)
        ]
        output = self.forward(model, batch)
        if (rows := seen.not_finite) and output.loss_sum.isfinite():
            raise outputs_not_finite(batch.ids[rows].tolist(), self)
        return replace(output, predictions=predictions)

    def domain_warnings(self) -> list[str]:
        """Texts, on either side, that a tokenizer has no words for."""
        target = self._encodings["eval"].target
        warnings = super().domain_warnings()
        if target is not None:
            warnings += unknown_words(self._loaded.target_tokenizer, target.ids)
        return list(dict.fromkeys(warnings))

    def new_metrics(self) -> TranslationMetrics:
        return TranslationMetrics()

    def with_examples(self, examples: Examples) -> Translation:
        _require_texts(examples)
        return self._over(examples)

    def describe(self) -> dict[str, Any]:
        """Tokens of each side, and how sacreBLEU computes the scores."""
        return {**super().describe(), "scores": signatures()}


def _teacher_forcing(target: Tokens, ids: np.ndarray, start: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the decoder reads, int64 [n, longest]: ``start``, then the target one place later; which of these places
    count, bool [n, longest]; and what they should say, int64 [places that count]."""
    padded = target.pad(ids, pad)["input_ids"]
    counts = torch.arange(padded.shape[1]) < torch.from_numpy(target.lengths[ids])[:, None]
    reads = torch.cat([torch.full((len(ids), 1), start), padded[:, :-1]], dim=1)
    return reads, counts, padded[counts]


def _tokenize(
    tokenizer: Any, target_tokenizer: Any, start: int, max_length: int, examples: Examples
) -> Pairs:
    """``start``: the token that the decoder is given first."""
    columns = examples.columns
    source = seq2seq.encode(tokenizer, columns["text"], max_length, target=False)
    _require_tokens(source, examples)
    if "target_text" not in columns:
        return Pairs(source, None)
    target = seq2seq.encode(target_tokenizer, columns["target_text"], max_length, target=True)
    target = _without_start(target, start)
    _require_tokens(target, examples)
    end = seq2seq.end_token(target_tokenizer)
    if (target.ids[target.starts[1:] - 1] != end).any():
        raise ConfigError(
            "this tokenizer does not end a text with the token that ends it, so the model would never stop",
            where="model.tokenizer",
            expected="a tokenizer that adds its eos_token or sep_token",
            cure="with new:marian: tokenizer: train",
        )
    return Pairs(source, target)


def _without_start(tokens: Tokens, start: int) -> Tokens:
    """Targets without the token that the decoder is given anyhow: BERT's [CLS]. BART begins after another one."""
    lengths = tokens.lengths
    firsts = tokens.starts[:-1][lengths > 0]
    starts = firsts[tokens.ids[firsts] == start]
    if not len(starts):
        return tokens
    shorter = lengths.copy()
    shorter[np.searchsorted(tokens.starts, starts, side="right") - 1] -= 1
    return replace(
        tokens, ids=np.delete(tokens.ids, starts), starts=np.concatenate([[0], np.cumsum(shorter)])
    )


def _require_texts(examples: Examples) -> None:
    for role, column in examples.columns.items():
        require_text(column, role, examples)


def _require_tokens(tokens: Tokens, examples: Examples) -> None:
    if tokens.lengths.min() == 0:
        where = examples.where(int(tokens.lengths.argmin()))
        raise DataError("the tokenizer makes no token of this text", where=where)


def _all_texts(examples: Examples) -> list[str]:
    return [*examples.columns["text"], *examples.columns["target_text"]]


def _texts_of(columns: Mapping[str, Sequence[Any]], row: int) -> dict[str, str]:
    source = {"source": columns["text"][row]}
    return source | ({"target": columns["target_text"][row]} if "target_text" in columns else {})


def _generation(spec: RunSpec, name: str, loaded: seq2seq.Seq2Seq) -> GenerateSpec:
    """``generate:``, or its defaults as far as the model has room. Raises ConfigError where it has not."""
    longest = loaded.max_positions
    if spec.generate is None:
        default = GenerateSpec()
        return replace(default, max_length=min(default.max_length, longest or default.max_length))
    if longest is not None and spec.generate.max_length > longest:
        raise ConfigError(
            f"max_length {spec.generate.max_length} is more than the {longest} tokens that {name} writes",
            where="generate.max_length",
            cure=f"set it to {longest} or less",
        )
    return spec.generate
