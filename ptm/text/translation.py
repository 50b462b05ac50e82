"""Task ``translation``: one text to another, written by an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.config.model_ref import ModelRef
from ptm.config.spec import GenerateSpec, RunSpec
from ptm.data.examples import Dataset, Examples, load_columns
from ptm.data.inputs import text_inputs
from ptm.errors import ConfigError, DataError
from ptm.metrics.translation import TranslationMetrics, signatures
from ptm.pipeline import Batch, Output, Pipeline, Split
from ptm.text import models, origins, seq2seq
from ptm.text.language_models import projecting
from ptm.text.tokens import Tokens, longest_text, require_text, tokenizer_digest

missing = origins.missing_downloads


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Pairs of texts; there are no ``labels``. Raises DataError for rows with an empty side."""
    columns = {"text": spec.data.text or "text", "target_text": spec.data.target_text or "target_text"}
    data = load_columns(spec.data, columns, train=train)
    for examples in (data.train, data.eval):
        if examples is not None:
            _require_texts(examples)
    return data


def stored_labels(name: str) -> tuple[str, ...] | None:
    """None: translations have no labels."""
    return None


def read_inputs(spec: RunSpec, paths: Sequence[Any]) -> Iterator[Examples]:
    """Source texts of files, in pieces."""
    return text_inputs(paths, {"text": spec.data.text or "text"})


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> Translation:
    """Load the model, tokenise both sides of both splits. ``complete`` models must be complete."""
    loaded = seq2seq.build_model(
        model,
        None if data.train is None else partial(_all_texts, data.train),
        seed=spec.train.seed,
        complete=complete,
    )
    tokenizers = (loaded.tokenizer, loaded.target_tokenizer)
    added = max(tokenizer.num_special_tokens_to_add(pair=False) for tokenizer in tokenizers)
    max_length = longest_text(spec.data.max_length, loaded.max_positions, model.name, added=added)
    seq2seq.set_generation(loaded, _generation(spec, model.name, loaded))
    to_pairs = partial(_tokenize, loaded, max_length=max_length)
    pairs: dict[Split, Pairs] = {"eval": to_pairs(data.eval)}
    if data.train is not None:
        pairs["train"] = to_pairs(data.train)
    digests = "+".join(tokenizer_digest(tokenizer) for tokenizer in tokenizers)
    return Translation(spec, data, loaded, pairs, f"{digests}/{max_length}", to_pairs)


@dataclass(frozen=True)
class Pairs:
    """Both sides of a split in tokens; ``target`` is None where nobody has translated."""

    source: Tokens
    target: Tokens | None

    @property
    def lengths(self) -> np.ndarray:
        """The longer side of each pair, int [n].

        Batches cut from pairs in this order waste least: 9 % of the tokens of Multi30k are padding, 17 % by the sum
        of both sides, 18 % by the target alone.
        """
        source = self.source.lengths
        return source if self.target is None else np.maximum(source, self.target.lengths)


class Translation(Pipeline):
    """Pipeline of one model over pairs of texts. ``count`` and ``logits`` are of target tokens."""

    per_example = False
    distillable = False  # teachers are asked about examples, not about the tokens of a translation
    labels = ()

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: seq2seq.Seq2Seq,
        pairs: dict[Split, Pairs],
        input_fingerprint: str,
        to_pairs: Callable[[Examples], Pairs],
    ) -> None:
        self.model: nn.Module = loaded.model
        self.head = loaded.head
        self.embeddings = loaded.embeddings
        self.load_report = loaded.report
        self.input_fingerprint = input_fingerprint
        self.output_fingerprint = models.config_digest(loaded.model)
        self._spec = spec
        self._data = data
        self._loaded = loaded
        self._pairs = pairs
        self._to_pairs = to_pairs

    def size(self, split: Split) -> int:
        return len(self._examples(split))

    def lengths(self, split: Split) -> np.ndarray:
        return self._pairs[split].lengths

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        pairs, columns = self._pairs[split], self._examples(split).columns
        for ids in plan:
            inputs: dict[str, Any] = pairs.source.pad(ids, self._loaded.tokenizer.pad_token_id)
            if split == "eval":
                inputs["texts"] = [_texts_of(columns, int(row)) for row in ids]
            targets = None
            if pairs.target is not None:
                decoder_inputs, counts, targets = _teacher_forcing(
                    pairs.target, ids, self._loaded.start, self._loaded.pad
                )
                inputs |= {"decoder_input_ids": decoder_inputs, "counts": counts}
            yield Batch(ids=ids, inputs=inputs, targets=targets)

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
        smoothing = self._spec.train.label_smoothing if self.model.training else 0.0
        loss_sum = F.cross_entropy(logits, batch.targets, reduction="sum", label_smoothing=smoothing)
        return Output(loss_sum=loss_sum, count=len(batch.targets), logits=logits, targets=batch.targets)

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """As ``forward``, and the texts that the model writes by itself: ``predictions``, a dictionary each."""
        ids = batch.inputs["input_ids"]
        mask = batch.inputs.get("attention_mask", torch.ones_like(ids))
        written = self._loaded.model.generate(input_ids=ids, attention_mask=mask)
        texts = self._loaded.target_tokenizer.batch_decode(written, skip_special_tokens=True)
        predictions = [
            {**known, "prediction": text.strip()}
            for known, text in zip(batch.inputs["texts"], texts, strict=True)
        ]
        return replace(self.forward(model, batch), predictions=predictions)

    def domain_warnings(self) -> list[str]:
        """Texts that the tokenizer has no words for."""
        pairs, loaded = self._pairs["eval"], self._loaded
        found = models.unknown_words(loaded.tokenizer, pairs.source.ids)
        if pairs.target is not None:
            found += models.unknown_words(loaded.target_tokenizer, pairs.target.ids)
        return list(dict.fromkeys(found))

    def new_metrics(self) -> TranslationMetrics:
        return TranslationMetrics()

    def example(self, split: Split, index: int) -> dict[str, Any]:
        examples = self._examples(split)
        return {"text": str(examples.columns["text"][index]), "where": examples.where(index)}

    def save_model(self, directory: Path) -> None:
        """The layout of save_pretrained; ``AutoModelForSeq2SeqLM`` loads it and writes as ``generate:`` says."""
        self._loaded.model.save_pretrained(directory)
        self._loaded.tokenizer.save_pretrained(directory)
        if self._loaded.target_tokenizer is not self._loaded.tokenizer:
            self._loaded.target_tokenizer.save_pretrained(directory / seq2seq.TARGET_TOKENIZER)

    def with_examples(self, examples: Examples) -> Translation:
        _require_texts(examples)
        data = Dataset(None, examples, (), {})
        pairs: dict[Split, Pairs] = {"eval": self._to_pairs(examples)}
        return Translation(self._spec, data, self._loaded, pairs, self.input_fingerprint, self._to_pairs)

    def describe(self) -> dict[str, Any]:
        """Tokens of each side, and how sacreBLEU computes the scores."""
        splits: dict[str, Any] = {
            split: {
                "examples": self.size(split),
                "source": _token_facts(pairs.source),
                **({"target": _token_facts(pairs.target)} if pairs.target is not None else {}),
            }
            for split, pairs in self._pairs.items()
        }
        return {**splits, "scores": signatures()}


def _teacher_forcing(target: Tokens, ids: np.ndarray, start: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the decoder reads, int64 [n, longest]: ``start``, then the target one place later; which of these places
    count, bool [n, longest]; and what they should say, int64 [places that count]."""
    padded = target.pad(ids, pad)["input_ids"]
    counts = torch.arange(padded.shape[1]) < torch.from_numpy(target.lengths[ids])[:, None]
    reads = torch.cat([torch.full((len(ids), 1), start), padded[:, :-1]], dim=1)
    return reads, counts, padded[counts]


def _tokenize(loaded: seq2seq.Seq2Seq, examples: Examples, max_length: int) -> Pairs:
    columns = examples.columns
    source = seq2seq.encode(loaded.tokenizer, columns["text"], max_length, target=False)
    _require_tokens(source, examples)
    if "target_text" not in columns:
        return Pairs(source, None)
    target = seq2seq.encode(loaded.target_tokenizer, columns["target_text"], max_length, target=True)
    target = _without_start(target, loaded.start)
    _require_tokens(target, examples)
    end = seq2seq.end_token(loaded.target_tokenizer)
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
    given = firsts[tokens.ids[firsts] == start]
    if not len(given):
        return tokens
    shorter = lengths.copy()
    shorter[np.searchsorted(tokens.starts, given, side="right") - 1] -= 1
    return replace(tokens, ids=np.delete(tokens.ids, given), starts=np.concatenate([[0], np.cumsum(shorter)]))


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
    known = {"source": columns["text"][row]}
    return known | ({"target": columns["target_text"][row]} if "target_text" in columns else {})


def _generation(spec: RunSpec, name: str, loaded: seq2seq.Seq2Seq) -> GenerateSpec:
    """``generate:``, or its defaults as far as the model has room. Raises ConfigError where it has not."""
    longest = loaded.max_positions
    if spec.generate is None:
        usual = GenerateSpec()
        return replace(usual, max_length=min(usual.max_length, longest or usual.max_length))
    if longest is not None and spec.generate.max_length > longest:
        raise ConfigError(
            f"max_length {spec.generate.max_length} is more than the {longest} tokens that {name} writes",
            where="generate.max_length",
            cure=f"set it to {longest} or less",
        )
    return spec.generate


def _token_facts(tokens: Tokens) -> dict[str, int]:
    return {
        "tokens": int(tokens.starts[-1]),
        "longest_tokens": int(tokens.lengths.max()),
        "cut_to_max_length": tokens.cut,
    }
