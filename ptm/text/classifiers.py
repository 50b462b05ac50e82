"""Encoders and decoders of transformers with a classification head, from a hub, a directory or a package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ptm.base.seeds import INIT, mix
from ptm.config.label_types import CLASS, CLASSES, NUMBER
from ptm.config.model_ref import ModelRef
from ptm.data.labels import match_labels, outputs_by_position, unnamed
from ptm.errors import ConfigError, ModelError, listing
from ptm.models import adapters
from ptm.models.heads import draw_new_head
from ptm.models.weights import LoadReport, bare_report, fit_weights, read_weights
from ptm.text import scratch
from ptm.text.models import (
    TextModel,
    check_vocabulary,
    embeddings_of,
    head_of,
    keep_layers,
    limit_length,
    output_layer,
    with_prefix,
)
from ptm.text.origins import Origin, find_origin, label_names, loading


@dataclass(frozen=True)
class Purpose:
    """What an output layer is for."""

    auto: str  # the class of transformers that makes it
    problem_type: str | None  # as transformers calls it
    of_words: bool = False  # whether a text comes as a list of words
    named: bool = True  # whether its outputs have label names
    outputs: int = 1  # how many there are where they have none
    meaning: str = "a number is predicted by one"


PURPOSES = {
    CLASS.name: Purpose("AutoModelForSequenceClassification", "single_label_classification"),
    CLASSES.name: Purpose("AutoModelForSequenceClassification", "multi_label_classification"),
    NUMBER.name: Purpose("AutoModelForSequenceClassification", "regression", named=NUMBER.named),
    "answers": Purpose(
        "AutoModelForQuestionAnswering",
        None,
        named=False,
        outputs=2,
        meaning="the first and the last token of an answer are told by two",
    ),
    "tags": Purpose("AutoModelForTokenClassification", None, of_words=True),
}


@dataclass(frozen=True, kw_only=True)
class Classifier(TextModel):
    """A model with a classification head, and how its outputs stand to the data's labels."""

    permutation: np.ndarray | None  # logits[:, permutation] are in the data's order; None: as they are
    segments: bool  # whether it tells the two texts of a pair apart by token types

    @property
    def output_fingerprint(self) -> str:
        order = "as they are" if self.permutation is None else ",".join(map(str, self.permutation.tolist()))
        return f"{super().output_fingerprint} outputs {order}"


def build_classifier(
    ref: ModelRef,
    labels: tuple[str, ...],
    *,
    seed: int,
    complete: bool,
    purpose: Purpose = PURPOSES[CLASS.name],
    texts: Callable[[], Sequence[str]] | None = None,
) -> Classifier:
    """The model with an output a label, or as many as its ``purpose`` has. New weights are a function of ``seed``.

    ``complete``: the output layer must come with the weights (a teacher, an evaluation); its own label names,
    or those of ``ref``, are matched with the data's. ``texts`` gives the training texts, for ``tokenizer: train``.
    Raises ModelError when the weights do not fit.
    """
    origin = find_origin(ref, texts, of_words=purpose.of_words)
    config, tokenizer = origin.config, origin.tokenizer
    if config.model_type == "marian" and scratch.is_new(ref.name):
        what = "new:marian writes texts, it does not classify them"
        raise ConfigError(what, where="model.name", expected="new:bert or new:gpt2")
    if complete:
        _refuse_other_purpose(config, purpose, ref.where)
    own_labels = _own_labels(ref, config, purpose)
    permutation = _match_outputs(ref, config, own_labels, labels, purpose, complete=complete)
    _set_labels(config, labels if own_labels is None or permutation is None else own_labels, purpose)
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]), loading(ref.where):
        torch.manual_seed(mix(seed, INIT))
        if ref.bare:
            with torch.device("meta"):
                model, report = _random_model(config, purpose), bare_report(ref.name)
        elif ref.weights == "default" and not scratch.is_new(ref.name):
            model, report = _pretrained(origin, purpose, complete=complete)
            if not complete and own_labels is not None and not unnamed(own_labels) and own_labels != labels:
                report = _renew_head(model, report, purpose)  # it was trained to tell other classes apart
        else:
            model, report = _with_weights_of_file(ref, config, purpose, complete=complete)
        draw_new_head(model, (output_layer(model),), seed, new=report.new)
    report = replace(report, commit=origin.commit)
    if complete and purpose.named and outputs_by_position(own_labels, labels):
        report = replace(report, order=labels)
    if ref.layers is not None:
        keep_layers(model, ref.layers)
    check_vocabulary(model, tokenizer, ref.where)
    head = head_of(model)
    if "score." in head:  # such decoders judge the last token that is not padding, and know it by this number
        model.config.pad_token_id = tokenizer.pad_token_id
    return Classifier(
        model=model,
        tokenizer=tokenizer,
        report=report,
        max_positions=limit_length(model, tokenizer),
        head=head,
        embeddings=embeddings_of(model),
        permutation=permutation,
        segments="token_type_ids" in tokenizer.model_input_names
        and getattr(config, "type_vocab_size", 0) > 1,
    )


def _own_labels(ref: ModelRef, config: Any, purpose: Purpose) -> tuple[str, ...] | None:
    """The names of a trained model's outputs, as the config of the run or its own gives them."""
    if not purpose.named:
        return None
    return ref.labels or label_names(getattr(config, "id2label", None))


def _match_outputs(
    ref: ModelRef,
    config: Any,
    own_labels: tuple[str, ...] | None,
    labels: tuple[str, ...],
    purpose: Purpose,
    *,
    complete: bool,
) -> np.ndarray | None:
    """The permutation that brings the outputs into the order of the data's ``labels``. Raises ModelError."""
    if not purpose.named:
        if complete and ref.weights == "default" and config.num_labels != purpose.outputs:
            what = f"the model has {config.num_labels} outputs, {purpose.meaning}"
            raise ModelError(what, where=ref.where)
        return None
    if complete:
        # How many outputs a file of weights has is seen when it is read.
        outputs = config.num_labels if ref.weights == "default" else len(own_labels or labels)
        return match_labels(own_labels, labels, outputs, where=ref.where)
    if own_labels and own_labels != labels and set(own_labels) == set(labels):
        raise ModelError(
            f"the model's labels are {', '.join(own_labels)}, the data's are the same in another order",
            where=ref.where,
            cure=f"data: {{labels: [{', '.join(own_labels)}]}}",
        )
    return None


def _refuse_other_purpose(config: Any, purpose: Purpose, where: str) -> None:
    """Outputs that were trained to mean something else: shapes do not tell softmax, sigmoid and a number apart."""
    trained_for = getattr(config, "problem_type", None)
    if None not in (trained_for, purpose.problem_type) and trained_for != purpose.problem_type:
        raise ModelError(
            f"its outputs are those of {trained_for}",
            where=where,
            expected=f"a model trained for {purpose.problem_type}, as data.label_type says",
        )


def _set_labels(config: Any, labels: tuple[str, ...], purpose: Purpose) -> None:
    config.problem_type = None  # or transformers holds the new labels against the old one
    names = labels or tuple(f"LABEL_{number}" for number in range(purpose.outputs))
    config.num_labels = len(names)
    config.id2label = dict(enumerate(names))
    config.label2id = {label: index for index, label in config.id2label.items()}
    config.problem_type = purpose.problem_type


def _pretrained(origin: Origin, purpose: Purpose, *, complete: bool) -> tuple[Any, LoadReport]:
    adapters.require_loadable(Path(origin.place))
    model, info = _auto(purpose).from_pretrained(
        origin.place,
        config=origin.config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **origin.options,
    )
    adapters.take_out(model, merge=True)  # transformers puts one that stands beside the weights in by itself
    return model, _check_loaded(model, info, head_of(model), origin.place, complete=complete)


def _with_weights_of_file(
    ref: ModelRef, config: Any, purpose: Purpose, *, complete: bool
) -> tuple[Any, LoadReport]:
    """A random model, into which the file that ``ref.weights`` names, if it names one, is read."""
    model = _random_model(config, purpose)
    if ref.weights not in ("none", "default"):
        stored = read_weights(Path(ref.weights))
        state, head = with_prefix(stored, model), head_of(model)
        report = fit_weights(model, state, head, ref.weights, complete=complete, beside=stored.beside)
        return model, report
    if complete:
        what = (
            "a new: model knows nothing" if scratch.is_new(ref.name) else "weights: none, so it knows nothing"
        )
        raise ModelError(what, where=ref.where, cure="name trained weights")
    return model, LoadReport("random start", 0, tuple(name for name, _ in model.named_parameters()))


def _random_model(config: Any, purpose: Purpose) -> Any:
    return _auto(purpose).from_config(config, dtype=torch.float32, trust_remote_code=False)


def _auto(purpose: Purpose) -> Any:
    import transformers

    return getattr(transformers, purpose.auto)


def _renew_head(model: Any, report: LoadReport, purpose: Purpose) -> LoadReport:
    """A random output layer in place of the one that was loaded; what else the head has is kept."""
    prefixes, outputs = head_of(model), model.config.num_labels
    fresh = _random_model(model.config, purpose).state_dict()
    layer = {name: t for name, t in fresh.items() if name.startswith(prefixes) and t.shape[0] == outputs}
    model.load_state_dict(layer, strict=False)
    new = tuple(sorted({*report.new, *layer}))
    return replace(report, loaded=report.loaded + len(report.new) - len(new), new=new)


def _check_loaded(
    model: nn.Module, info: dict[str, Any], head: tuple[str, ...], place: str, *, complete: bool
) -> LoadReport:
    """What from_pretrained loaded, or ModelError when more than the head (and an unused pooler) is new."""
    mismatched = sorted(str(item[0]) for item in info["mismatched_keys"])
    new = sorted({*map(str, info["missing_keys"]), *mismatched})
    foreign = [name for name in new if not name.startswith(head) and ".pooler." not in name]
    wrong = foreign or (new if complete else [])
    if wrong:
        headless = complete and not foreign
        raise ModelError(
            f"{len(wrong)} tensors are missing or of another shape: {listing(wrong, most=4)}",
            where=place,
            expected="a fine-tuned classifier: its output layer would be random"
            if headless
            else "weights of this architecture",
            cure="name the directory of a fine-tuned run"
            if headless
            else "check config.json against the weights",
        )
    total = sum(1 for _ in model.state_dict())
    return LoadReport(
        source=place,
        loaded=total - len(new),
        new=tuple(new),
        left_over=tuple(sorted(map(str, info["unexpected_keys"]))),
    )
