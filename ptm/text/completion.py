"""``ptm predict`` with a language model: blanks of a text are filled in, or a text is continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.errors import DataError, Problem, refuse
from ptm.metrics.classification import six_digits
from ptm.pipeline import Batch, Metrics, Output, Prediction, Split
from ptm.text.blocks import ends_of
from ptm.text.generation import write
from ptm.text.language_models import projecting
from ptm.text.models import TextModel
from ptm.text.pipeline import TextPipeline
from ptm.text.tokens import no_limits, require_text
from ptm.training.finite import outputs_not_finite

LIKELIEST = 5  # tokens named for a blank
NEW_TOKENS = 40  # that a text is continued by, at most


class Completed:
    """What was written for each text, by rising id."""

    def __init__(self) -> None:
        self._rows: dict[int, Mapping[str, Any]] = {}

    def update(self, batch: Batch, output: Output) -> None:
        self._rows |= dict(zip(batch.ids.tolist(), output.predictions, strict=True))

    def merge(self, others: Sequence[Metrics]) -> Completed:
        merged = Completed()
        for part in (self, *others):
            assert isinstance(part, Completed)
            merged._rows |= part._rows
        return merged

    def compute(self) -> dict[str, float]:
        if not self._rows:
            raise DataError("nothing was evaluated: there are no texts")
        return {}  # nobody knows what should have been written

    def predictions(self) -> Iterator[Prediction]:
        return (cast(Prediction, {"id": index, **self._rows[index]}) for index in sorted(self._rows))


@dataclass(frozen=True)
class Prompts:
    """Texts that are to be completed, as tokens."""

    rows: list[list[int]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> np.ndarray:
        return np.concatenate([np.array(row, dtype=np.int32) for row in self.rows])

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(row) for row in self.rows])

    def describe(self) -> dict[str, Any]:
        return {}


class Completion(TextPipeline[TextModel, Prompts]):
    """A trained language model over texts that are to be completed."""

    distillable = False
    per_example = False
    pad_left = False

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        rows = [self._encodings[split].rows[index] for index in ids]
        inputs = _pad(rows, self._tokenizer.pad_token_id, left=self.pad_left)
        return Batch(ids=ids, inputs=inputs, targets=None)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        raise NotImplementedError("texts to complete teach nothing")

    def new_metrics(self) -> Completed:
        return Completed()


def completion_pipeline(spec: RunSpec, data: Dataset, loaded: TextModel, max_length: int) -> Completion:
    """Over the evaluation examples of ``data``: blanks are filled in by a masked language model, texts continued by a
    causal one."""
    if spec.task == "masked-lm":
        return FillMask(spec, data, loaded, partial(_encode_blanks, loaded.tokenizer, max_length), max_length)
    room = loaded.max_positions or 10**9
    new_tokens = min(NEW_TOKENS, max(1, room // 2))
    encode = partial(_encode_beginnings, loaded.tokenizer, room - new_tokens)
    return Continuation(spec, data, loaded, encode, new_tokens)


class FillMask(Completion):
    """Names the likeliest tokens for each mask token of a text: ``masks`` (a mapping token → probability each), and
    the text with the likeliest ones filled in: ``prediction``."""

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        ids = batch.inputs["input_ids"]
        places = ids == self._tokenizer.mask_token_id
        if model is self._loaded.model:
            with projecting(model, places):
                logits = model(**batch.inputs).logits.float()  # [masks, vocabulary]
        else:  # an export gives those of all places
            logits = model(**batch.inputs).logits[places].float()
        top = logits.softmax(-1).topk(min(LIKELIEST, logits.shape[-1]))
        filled = ids.masked_scatter(places, top.indices[:, 0])
        likeliest = iter(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        real = batch.inputs.get("attention_mask", torch.ones_like(ids)).bool()
        predictions = [
            {
                "prediction": self._tokenizer.decode(filled[row][real[row]], skip_special_tokens=True),
                "masks": [self._named(*next(likeliest)) for _ in range(int(places[row].sum()))],
            }
            for row in range(len(batch))
        ]
        return Output(loss_sum=logits.new_zeros(()), count=len(batch), predictions=predictions)

    def _named(self, tokens: list[int], probabilities: list[float]) -> dict[str, float]:
        names = self._tokenizer.convert_ids_to_tokens(tokens)
        return {name: six_digits(p) for name, p in zip(names, probabilities, strict=True)}


class Continuation(Completion):
    """Continues each text by the likeliest token again and again, up to NEW_TOKENS or the end of the text."""

    pad_left = True

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: TextModel,
        encode: Callable[[Examples], Prompts],
        new_tokens: int,
    ) -> None:
        super().__init__(spec, data, loaded, encode, new_tokens)
        self._new_tokens = new_tokens

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        ids = batch.inputs["input_ids"]
        written, seen = write(
            self._loaded.model,
            input_ids=ids,
            attention_mask=batch.inputs.get("attention_mask", torch.ones_like(ids)),
            max_new_tokens=self._new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=ends_of(self._tokenizer).end,
        )
        if rows := seen.not_finite:
            raise outputs_not_finite(batch.ids[rows].tolist(), self)
        texts = self._tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
        predictions = [{"prediction": text} for text in texts]
        return Output(loss_sum=torch.zeros(()), count=len(batch), predictions=predictions)


def _encode_blanks(tokenizer: Any, max_length: int, examples: Examples) -> Prompts:
    """DataError for texts without a mask token among those that the model reads."""
    require_text(examples.columns["text"], "text", examples)
    texts = list(examples.columns["text"])
    encoded = tokenizer(texts, truncation=True, max_length=max_length, return_attention_mask=False)
    no_limits(getattr(tokenizer, "backend_tokenizer", None))
    rows: list[list[int]] = encoded["input_ids"]
    refuse(
        Problem(
            f"no {tokenizer.mask_token} among its first {max_length} tokens",
            examples.where(row),
            f"a text with {tokenizer.mask_token} where a word is to be found",
        )
        for row, ids in enumerate(rows)
        if ids.count(tokenizer.mask_token_id) == 0
    )
    return Prompts(rows)


def _encode_beginnings(tokenizer: Any, room: int, examples: Examples) -> Prompts:
    """Texts to continue, at most ``room`` tokens of each: the end of a long text decides how it goes on."""
    require_text(examples.columns["text"], "text", examples)
    texts = list(examples.columns["text"])
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    begin = ends_of(tokenizer).begin
    return Prompts([[begin, *ids][-room:] for ids in encoded["input_ids"]])


def _pad(rows: list[list[int]], pad: int, *, left: bool) -> dict[str, Tensor]:
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for row, tokens in enumerate(rows):
        place = slice(width - len(tokens), width) if left else slice(len(tokens))
        ids[row, place] = torch.tensor(tokens)
        mask[row, place] = 1
    return {"input_ids": ids} if mask.all() else {"input_ids": ids, "attention_mask": mask}
