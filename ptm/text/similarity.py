"""Task ``text-similarity``: embeddings of texts whose cosine says how alike they are (arXiv:1908.10084).

An example is a pair of texts with a score (``data.label_type: number``), a pair that belongs together (``pairs``), or a
single text of a class (``class``). Each text is read alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.base.seeds import PARTNER, mix, uniforms
from ptm.config.label_types import CLASS, NUMBER, PAIRS
from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.given import Given
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, is_table, text_inputs
from ptm.data.label_columns import label_column
from ptm.data.tabular import load_columns, load_dataset
from ptm.errors import DataError, Problem, refuse
from ptm.metrics.similarity import ALONE, NeighbourMetrics, RetrievalMetrics, ScoreMetrics
from ptm.pipeline import Batch, Metrics, Output, Split
from ptm.text import origins
from ptm.text.encoders import LENGTH_FILE, Encoder, build_encoder, embed
from ptm.text.models import trained_length
from ptm.text.pipeline import TextPipeline
from ptm.text.tokens import Tokens, longest_text, tokenize
from ptm.training.order import epoch_plan

DEFAULT_TEMPERATURE = 0.05  # a scale of 20, as in sentence-transformers

missing = origins.missing_downloads


def stored_labels(name: str) -> tuple[str, ...] | None:
    """None: similarities have no labels."""
    return None


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Raises DataError for scores outside of ``data.score_range``, and where there is nothing to tell a text from.
    Targets of ``pairs`` are int64 [n], equal where the second texts are."""
    columns = _columns(spec)
    if spec.data.label_type == PAIRS.name:
        data = _map_splits(load_columns(spec.data, columns, train=train), _with_numbers)
        if data.train is not None and len(np.unique(data.train.targets)) < 2:
            what = f"the second text of all {len(data.train)} pairs is the same"
            raise DataError(what, where="data.train", expected="others, to tell it from")
        return data
    data = load_dataset(spec.data, columns, train=train, unlabelled=spec.needs_no_labels)
    if spec.data.label_type == NUMBER.name:
        _map_splits(data, partial(_within, _score_range(spec)))
    else:
        _require_neighbours(data)
    return data


def _require_neighbours(data: Dataset) -> None:
    for name, examples in (("eval", data.eval), ("test", data.test)):
        if examples is not None and len(examples) == 1:
            raise DataError(ALONE, where=f"data.{name}", cure="evaluate on several")


def _map_splits(data: Dataset, change: Any) -> Dataset:
    splits = {name: getattr(data, name) for name in ("train", "eval", "test")}
    return replace(
        data, **{name: change(examples) for name, examples in splits.items() if examples is not None}
    )


def _with_numbers(pairs: Examples) -> Examples:
    numbers = np.unique(np.array(pairs.columns["text_pair"], dtype=object), return_inverse=True)[1]
    return replace(pairs, targets=numbers.astype(np.int64))


def _within(score_range: tuple[float, float], examples: Examples) -> Examples:
    low, high = score_range
    targets = np.empty(0) if examples.targets is None else examples.targets
    refuse(
        (
            Problem(
                f"the score is {targets[row]:g}",
                examples.where(int(row)),
                f"a number from {low:g} to {high:g}",
                f"data.score_range: [{min(low, targets.min()):g}, {max(high, targets.max()):g}]",
            )
            for row in np.flatnonzero((targets < low) | (targets > high))
        ),
        noun="scores",
    )
    return examples


def _score_range(spec: RunSpec) -> tuple[float, float]:
    low, high = spec.data.score_range or (0.0, 1.0)
    return low, high


def _columns(spec: RunSpec) -> dict[str, str]:
    pair = {} if spec.data.text_pair is None else {"text_pair": spec.data.text_pair}
    return {"text": spec.data.text or "text", **pair}


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Pairs of tables with both columns; of lines of text, and where examples are single texts, these."""
    pair = _columns(spec)
    single = {"text": pair["text"]}
    columns = [pair if isinstance(path, Given) or is_table(path) else single for path in paths]
    pieces = [
        text_inputs([path], of_path, spec.data, left_out)
        for path, of_path in zip(paths, columns, strict=True)
    ]
    return chain.from_iterable(pieces)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> TextSimilarity:
    """Load the encoder, tokenise both splits. ``complete`` models must come with their weights."""
    texts = None if data.train is None else partial(_all_texts, data.train)
    loaded = build_encoder(model, texts, seed=spec.train.seed, complete=complete)
    added = loaded.tokenizer.num_special_tokens_to_add(pair=False)
    own = loaded.own_length or (trained_length(loaded) if complete else None)
    requested = spec.data.max_length or own
    max_length = longest_text(requested, loaded.max_positions, model, added=added)
    pipeline = TextSimilarity(
        spec, data, loaded, partial(_tokenize, loaded.tokenizer, max_length), max_length
    )
    label = {} if spec.data.label_type == PAIRS.name else label_column(spec.data)
    pipeline.cuts_to(max_length, text=_columns(spec)["text"], **label)
    pipeline.reads = f"texts of at most {max_length} tokens"
    if loaded.own_length and spec.data.max_length is None:
        pipeline.told = (f"data.max_length: {max_length}, as {LENGTH_FILE} of the model has it",)
    return pipeline


def _all_texts(examples: Examples) -> list[str]:
    return [text for column in examples.columns.values() for text in column]


@dataclass(frozen=True)
class Texts:
    """The tokens of the texts of a split: all first ones, then, of pairs, all second ones. ``cut``, ``pair_cut``: how
    many of each are longer than what is read."""

    tokens: Tokens
    examples: int
    cut: int
    pair_cut: int

    def __len__(self) -> int:
        return self.examples

    @property
    def ids(self) -> np.ndarray:
        return self.tokens.ids

    @property
    def lengths(self) -> np.ndarray:
        """Of the longest text of each example, int [n]."""
        longest: np.ndarray = self.tokens.lengths.reshape(-1, self.examples).max(0)
        return longest

    @property
    def paired(self) -> bool:
        return len(self.tokens) > self.examples

    def pad(self, examples: np.ndarray, pad_id: int) -> dict[str, Tensor]:
        """Of these examples the first texts, then the second ones."""
        rows = np.concatenate([examples, examples + self.examples]) if self.paired else examples
        return self.tokens.pad(rows, pad_id)

    def pad_side(self, examples: np.ndarray, pad_id: int) -> dict[str, Tensor]:
        """Of these examples the last text alone: the second of a pair."""
        return self.tokens.pad(examples + (self.examples if self.paired else 0), pad_id)

    def describe(self) -> dict[str, Any]:
        total = self.tokens.describe()
        if not self.paired:
            return total
        sides = {"text": self.cut, "text_pair": self.pair_cut}
        return {
            "tokens": total["tokens"],
            "longest_tokens": total["longest_tokens"],
            **{side: {"cut_to_max_length": cut} for side, cut in sides.items()},
        }


def _tokenize(tokenizer: Any, max_length: int, examples: Examples) -> Texts:
    sides = [
        tokenize(
            tokenizer, replace(examples, columns={"text": column}), max_length=max_length, segments=False
        )
        for column in examples.columns.values()
    ]
    starts = [sides[0].starts, *(sides[0].starts[-1] + side.starts[1:] for side in sides[1:])]
    tokens = Tokens(
        np.concatenate([side.ids for side in sides]),
        None,
        np.concatenate(starts),
        sum(side.cut for side in sides),
    )
    return Texts(tokens, len(examples), sides[0].cut, sum(side.cut for side in sides[1:]))


class TextSimilarity(TextPipeline[Encoder, Texts]):
    """Pipeline of one encoder. Logits are the cosines of pairs, [n, 1], or the embeddings of single texts, [n, d]."""

    reads_its_tokens_alone = True

    def __init__(self, spec: RunSpec, data: Dataset, *built: Any) -> None:
        super().__init__(spec, data, *built)
        self._classes = data.labels  # of single texts; the model itself has no labels

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        """Of training, inputs have ``others``: ids of more examples that the loss of a batch needs."""
        others = self._others(epoch) if split == "train" else None
        for ids in plan:
            batch = self._batch(split, ids, epoch)
            if others is not None:
                batch.inputs["others"] = others(ids).tolist()
            yield batch

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        targets = self._examples(split).targets
        inputs = self._encodings[split].pad(ids, self._tokenizer.pad_token_id)
        return Batch(
            ids=ids, inputs=inputs, targets=None if targets is None else torch.from_numpy(targets[ids])
        )

    def _others(self, epoch: int) -> Callable[[np.ndarray], np.ndarray] | None:
        """What gives the ids of ``others``, int64, for those of a batch; None where none are needed."""
        kind, train = self._spec.data.label_type, self._spec.train
        if kind == CLASS.name:
            return self._partners(epoch)
        if kind == NUMBER.name:
            return None
        lengths = self.lengths("train") if train.group_by_length else None
        plan = epoch_plan(self.size("train"), train.batch_size, train.seed, epoch, lengths)
        number = np.empty(self.size("train"), dtype=np.int64)
        for index, ids in enumerate(plan):
            number[ids] = index
        # The rest of the batch of the epoch that these are a piece of: a function of seed and epoch, however batches
        # are cut and shared out.
        return lambda ids: np.setdiff1d(plan[number[ids[0]]], ids)

    def _partners(self, epoch: int) -> Callable[[np.ndarray], np.ndarray]:
        """What gives for each example another one of its class, then for each one of another class, int64 [2n]: a
        function of (seed, epoch, id). An example that is alone in its class is its own partner."""
        targets, seed = self._examples("train").targets, mix(self._spec.train.seed, PARTNER)
        order = np.argsort(targets, kind="stable")
        ordered, places = targets[order], np.argsort(order, kind="stable")

        def partners(ids: np.ndarray) -> np.ndarray:
            draws = uniforms(seed, epoch, ids, 2)
            first, after = (np.searchsorted(ordered, targets[ids], side) for side in ("left", "right"))
            count = after - first
            step = 1 + (draws[:, 0] * np.maximum(count - 1, 1)).astype(np.int64)
            same = order[first + np.where(count > 1, (places[ids] - first + step) % count, 0)]
            different = (draws[:, 1] * (len(targets) - count)).astype(np.int64)
            return np.concatenate([same, order[(after + different) % len(targets)]])

        return partners

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        return self._measured(model, batch)[0]

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """``predictions`` are embeddings, fp32 [n, texts, d]."""
        output, embeddings = self._measured(model, batch)
        return replace(output, predictions=embeddings.cpu().numpy())

    def _measured(self, model: nn.Module, batch: Batch) -> tuple[Output, Tensor]:
        """The output, and embeddings [n, texts, d]."""
        n = len(batch)
        sides = self._embeddings(model, batch.inputs).unflatten(0, (-1, n))  # [texts, n, d]
        first, second = sides[0], sides[1] if len(sides) > 1 else None
        logits = first if second is None else (first * second).sum(-1, keepdim=True)
        loss_sum = self._loss(model, batch, first, second)
        return Output(loss_sum=loss_sum, count=n, logits=logits), sides.transpose(0, 1)

    def _embeddings(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """fp32 [rows, d], of length 1."""
        given = {name: tensor for name, tensor in inputs.items() if name != "others"}
        result = model(**given)
        if hasattr(result, "logits"):  # the graph of an export, which pools by itself
            embeddings: Tensor = result.logits
            return embeddings
        return self.graph_output(result, given.get("attention_mask"))

    def graph_output(self, result: Any, mask: Tensor | None) -> Tensor:
        """Embeddings, fp32 [batch, d], of length 1."""
        return embed(result.last_hidden_state, mask, self._loaded.pooling)

    def program_settings(self) -> dict[str, Any]:
        """The scores whose cosines are 0 and 1, where it predicts scores."""
        scored = self._spec.data.label_type == NUMBER.name
        return {"score_range": list(_score_range(self._spec))} if scored else {}

    def _loss(self, model: nn.Module, batch: Batch, first: Tensor, second: Tensor | None) -> Tensor:
        """Summed over examples; 0 where there are no targets, and of ``pairs`` and ``class`` in evaluation, where the
        metrics know all embeddings."""
        if batch.targets is None:
            return first.new_zeros(())
        if self._spec.data.label_type == NUMBER.name:
            assert second is not None
            low, high = _score_range(self._spec)
            scores = ((batch.targets - low) / (high - low)).float()
            return F.mse_loss((first * second).sum(-1), scores, reduction="sum")
        if not self.model.training or "others" not in batch.inputs:
            return first.new_zeros(())
        others = np.array(batch.inputs["others"], dtype=np.int64)
        if second is None:
            return _contrast(first, self._other_texts(model, others, first.device))
        targets = batch.targets
        candidates = second
        if len(others):
            candidates = torch.cat([second, self._other_texts(model, others, first.device)])
            numbers = torch.from_numpy(self._examples("train").targets[others])
            targets = torch.cat([targets, numbers.to(targets.device)])
        temperature = self._spec.train.temperature or DEFAULT_TEMPERATURE
        return ranking_loss(first, candidates, targets, temperature)

    def _other_texts(self, model: nn.Module, others: np.ndarray, device: torch.device) -> Tensor:
        inputs = self._encodings["train"].pad_side(others, self._tokenizer.pad_token_id)
        return self._embeddings(model, {name: tensor.to(device) for name, tensor in inputs.items()})

    def new_metrics(self) -> Metrics:
        kind = self._spec.data.label_type
        if not self._paired:
            return NeighbourMetrics(self._classes)
        if kind == NUMBER.name:
            return ScoreMetrics(_score_range(self._spec))
        return RetrievalMetrics(self._spec.train.temperature or DEFAULT_TEMPERATURE)

    @property
    def _paired(self) -> bool:
        return self._encodings["eval"].paired


def ranking_loss(first: Tensor, candidates: Tensor, numbers: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding, by cosine / temperature, the second text of each pair among all ``candidates``, summed
    over pairs (Henderson et al. 2017, arXiv:1705.00652, section 4.4; van den Oord et al. 2018, arXiv:1807.03748,
    eq. 4).

    ``first`` fp [n, d] and ``candidates`` fp [m, d] have length 1; candidate i < n belongs to text i. ``numbers``:
    int64 [m], equal for candidates that are the same text: of these, the one that belongs to a text alone counts.
    """
    scores = first @ candidates.T / temperature
    own = torch.arange(len(first), device=first.device)
    again = numbers[: len(first), None] == numbers
    again[own, own] = False
    return F.cross_entropy(scores.masked_fill(again, -torch.inf), own, reduction="sum")


def _contrast(texts: Tensor, partners: Tensor) -> Tensor:
    """(1 - cosine)² with a text of the same class and cosine² with one of another, summed over texts: the pairs that
    SetFit draws (Tunstall et al. 2022, arXiv:2209.11055, section 3.1), with the loss of its authors' code."""
    same, different = partners.chunk(2)
    return ((1 - (texts * same).sum(-1)) ** 2).sum() + ((texts * different).sum(-1) ** 2).sum()
