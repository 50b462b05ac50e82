"""Task ``question-answering``: the part of a context that answers a question (extractive question answering).

Each token is scored as the first and as the last one of the answer (Devlin et al. 2018, arXiv:1810.04805, §4.2). Long
contexts are read in windows; where one does not hold the answer, [CLS] is to be both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source, text_inputs
from ptm.data.questions import answer_texts, has_unanswerable, input_columns, load_questions
from ptm.metrics.question_answering import AnswerMetrics, FoundAnswer
from ptm.pipeline import Batch, Output, Split
from ptm.text import origins
from ptm.text.answer_spans import ScoredWindow, best_answer, without_blanks
from ptm.text.classifiers import PURPOSES, Classifier, build_classifier
from ptm.text.models import trained_length
from ptm.text.notes import cut_note
from ptm.text.pipeline import TextPipeline
from ptm.text.question_tokens import NONE, QuestionTokens, tokenize_questions
from ptm.text.tokens import longest_text, separate_pairs
from ptm.text.windows import LongTexts, in_parts

# The logit of what can be no end of an answer, padding and the question: no probability in fp32 at any temperature, and
# yet a number, so that differences between two models are numbers.
_NEVER = -1e4

missing = origins.missing_downloads


def stored_labels(name: str) -> tuple[str, ...] | None:
    """None: answers have no labels."""
    return None


def load_data(spec: RunSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Questions, contexts and answers; there are no ``labels``."""
    return load_questions(spec.data, train=train)


def read_inputs(
    spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None
) -> Iterator[Examples]:
    """Questions with their contexts, in pieces."""
    return text_inputs(paths, input_columns(spec.data), spec.data, left_out)


def build(spec: RunSpec, data: Dataset, *, model: ModelRef, complete: bool) -> QuestionAnswering:
    """Load the model, tokenise both splits. ``complete`` models must come with their output layer."""
    loaded = build_classifier(
        model,
        (),
        seed=spec.train.seed,
        complete=complete,
        purpose=PURPOSES["answers"],
        texts=None if data.train is None else partial(_all_texts, data.train),
    )
    if loaded.tokenizer.cls_token_id is not None and not complete:
        separate_pairs(loaded.tokenizer, model.where)
    added = loaded.tokenizer.num_special_tokens_to_add(pair=True)
    requested = spec.data.max_length or (
        trained_length(loaded) if complete and model.role != "teacher" else None
    )
    # A question and a context have a token at least.
    max_length = longest_text(requested, loaded.max_positions, model, added=added + 1)
    long_texts = LongTexts.of(replace(spec.data, long_texts="windows"), max_length, added)
    no_answer = spec.data.no_answer
    no_answer = has_unanswerable(data) if no_answer is None else no_answer
    encode = partial(tokenize_questions, loaded.tokenizer, long_texts, loaded.segments)
    pipeline = QuestionAnswering(
        spec,
        data,
        loaded,
        encode,
        max_length,
        long_texts.name,
        no_answer=no_answer,
        stride=long_texts.stride,
    )
    columns = {"text": input_columns(spec.data)["context"], "question": input_columns(spec.data)["question"]}
    pipeline.cuts_to(max_length, **columns, **data.decided, no_answer=no_answer)
    return pipeline


class QuestionAnswering(TextPipeline[Classifier, QuestionTokens]):
    """Pipeline of one model over the windows of contexts. Its logits have two rows a window, for the first and the last
    token of the answer; ``count`` counts them."""

    per_example = False
    read_columns = ("question", "context")
    reads_its_tokens_alone = True

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: Classifier,
        encode: Callable[[Examples], QuestionTokens],
        max_length: int,
        *settings: object,
        no_answer: bool,
        stride: int,
    ) -> None:
        super().__init__(spec, data, loaded, encode, max_length, *settings)
        self._no_answer, self._stride = no_answer, stride
        self.reads = f"questions with windows of their contexts, {max_length} tokens together"

    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        """In the inputs: ``possible``, bool [windows, tokens], the tokens that may begin or end an answer; ``windows``,
        int64 [n], how many each example has. Targets are int64 [windows, 2]."""
        encoding = self._encodings[split]
        rows = encoding.tokens.rows(ids)
        inputs = encoding.tokens.pad(ids, self._tokenizer.pad_token_id)
        possible = encoding.tokens.pad_beside(ids, encoding.first, NONE) >= 0
        possible[np.arange(len(rows)), encoding.start[rows]] = True
        inputs["possible"] = torch.from_numpy(possible)
        inputs["windows"] = torch.from_numpy(encoding.tokens.counts(ids))
        targets = (
            None if encoding.targets is None else torch.from_numpy(encoding.targets[rows].astype(np.int64))
        )
        return Batch(ids=ids, inputs=inputs, targets=targets)

    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        """Logits fp32 [2 * windows, tokens]: first and last token of the first window, of the second, …"""
        own = ("possible", "windows")
        inputs = {name: tensor for name, tensor in batch.inputs.items() if name not in own}
        ends = _ends(model, inputs) if model.training else in_parts(partial(_ends, model), inputs)
        scores = torch.stack(ends, dim=1).float()
        possible = batch.inputs["possible"][:, None].expand_as(scores).flatten(0, 1)
        logits = scores.flatten(0, 1).masked_fill(~possible, _NEVER)
        if batch.targets is None:
            return Output(loss_sum=logits.new_zeros(()), count=len(logits), logits=logits)
        targets: Tensor = batch.targets.flatten()
        loss_sum = _loss_sum(logits, targets, possible, self._label_smoothing())
        return Output(loss_sum=loss_sum, count=len(logits), logits=logits, targets=targets)

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """``predictions`` are a :class:`FoundAnswer` a question."""
        output = self.forward(model, batch)
        assert output.logits is not None
        scores = output.logits.unflatten(0, (-1, 2)).cpu().numpy()  # [windows, 2, tokens]
        ends = np.cumsum(batch.inputs["windows"].cpu().numpy())[:-1]
        pieces = zip(batch.ids.tolist(), np.split(scores, ends), strict=True)
        return replace(output, predictions=[self._found(*piece) for piece in pieces])

    def _found(self, index: int, scores: np.ndarray) -> FoundAnswer:
        examples, data = self._examples("eval"), self._spec.data
        windows = self._scored(index, scores)
        span = best_answer(
            windows, data.max_answer_length, may_be_none=self._no_answer, margin=data.no_answer_margin
        )
        context = examples.columns["context"][index]
        span = without_blanks(span, context)
        accepted = None
        if examples.targets is not None:
            accepted = tuple(answer_texts(examples.targets[index], context))
        text = context[span.start : span.end] if span.start is not None else ""
        return FoundAnswer(text, span.start, span.end, span.probability, accepted)

    def _scored(self, index: int, scores: np.ndarray) -> list[ScoredWindow]:
        encoding = self._encodings["eval"]
        windows = []
        for (first, last), row in zip(scores, encoding.tokens.rows(np.array([index])), strict=True):
            part = slice(encoding.tokens.starts[row], encoding.tokens.starts[row + 1])
            places = np.stack([encoding.first[part], encoding.after[part]], axis=1)
            inside, none = np.flatnonzero(places[:, 0] != NONE), encoding.start[row]
            windows.append(
                ScoredWindow(first[inside], last[inside], places[inside], float(first[none] + last[none]))
            )
        return windows

    def _length_notes(self, splits: Mapping[str, Mapping[str, Any]], limit: int) -> list[str]:
        longest = self._loaded.max_positions
        contexts = {split: {**facts, "cut_to_max_length": 0} for split, facts in splits.items()}
        cut = {name: (facts["cut_to_max_length"], facts["examples"]) for name, facts in splits.items()}
        questions = (
            f"{part:,} of {of:,} {name} ({part / of:.0%})" for name, (part, of) in cut.items() if part
        )
        told = ", ".join(questions)
        line = f"questions longer than half of {limit} tokens are cut: {told}" if told else ""
        return [cut_note(contexts, limit, longest, "windows"), line]

    def new_metrics(self) -> AnswerMetrics:
        return AnswerMetrics()

    def graph_output(self, result: Any, mask: Tensor) -> Tensor:
        """Scores of being the first and the last token of the answer, fp [batch, length, 2]."""
        return torch.stack([result.start_logits, result.end_logits], dim=-1)

    def program_settings(self) -> dict[str, Any]:
        """How windows are cut, and how the answer is searched in them."""
        data = self._spec.data
        return {
            "cls_id": int(self._tokenizer.cls_token_id),
            "stride": self._stride,
            "max_answer_length": data.max_answer_length,
            "no_answer": self._no_answer,
            "no_answer_margin": data.no_answer_margin,
        }


def _ends(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores of being the first and the last token, fp [windows, tokens] each."""
    result = model(**inputs)
    if hasattr(result, "logits"):  # the graph of an export
        return result.logits[..., 0], result.logits[..., 1]
    return result.start_logits, result.end_logits


def _loss_sum(logits: Tensor, targets: Tensor, possible: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy summed over rows; ``smoothing`` is shared by the tokens that are ``possible``, bool as logits."""
    logs = logits.log_softmax(-1)
    loss = -logs.gather(1, targets[:, None]).sum()
    if not smoothing:
        return loss
    others = -(logs * possible).sum(-1) / possible.sum(-1)
    return (1 - smoothing) * loss + smoothing * others.sum()


def _all_texts(examples: Examples) -> list[str]:
    return [*examples.columns["question"], *examples.columns["context"]]
