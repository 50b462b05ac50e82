"""``ptm predict`` with a language model: blanks of a text are filled in, or a text is continued."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ptm.data.examples import Examples
from ptm.errors import DataError, Problem, refuse
from ptm.pipeline import Batch, Metrics, Output, Pipeline, Prediction, Split
from ptm.text.blocks import ends_of
from ptm.text.language_models import LanguageModel, projecting
from ptm.text.tokens import no_limits, require_text

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


class _Completion(Pipeline):
    """A trained language model over texts that are to be completed."""

    labels = ()
    distillable = False
    per_example = False

    def __init__(self, loaded: LanguageModel, examples: Examples, max_length: int) -> None:
        self.model: nn.Module = loaded.model
        self.load_report = loaded.report
        self.head = loaded.head
        self.embeddings = loaded.embeddings
        self._loaded = loaded
        self._tokenizer = loaded.tokenizer
        self._texts = examples
        self._max_length = max_length
        require_text(examples.columns["text"], "text", examples)
        self._rows = self._encode(list(examples.columns["text"]))

    @abstractmethod
    def _encode(self, texts: list[str]) -> list[list[int]]: ...

    def size(self, split: Split) -> int:
        return len(self._rows)

    def lengths(self, split: Split) -> np.ndarray:
        return np.array([len(row) for row in self._rows])

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        for ids in plan:
            rows = [self._rows[index] for index in ids]
            yield Batch(ids=ids, inputs=self._padded(rows), targets=None)

    def _padded(self, rows: list[list[int]]) -> dict[str, Tensor]:
        raise NotImplementedError

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        raise NotImplementedError("texts to complete teach nothing")

    def new_metrics(self) -> Completed:
        return Completed()

    def example(self, split: Split, index: int) -> dict[str, Any]:
        return {"text": self._texts.columns["text"][index], "where": self._texts.where(index)}

    def save_model(self, directory: Path) -> None:
        self._loaded.model.save_pretrained(directory)
        self._tokenizer.save_pretrained(directory)

    def describe(self) -> dict[str, Any]:
        return {"eval": {"examples": len(self._rows)}}

    def with_examples(self, examples: Examples) -> Pipeline:
        return type(self)(self._loaded, examples, self._max_length)


class FillMask(_Completion):
    """Names the likeliest tokens for each mask token of a text: ``masks`` (a mapping token → probability each), and
    the text with the likeliest ones filled in: ``prediction``."""

    def _encode(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer(
            texts, truncation=True, max_length=self._max_length, return_attention_mask=False
        )
        no_limits(getattr(self._tokenizer, "backend_tokenizer", None))
        rows: list[list[int]] = encoded["input_ids"]
        mask = self._tokenizer.mask_token
        refuse(
            Problem(
                f"no {mask} among its first {self._max_length} tokens",
                self._texts.where(row),
                f"a text with {mask} where a word is to be found",
            )
            for row, ids in enumerate(rows)
            if ids.count(self._tokenizer.mask_token_id) == 0
        )
        return rows

    def _padded(self, rows: list[list[int]]) -> dict[str, Tensor]:
        return _pad(rows, self._tokenizer.pad_token_id, left=False)

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        ids = batch.inputs["input_ids"]
        places = ids == self._tokenizer.mask_token_id
        with projecting(self.model, places):
            logits = model(**batch.inputs).logits.float()  # [masks, vocabulary]
        top = logits.softmax(-1).topk(min(LIKELIEST, logits.shape[-1]))
        chosen = ids.masked_scatter(places, top.indices[:, 0])
        found = iter(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        real = batch.inputs.get("attention_mask", torch.ones_like(ids)).bool()
        predictions = [
            {
                "prediction": self._tokenizer.decode(chosen[row][real[row]], skip_special_tokens=True),
                "masks": [self._named(*next(found)) for _ in range(int(places[row].sum()))],
            }
            for row in range(len(batch))
        ]
        return Output(loss_sum=logits.new_zeros(()), count=len(batch), predictions=predictions)

    def _named(self, tokens: list[int], probabilities: list[float]) -> dict[str, float]:
        names = self._tokenizer.convert_ids_to_tokens(tokens)
        return {name: round(p, 6) for name, p in zip(names, probabilities, strict=True)}


class Continuation(_Completion):
    """Continues each text by the likeliest token again and again, up to NEW_TOKENS or the end of the text."""

    def _encode(self, texts: list[str]) -> list[list[int]]:
        limit = self._loaded.max_positions or 10**9
        self._new_tokens = min(NEW_TOKENS, max(1, limit // 2))
        encoded = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        begin = ends_of(self._tokenizer).begin
        room = limit - self._new_tokens  # the end of a long text decides how it goes on
        return [[begin, *ids][-room:] for ids in encoded["input_ids"]]

    def _padded(self, rows: list[list[int]]) -> dict[str, Tensor]:
        return _pad(rows, self._tokenizer.pad_token_id, left=True)

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        ids = batch.inputs["input_ids"]
        written = self._loaded.model.generate(
            input_ids=ids,
            attention_mask=batch.inputs.get("attention_mask", torch.ones_like(ids)),
            max_new_tokens=self._new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=ends_of(self._tokenizer).end,
        )
        texts = self._tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
        predictions = [{"prediction": text} for text in texts]
        return Output(loss_sum=torch.zeros(()), count=len(batch), predictions=predictions)


def _pad(rows: list[list[int]], pad: int, *, left: bool) -> dict[str, Tensor]:
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for row, tokens in enumerate(rows):
        place = slice(width - len(tokens), width) if left else slice(len(tokens))
        ids[row, place] = torch.tensor(tokens)
        mask[row, place] = 1
    return {"input_ids": ids} if mask.all() else {"input_ids": ids, "attention_mask": mask}
