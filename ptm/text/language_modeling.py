"""Tasks ``masked-lm`` and ``causal-lm``: text without labels; tokens are predicted from those around or before them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples, load_columns
from ptm.data.inputs import Inputs, Source, text_inputs
from ptm.errors import DataError
from ptm.metrics.language import LanguageMetrics, Scores
from ptm.pipeline import Batch, Output, Pipeline, Split
from ptm.text import models, origins
from ptm.text.blocks import SPECIAL, Blocks, make_blocks
from ptm.text.completion import Continuation, FillMask
from ptm.text.language_models import LanguageModel, build_language_model, projecting
from ptm.text.masking import IGNORED, Masking, evaluation_draws, mask_words, masking_of, training_draws
from ptm.text.tokens import longest_text, tokenizer_digest

DEFAULT_MASK_SHARE = 0.15
_ADDED = 2  # tokens of a block that begin and end it

missing = origins.missing_downloads


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Texts; there are no ``labels``."""
    return load_columns(spec.data, _columns(spec), train=train)


def read_inputs(spec: RunSpec, paths: Sequence[Source]) -> Iterator[Examples]:
    """Texts with ``[MASK]`` to fill in, or texts to continue."""
    return text_inputs(paths, _columns(spec))


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
    max_length = longest_text(spec.data.max_length, loaded.max_positions, model.name, added=_ADDED)
    if isinstance(data.eval, Inputs):
        completion = FillMask if spec.task == "masked-lm" else Continuation
        return completion(loaded, data.eval, max_length)
    cut = partial(
        make_blocks,
        loaded.tokenizer,
        max_length=max_length,
        pack=spec.data.pack is not False,
        overlap=spec.task == "causal-lm",
    )
    splits: dict[Split, Blocks] = {"eval": cut(data.eval)}
    if train is not None:
        splits["train"] = cut(train)
    if spec.task == "causal-lm":
        return CausalModeling(spec, data, loaded, splits, max_length)
    share = DEFAULT_MASK_SHARE if spec.data.mask_share is None else spec.data.mask_share
    return MaskedModeling(
        spec, data, loaded, splits, max_length, masking=masking_of(loaded.tokenizer, share, model.where)
    )


class LanguageModeling(Pipeline):
    """What both tasks share: an example is a block of tokens, the loss a sum over the tokens that are predicted.

    ``Batch.targets`` are int64 [n, tokens], IGNORED where nothing is predicted. ``forward`` gives logits [predicted
    tokens, vocabulary], and their targets, only when ``requested`` has "logits": they are large.
    """

    labels = ()
    per_example = False
    masked = False

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: LanguageModel,
        blocks: dict[Split, Blocks],
        max_length: int,
    ) -> None:
        self.model: nn.Module = loaded.model
        self.head = loaded.head
        self.embeddings = loaded.embeddings
        self.load_report = loaded.report
        self.input_fingerprint = (
            f"{tokenizer_digest(loaded.tokenizer)}/{spec.task}/{max_length}/{spec.data.pack is not False}"
        )
        self.output_fingerprint = models.config_digest(loaded.model)
        self._data = data
        self._loaded = loaded
        self._tokenizer = loaded.tokenizer
        self._blocks = blocks
        self._max_length = max_length
        self._packed = spec.data.pack is not False
        self._label_smoothing = spec.train.label_smoothing

    def size(self, split: Split) -> int:
        return len(self._blocks[split])

    def lengths(self, split: Split) -> np.ndarray | None:
        return None if self._packed else self._blocks[split].tokens.lengths

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        for ids in plan:
            inputs = self._blocks[split].tokens.pad(ids, self._tokenizer.pad_token_id)
            yield self._batch(split, ids, inputs, epoch)

    @abstractmethod
    def _batch(self, split: Split, ids: np.ndarray, inputs: dict[str, Tensor], epoch: int) -> Batch: ...

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        logits, targets = self._predicted(model, batch)
        smoothing = self._label_smoothing if self.model.training else 0.0
        loss_sum = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
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
        if model is self.model and self._loaded.model.get_output_embeddings() is not None:
            with projecting(self._loaded.model, places):
                logits = model(**batch.inputs).logits
        else:  # a compiled model does not call hooks that were not there when it was compiled
            logits = model(**batch.inputs).logits[places]
        return logits.float(), batch.targets[places]

    def domain_warnings(self) -> list[str]:
        """Texts that the tokenizer has no words for."""
        return models.unknown_words(self._tokenizer, self._blocks["eval"].tokens.ids)

    def new_metrics(self) -> LanguageMetrics:
        text_bytes = None if self.masked else self._blocks["eval"].text_bytes
        return LanguageMetrics(masked=self.masked, text_bytes=text_bytes)

    def example(self, split: Split, index: int) -> dict[str, Any]:
        """A text, or what a block holds, and where the text stands in which it begins."""
        blocks, examples = self._blocks[split], self._examples(split)
        row = int(blocks.rows[index])
        text = self._decoded(blocks, index) if self._packed else examples.columns["text"][row]
        return {"text": text, "where": examples.where(row)}

    def _decoded(self, blocks: Blocks, index: int) -> str:
        begin, end = blocks.tokens.starts[index : index + 2]
        text: str = self._tokenizer.decode(blocks.tokens.ids[begin:end].tolist())
        return text

    def save_model(self, directory: Path) -> None:
        """The layout of save_pretrained: for further training, for ``transformers``, as the start of another task."""
        self._loaded.model.save_pretrained(directory)
        self._tokenizer.save_pretrained(directory)

    def with_examples(self, examples: Examples) -> Pipeline:
        completion = FillMask if self.masked else Continuation
        return completion(self._loaded, examples, self._max_length)

    def describe(self) -> dict[str, Any]:
        return {
            split: {
                "examples": len(blocks),
                "texts": len(self._examples(split)),
                "tokens": int(blocks.tokens.starts[-1]),
                "text_bytes": blocks.text_bytes,
                "longest_tokens": int(blocks.tokens.lengths.max()),
                "cut_to_max_length": blocks.tokens.cut,
            }
            for split, blocks in self._blocks.items()
        }


class CausalModeling(LanguageModeling):
    """Each token is predicted from those before it in its block."""

    def _batch(self, split: Split, ids: np.ndarray, inputs: dict[str, Tensor], epoch: int) -> Batch:
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
        loaded: LanguageModel,
        blocks: dict[Split, Blocks],
        max_length: int,
        *,
        masking: Masking,
    ) -> None:
        super().__init__(spec, data, loaded, blocks, max_length)
        whole = spec.data.whole_words is not False
        self.input_fingerprint += f"/{masking.share}/{whole}/{spec.train.seed}"
        self._seed = spec.train.seed
        self._masking = masking
        for split, each in blocks.items():
            _require_words(each, self._examples(split))
        self._words = {split: mask_words(each, whole) for split, each in blocks.items()}

    def _batch(self, split: Split, ids: np.ndarray, inputs: dict[str, Tensor], epoch: int) -> Batch:
        tokens, words = self._blocks[split].tokens, self._words[split]
        if split == "train":
            draws = training_draws(self._seed, epoch, ids, self._max_length)
        else:
            draws = evaluation_draws(ids, self._max_length)
        seen = inputs["input_ids"].numpy()
        targets = np.full_like(seen, IGNORED)
        for row, index in enumerate(ids):
            place = slice(tokens.starts[index], tokens.starts[index + 1])
            width = place.stop - place.start
            seen[row, :width], targets[row, :width] = self._masking.apply(
                tokens.ids[place], words[place], draws[row, :width]
            )
        return Batch(ids=ids, inputs=inputs, targets=torch.from_numpy(targets))
