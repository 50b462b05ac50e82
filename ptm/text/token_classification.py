"""Task ``token-classification``: a tag for each word of a sentence.

A word's first token stands for it: there the tag is learned and read (Devlin et al. 2018, arXiv:1810.04805, §5.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptm.config.data_section import LABEL
from ptm.config.model_ref import ModelRef
from ptm.config.spec import DataSpec, RunSpec
from ptm.data.arrow_lists import Lists
from ptm.data.cutting import CONFIG_KEY, CutText, WordCut, cut_of, joined_words, learn_cut
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, text_inputs
from ptm.data.tabular import load_dataset
from ptm.errors import DataError, Problem, refuse
from ptm.metrics.tagging import TaggedWords, TagMetrics
from ptm.pipeline import Batch, Output, Split
from ptm.text import features, origins
from ptm.text.classifiers import PURPOSES, build_classifier
from ptm.text.models import trained_length
from ptm.text.pipeline import ClassifierPipeline
from ptm.text.tag_checks import tag_findings
from ptm.text.tokens import longest_text
from ptm.text.windows import LongTexts
from ptm.text.words import WordTokens, tokenize_words

IGNORED = -100  # the target of a token that is not the first of its word

missing, stored_labels = origins.missing_downloads, origins.stored_labels


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Sentences as lists of words, and a list of as many tags for each.

    The tags are in the column that ``data.label`` names; where that is one of ``label`` and ``tags`` and there is no
    such column, in the other one.
    """
    column = spec.data.label or LABEL
    other = {LABEL: "tags", "tags": LABEL}.get(column)
    try:
        data = _load(spec.data, labels, train, unlabelled=spec.needs_no_labels)
    except DataError as error:
        if other is None or f"no column {column!r}" not in {p.what for p in error.problems}:
            raise
        try:
            data = _load(replace(spec.data, label=other), labels, train, unlabelled=spec.needs_no_labels)
        except DataError as of_other:
            neither = f"no column {other!r}" in {p.what for p in of_other.problems}
            raise (error if neither and other == LABEL else of_other) from None
        data = replace(data, decided={"label": other})
    said: list[Problem] = []
    for examples in (data.train, data.eval, data.test):
        if examples is not None and examples.targets is not None:
            _require_as_many(examples)
            said += tag_findings(examples, data.labels)
    return replace(data, warnings=(*data.warnings, *said))


def _load(data: DataSpec, labels: tuple[str, ...] | None, train: bool, *, unlabelled: bool) -> Dataset:
    columns = {"words": data.text or "words"}
    return load_dataset(data, columns, labels=labels, train=train, tags=True, unlabelled=unlabelled)


def _require_as_many(examples: Examples) -> None:
    """A tag for each word, or DataError naming the rows."""
    sentences = examples.columns["words"]
    words = sentences.lengths if isinstance(sentences, Lists) else np.array([*map(len, sentences)])
    tags = np.array([*map(len, examples.targets)])
    refuse(
        Problem(
            f"{words[row]} words, {tags[row]} tags",
            examples.where(row),
            "a tag for each word",
            "correct or remove the row",
        )
        for row in np.flatnonzero(words != tags).tolist()
    )


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Lists of words, or texts, which the pipeline cuts as its model's words were cut."""
    return text_inputs(paths, {"words": spec.data.text or "words"}, spec.data, left_out)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> TokenClassification:
    """Load the model, tokenise both splits. ``complete`` models must come with their output layer."""
    loaded = build_classifier(
        model, data.labels, seed=spec.train.seed, complete=complete, purpose=PURPOSES["tags"]
    )
    if data.train is not None and not complete:
        setattr(loaded.model.config, CONFIG_KEY, learn_cut(data.train.columns["words"]).as_dict())
    data = replace(data, eval=_cut(data.eval, cut_of(loaded.model.config)))
    added = loaded.tokenizer.num_special_tokens_to_add(pair=False)
    requested = spec.data.max_length or (
        trained_length(loaded) if complete and model.role != "teacher" else None
    )
    max_length = longest_text(requested, loaded.max_positions, model, added=added)
    long_texts = LongTexts.of(spec.data, max_length, added)
    encode = partial(_tokenize, loaded.tokenizer, long_texts)
    settings = (max_length, "words", *filter(None, [long_texts.name]))
    pipeline = TokenClassification(spec, data, loaded, encode, *settings)
    label = data.decided.get("label", spec.data.label or LABEL)
    pipeline.cuts_to(max_length, text=spec.data.text or "words", label=label)
    return pipeline


def _cut(examples: Examples, how: WordCut) -> Examples:
    """With texts cut into words."""
    if isinstance(examples.columns["words"], Lists):
        return examples
    rows = [how.cut(row) if isinstance(row, str) else row for row in examples.columns["words"]]
    return replace(examples, columns={**examples.columns, "words": rows})


@dataclass(frozen=True)
class TaggedTokens:
    """The tokens of a split, and what is learned from them."""

    words: WordTokens
    targets: np.ndarray | None  # int64 [total]: the class at the first token of a word, else IGNORED

    def __len__(self) -> int:
        return len(self.words)

    @property
    def ids(self) -> np.ndarray:
        return self.words.ids

    @property
    def lengths(self) -> np.ndarray:
        return self.words.lengths

    def describe(self) -> dict[str, Any]:
        return self.words.describe()


def _tokenize(tokenizer: Any, long_texts: LongTexts, examples: Examples) -> TaggedTokens:
    words = tokenize_words(tokenizer, examples, long_texts.max_length, long_texts)
    return TaggedTokens(words, _flat_targets(examples, words))


class TokenClassification(ClassifierPipeline[TaggedTokens]):
    """Pipeline of one model over sentences of words. Its logits have a row for each word that is seen."""

    per_example = False

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        """``first`` in the inputs, bool [n, tokens], says which tokens are the first of a word; targets are int64
        [n, tokens], -100 elsewhere."""
        words, flat = self._encodings[split].words, self._encodings[split].targets
        inputs = words.tokens.pad(ids, self._tokenizer.pad_token_id)
        inputs["first"] = torch.from_numpy(words.pad(ids, words.words, -1) >= 0)
        targets = None if flat is None else torch.from_numpy(words.pad(ids, flat, IGNORED))
        return Batch(ids=ids, inputs=inputs, targets=targets)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        """Logits fp32 [words, labels] of the words in a batch, sentence by sentence."""
        inputs = {name: tensor for name, tensor in batch.inputs.items() if name != "first"}
        result, inside = features.run(self.model, model, inputs, requested)
        first = batch.inputs["first"]
        logits = self._in_data_order(result.logits[first])
        if batch.targets is None:
            return Output(loss_sum=logits.new_zeros(()), count=len(logits), logits=logits, features=inside)
        targets: Tensor = batch.targets[first]
        loss_sum = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=self._label_smoothing())
        return Output(loss_sum=loss_sum, count=len(logits), logits=logits, targets=targets, features=inside)

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """``predictions`` are a :class:`TaggedWords` a sentence."""
        output = self.forward(model, batch)
        assert output.logits is not None
        best = output.logits.float().softmax(-1).max(-1)
        values, classes = best.values.cpu().numpy(), best.indices.cpu().numpy()
        of_rows = batch.inputs["first"].sum(1).cpu().numpy()
        counts = self._encodings["eval"].words.tokens.counts(batch.ids)
        ends = np.cumsum(of_rows)[np.cumsum(counts) - 1][:-1]
        pieces = zip(batch.ids.tolist(), np.split(classes, ends), np.split(values, ends), strict=True)
        return replace(output, predictions=[self._tagged(*piece) for piece in pieces])

    def _tagged(self, index: int, classes: np.ndarray, probabilities: np.ndarray) -> TaggedWords:
        examples, encoded = self._examples("eval"), self._encodings["eval"].words
        row = examples.columns["words"][index]
        words = row if isinstance(row, CutText) else joined_words(row)
        places = encoded.words[encoded.tokens.span(index)]
        seen = places[places >= 0]
        predicted, confidence = np.full(len(words), -1), np.zeros(len(words), dtype=np.float32)
        predicted[seen], confidence[seen] = classes, probabilities
        tags = None if examples.targets is None else examples.targets[index]
        return TaggedWords(words.text, words.starts, list(words), tags, predicted, confidence)

    def with_examples(self, examples: Examples) -> TokenClassification:
        return self._over(_cut(examples, cut_of(self._loaded.model.config)))

    def new_metrics(self) -> TagMetrics:
        return TagMetrics(self.labels)

    def _text(self, split: Split, index: int) -> str:
        return " ".join(self._examples(split).columns["words"][index])


def _flat_targets(examples: Examples, tokens: WordTokens) -> np.ndarray | None:
    """The class number at the first token of each word, -100 elsewhere, int64 [total]; None without tags."""
    if examples.targets is None:
        return None
    flat = np.full(len(tokens.words), IGNORED, dtype=np.int64)
    for index, tags in enumerate(examples.targets):
        part = tokens.tokens.span(index)
        words = tokens.words[part]
        flat[part][words >= 0] = tags[words[words >= 0]]
    return flat
