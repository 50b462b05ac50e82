"""Tasks ``masked-lm`` and ``causal-lm``: text without labels; tokens are predicted from those around or before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Inputs, Source, text_inputs
from ptm.data.tabular import load_columns
from ptm.errors import DataError
from ptm.metrics.language import LanguageMetrics, Scores
from ptm.pipeline import Batch, Output, Pipeline, Split
from ptm.text import origins
from ptm.text.blocks import SPECIAL, Blocks, make_blocks
from ptm.text.completion import completion_pipeline
from ptm.text.language_models import build_language_model, projecting
from ptm.text.masking import IGNORED, Masking, evaluation_draws, mask_words, masking_of, training_draws
from ptm.text.models import TextModel, trained_length
from ptm.text.pipeline import TextPipeline
from ptm.text.tokens import longest_text

DEFAULT_MASK_FRACTION = 0.15
_ADDED = 2  # tokens of a block that begin and end it

missing = origins.missing_downloads


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Texts; there are no ``labels``."""
    return load_columns(spec.data, _columns(spec), train=train)


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Texts with ``[MASK]`` to fill in, or texts to continue."""
    return text_inputs(paths, _columns(spec), spec.data, left_out)


def stored_labels(name: str) -> tuple[str, ...] | None:
    """None: language models have no labels."""
    return None


def _columns(spec: RunSpec) -> dict[str, str]:
    return {"text": spec.data.text or "text"}


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> Pipeline:
    """Load the model, cut both splits to blocks. Over :class:`Inputs`, it completes texts instead."""
    train = data.train
    loaded = build_language_model(
        model,
        "masked-lm" if spec.task == "masked-lm" else "causal-lm",
        None if train is None else lambda: train.columns["text"],
        seed=spec.train.seed,
        complete=complete,
    )
    requested = spec.data.max_length or (
        trained_length(loaded) if complete and model.role != "teacher" else None
    )
    max_length = longest_text(requested, loaded.max_positions, model, added=_ADDED)
    if isinstance(data.eval, Inputs):
        return completion_pipeline(spec, data, loaded, max_length)
    pack, causal = spec.data.pack is not False, spec.task == "causal-lm"
    encode = partial(make_blocks, loaded.tokenizer, max_length=max_length, pack=pack, overlap=causal)
    columns = {} if spec.data.source.startswith("text:") else _columns(spec)
    if causal:
        pipeline = CausalModeling(spec, data, loaded, encode, max_length)
        # Its tokenizer keeps the length that the model takes: what is continued is not cut to a block.
        pipeline.effective_data = {"max_length": max_length, "pack": pack, **columns}
        return pipeline
    fraction = DEFAULT_MASK_FRACTION if spec.data.mask_share is None else spec.data.mask_share
    masking = masking_of(loaded.tokenizer, fraction, model.where)
    masked = MaskedModeling(spec, data, loaded, encode, max_length, masking=masking)
    whole_words = spec.data.whole_words is not False
    masked.cuts_to(max_length, pack=pack, mask_share=fraction, whole_words=whole_words, **columns)
    return masked


class LanguageModeling(TextPipeline[TextModel, Blocks]):
    """What both tasks share: an example is a block of tokens, the loss a sum over the tokens that are predicted.

    ``Batch.targets`` are int64 [n, tokens], IGNORED where nothing is predicted. ``forward`` gives logits [predicted
    tokens, vocabulary], and their targets, only when ``requested`` has "logits": they are large.
    """

    per_example = False
    masked = False

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: TextModel,
        encode: Callable[[Examples], Blocks],
        max_length: int,
        *settings: object,
    ) -> None:
        self._packed = spec.data.pack is not False
        self._max_length = max_length
        super().__init__(spec, data, loaded, encode, spec.task, max_length, self._packed, *settings)

    def lengths(self, split: Split) -> np.ndarray | None:
        return None if self._packed else super().lengths(split)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        logits, targets = self._predicted(model, batch)
        loss_sum = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=self._label_smoothing())
        if "logits" in requested:
            return Output(loss_sum=loss_sum, count=len(targets), logits=logits, targets=targets)
        return Output(loss_sum=loss_sum, count=len(targets))

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        logits, targets = self._predicted(model, batch)
        nats = F.cross_entropy(logits, targets, reduction="none").detach().double().cpu().numpy()
        right = (logits.argmax(-1) == targets).cpu().numpy()
        counted = (batch.targets != IGNORED).cpu().numpy()
        of_row = np.nonzero(counted)[0]
        scores = Scores(
            np.bincount(of_row, weights=nats, minlength=len(batch)),
            counted.sum(1),
            np.bincount(of_row[right], minlength=len(batch)),
        )
        return Output(loss_sum=torch.tensor(nats.sum()), count=len(targets), predictions=scores)

    def _predicted(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(logits fp32 [predicted tokens, vocabulary], their targets int64 [predicted tokens])."""
        places = batch.targets != IGNORED
        called: Any = model
        own = (
            model is self._loaded.model
        )  # a compiled model calls no hooks that came after it, a graph has none
        if own and called.get_output_embeddings() is not None:
            with projecting(called, places):
                logits = called(**batch.inputs).logits
        else:
            logits = called(**batch.inputs).logits[places]
        return logits.float(), batch.targets[places]

    def new_metrics(self) -> LanguageMetrics:
        text_bytes = None if self.masked else self._encodings["eval"].text_bytes
        return LanguageMetrics(masked=self.masked, text_bytes=text_bytes)

    def example(self, split: Split, index: int) -> dict[str, Any]:
        """A text, or what a block holds, and where the text stands in which it begins."""
        blocks, examples = self._encodings[split], self._examples(split)
        row = int(blocks.rows[index])
        text = self._decoded(blocks, index) if self._packed else examples.columns["text"][row]
        return {"text": text, "where": examples.where(row)}

    def _decoded(self, blocks: Blocks, index: int) -> str:
        begin, end = blocks.tokens.starts[index : index + 2]
        text: str = self._tokenizer.decode(blocks.tokens.ids[begin:end].tolist())
        return text

    def with_examples(self, examples: Examples) -> Pipeline:
        """Over texts to complete: those of ``ptm predict``."""
        data = Dataset(None, examples, (), {})
        return completion_pipeline(self._spec, data, self._loaded, self._max_length)

    def evaluating(self, examples: Examples) -> Pipeline:
        return self._over(examples)

    def example_rows(self) -> np.ndarray:
        """Where texts are not packed, that of the text that a block is of."""
        return np.asarray(self._encodings["eval"].rows)


class CausalModeling(LanguageModeling):
    """Each token is predicted from those before it in its block."""

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        inputs = self._encodings[split].tokens.pad(ids, self._tokenizer.pad_token_id)
        return Batch(ids=ids, inputs=inputs, targets=next_tokens(**inputs))


def next_tokens(input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """int64 [n, tokens]: at each place the token that follows; IGNORED at the last one and before padding."""
    targets = torch.full_like(input_ids, IGNORED)
    targets[:, :-1] = input_ids[:, 1:]
    if attention_mask is not None:
        targets[:, :-1].masked_fill_(attention_mask[:, 1:] == 0, IGNORED)
    return targets


def _require_words(blocks: Blocks, examples: Examples) -> None:
    """DataError for texts that are nothing but special tokens: there is nothing to predict."""
    words = np.add.reduceat((blocks.words != SPECIAL).astype(np.int64), blocks.tokens.starts[:-1])
    empty = np.flatnonzero(words == 0)
    if len(empty):
        where = examples.where(int(blocks.rows[empty[0]]))
        raise DataError("nothing in this text can be masked", where=where, expected="words")


class MaskedModeling(LanguageModeling):
    """Masked tokens are predicted from all others of their block. Training masks are new in every epoch."""

    masked = True
    random_views = True

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: TextModel,
        encode: Callable[[Examples], Blocks],
        max_length: int,
        *,
        masking: Masking,
    ) -> None:
        whole_words = spec.data.whole_words is not False
        seed = spec.train.seed
        super().__init__(spec, data, loaded, encode, max_length, masking.fraction, whole_words, seed)
        self._masking = masking
        self._whole_words = whole_words
        self._find_words()

    def _find_words(self) -> None:
        for split, blocks in self._encodings.items():
            _require_words(blocks, self._examples(split))
        self._words = {
            split: mask_words(blocks, self._whole_words) for split, blocks in self._encodings.items()
        }

    def evaluating(self, examples: Examples) -> Pipeline:
        other = self._over(examples)
        other._find_words()
        return other

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        tokens, words = self._encodings[split].tokens, self._words[split]
        if split == "train":
            draws = training_draws(self._spec.train.seed, epoch, ids, self._max_length)
        else:
            draws = evaluation_draws(ids, self._max_length)
        inputs = tokens.pad(ids, self._tokenizer.pad_token_id)
        seen = inputs["input_ids"].numpy()
        targets = np.full_like(seen, IGNORED)
        for row, index in enumerate(ids):
            place = slice(tokens.starts[index], tokens.starts[index + 1])
            width = place.stop - place.start
            seen[row, :width], targets[row, :width] = self._masking.apply(
                tokens.ids[place], words[place], draws[row, :width]
            )
        return Batch(ids=ids, inputs=inputs, targets=torch.from_numpy(targets))
