"""A model with fewer tokens, to be exported in the place of the one that was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ptm.config.spec import RunSpec
from ptm.config.tasks import QUESTION_ANSWERING, TEXT_CLASSIFICATION, TEXT_SIMILARITY, TOKEN_CLASSIFICATION
from ptm.data.examples import Dataset, Examples
from ptm.errors import ConfigError, ModelError, listing
from ptm.experiment.session import Session
from ptm.experiment.trained import Trained
from ptm.export.record import Vocabulary
from ptm.pipeline import Pipeline
from ptm.text.pipeline import TextPipeline
from ptm.text.vocabulary import kept_tokens, require_wordpiece, trim_saved

_TASKS = (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, QUESTION_ANSWERING, TEXT_SIMILARITY)


def require_trimmable(spec: RunSpec) -> None:
    """ConfigError, with the reason, for a task whose models keep their vocabulary."""
    names = [task.name for task in _TASKS]
    if spec.task in names:
        return
    reason = (
        "their outputs are the tokens of the vocabulary, and with fewer of them a loss means something else"
        if spec.descriptor.modality == "text"
        else "they have none"
    )
    raise ConfigError(
        f"the vocabulary of models for {spec.task} is not trimmed: {reason}",
        where="--trim-vocabulary",
        expected=f"a run for {listing(names)}",
        cure="leave it out",
    )


def trimmed(
    session: Session, trained: Trained, pipeline: Pipeline, data: Dataset, more: int, folder: Path
) -> tuple[Pipeline, Vocabulary]:
    """The pipeline over the examples that ``data`` is judged by, with the tokens that its training and evaluation
    texts use and ``more`` others; by way of a saved model in ``folder``. Texts of a test split choose no token: they
    stand for those that nobody has seen. Raises ConfigError, ModelError."""
    assert isinstance(pipeline, TextPipeline)
    assert data.train is not None
    content = require_wordpiece(pipeline.tokenizer, trained.model.name)
    splits = (data.train, data.eval)
    tokens = [_tokens(pipeline, examples) for examples in splits]
    used = np.unique(np.concatenate(tokens))
    special = np.array(pipeline.tokenizer.all_special_ids, dtype=np.int64)
    kept = kept_tokens(content, np.union1d(used, special), int(pipeline.tokenizer.pad_token_id or 0), more)
    folder.mkdir()
    pipeline.save_model(folder)
    trim_saved(folder, pipeline.model, content, kept)
    smaller = session.task.build(
        session.spec,
        replace(data, train=None, eval=data.judged, test=None),
        model=replace(trained.model, name=str(folder)).ref(),
        complete=True,
    )
    smaller.model.eval()
    for examples, before in zip(splits, tokens, strict=True):
        if not np.array_equal(kept[_tokens(smaller, examples)], before):
            raise ModelError(
                "its tokenizer cuts texts otherwise once tokens that they do not use are gone",
                where=trained.model.name,
                expected="a WordPiece tokenizer as BERT has it",
                cure="leave --trim-vocabulary out",
            )
    size = len(pipeline.tokenizer)
    session.reporter.say(
        f"vocabulary: {len(kept):,} of {size:,} tokens kept; {len(used):,} are used by training and evaluation texts"
    )
    return smaller, Vocabulary(before=size, after=len(kept), more=more)


def _tokens(pipeline: Pipeline, examples: Examples) -> np.ndarray:
    other = pipeline.with_examples(examples)
    assert isinstance(other, TextPipeline)
    return other.tokens("eval")
