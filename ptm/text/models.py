"""Encoders and decoders of transformers with a classification head, from a hub, a directory or a package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ptm.base.seeds import INIT, mix
from ptm.config.model_ref import ModelRef
from ptm.data.labels import match_labels, unnamed
from ptm.errors import ConfigError, ModelError, listing
from ptm.models import adapters
from ptm.models.weights import LoadReport, fit_weights, read_weights
from ptm.text import scratch
from ptm.text.origins import find_origin, label_names, loading

MOST_UNKNOWN = 0.1  # share of unknown tokens above which a vocabulary does not fit the texts


@dataclass(frozen=True)
class Purpose:
    """What an output layer is for."""

    auto: str  # the class of transformers that makes it
    problem_type: str | None  # as transformers calls it
    of_words: bool = False  # whether a text comes as a list of words


PURPOSES = {
    "class": Purpose("AutoModelForSequenceClassification", "single_label_classification"),
    "classes": Purpose("AutoModelForSequenceClassification", "multi_label_classification"),
    "number": Purpose("AutoModelForSequenceClassification", "regression"),
    "tags": Purpose("AutoModelForTokenClassification", None, of_words=True),
}


@dataclass(frozen=True)
class TextModel:
    """A classifier, its tokenizer, and how its outputs stand to the data's labels."""

    model: nn.Module
    tokenizer: Any
    report: LoadReport
    permutation: Any  # np.ndarray | None: logits[:, permutation] are in the data's order
    max_positions: int | None
    segments: bool  # whether it tells the two texts of a pair apart by token types
    head: tuple[str, ...]
    embeddings: tuple[str, ...]

    @property
    def output_order(self) -> str:
        """Which of its outputs stands for the first label, the second, … in words for a record."""
        return "as they are" if self.permutation is None else ",".join(map(str, self.permutation.tolist()))


def build_model(
    ref: ModelRef,
    labels: tuple[str, ...],
    *,
    seed: int,
    complete: bool,
    purpose: Purpose = PURPOSES["class"],
    texts: Callable[[], Sequence[str]] | None = None,
) -> TextModel:
    """The model with an output a label, or one for a number. New weights are a function of ``seed`` alone.

    ``complete``: the output layer must come with the weights (a teacher, an evaluation); its own label names,
    or those of ``ref``, are matched with the data's. ``texts`` gives the training texts, for ``tokenizer: train``.
    Raises ModelError when the weights do not fit.
    """
    where = ref.where
    origin = find_origin(ref, texts, of_words=purpose.of_words)
    place, options, config, tokenizer = origin.place, origin.options, origin.config, origin.tokenizer
    new = scratch.is_new(ref.name)
    if config.model_type == "marian" and new:
        what = "new:marian writes texts, it does not classify them"
        raise ConfigError(what, where="model.name", expected="new:bert or new:gpt2")
    own = ref.labels or label_names(getattr(config, "id2label", None))
    permutation = None
    if complete:
        _refuse_other_purpose(config, purpose, where)
    if purpose.problem_type == "regression":
        own = None
        if complete and ref.weights == "default" and config.num_labels != 1:
            raise ModelError(
                f"the model has {config.num_labels} outputs, a number is predicted by one", where=where
            )
    elif complete:  # how many outputs a file of weights has is seen when it is read
        outputs = config.num_labels if ref.weights == "default" else len(own or labels)
        permutation = match_labels(own, labels, outputs, where=where)
    else:
        _refuse_shuffled(own, labels, where)
    _set_labels(config, labels if own is None or permutation is None else own, purpose)
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]), loading(ref.where):
        torch.manual_seed(mix(seed, INIT))
        if ref.weights == "default" and not new:
            model, report = _pretrained(place, config, options, purpose, complete=complete)
            if not complete and own is not None and not unnamed(own) and own != labels:
                report = _renew_head(model, report, purpose)  # it was trained to tell other classes apart
        else:
            model, report = _random_model(config, purpose), LoadReport("random start", 0)
            if ref.weights not in ("none", "default"):
                state = with_prefix(read_weights(Path(ref.weights)), model)
                report = fit_weights(model, state, head_of(model), ref.weights, complete=complete)
            elif complete:
                what = "a new: model knows nothing" if new else "weights: none, so it knows nothing"
                raise ModelError(what, where=where, cure="name trained weights")
            else:
                report = replace(report, new=tuple(name for name, _ in model.named_parameters()))
    if ref.layers is not None:
        keep_layers(model, ref.layers)
    check_vocabulary(model, tokenizer, where)
    head = head_of(model)
    if "score." in head:  # such decoders judge the last token that is not padding, and know it by this number
        model.config.pad_token_id = tokenizer.pad_token_id
    limit = max_positions(model, tokenizer)
    tokenizer.model_max_length = limit or tokenizer.model_max_length  # saved: pipelines can cut to it
    segments = "token_type_ids" in tokenizer.model_input_names and getattr(config, "type_vocab_size", 0) > 1
    return TextModel(model, tokenizer, report, permutation, limit, segments, head, embeddings_of(model))


def keep_layers(model: Any, layers: str | tuple[int, ...]) -> None:
    """Remove all but these layers, counted from 0. Raises ConfigError for layers that are not there."""
    count = model.config.num_hidden_layers
    stacks = [m for m in model.base_model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(stacks) != 1:
        raise ConfigError(
            "this model has no single stack of layers to choose from", where="model.layers", cure="remove it"
        )
    chosen = tuple(range(0, count, 2)) if isinstance(layers, str) else layers
    if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= count:
        raise ConfigError(
            f"layers {list(chosen)} cannot be kept of {count}",
            where="model.layers",
            expected=f"rising numbers from 0 to {count - 1}",
        )
    kept = [stacks[0][index] for index in chosen]
    del stacks[0][:]
    stacks[0].extend(kept)
    for place, layer in enumerate(kept):
        module: Any
        for module in layer.modules():
            if hasattr(module, "layer_idx"):  # the place of its keys and values in a cache
                module.layer_idx = place
    model.config.num_hidden_layers = len(kept)
    if isinstance(getattr(model.config, "layer_types", None), list):
        model.config.layer_types = [model.config.layer_types[index] for index in chosen]


def config_digest(model: Any) -> str:
    """SHA-256 of what a model's configuration says of its arithmetic; where it came from does not count."""
    told = {
        k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")
    }
    text = json.dumps([type(model).__name__, told], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def unknown_words(tokenizer: Any, ids: np.ndarray) -> list[str]:
    """What is to be said of texts that the tokenizer has no words for; [] when all is well. ``ids`` int [total]."""
    unknown = tokenizer.unk_token_id
    share = float((ids == unknown).mean()) if unknown is not None else 0.0
    if share <= MOST_UNKNOWN:
        return []
    return [f"{share:.0%} of the tokens of the evaluation texts are unknown to its vocabulary"]


def check_vocabulary(model: Any, tokenizer: Any, where: str) -> None:
    known, highest = model.get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values())
    if highest >= known:
        raise ModelError(
            f"the tokenizer has token ids up to {highest:,}, the model knows {known:,} tokens",
            where=where,
            expected="a tokenizer that belongs to the model",
            cure="take both from the same place",
        )


def _refuse_other_purpose(config: Any, purpose: Purpose, where: str) -> None:
    """Outputs that were trained to mean something else: softmax, sigmoid and a number are not told by shapes."""
    said = getattr(config, "problem_type", None)
    if said is not None and purpose.problem_type is not None and said != purpose.problem_type:
        raise ModelError(
            f"its outputs are those of {said}",
            where=where,
            expected=f"a model trained for {purpose.problem_type}, as data.label_type says",
        )


def _set_labels(config: Any, labels: tuple[str, ...], purpose: Purpose) -> None:
    config.problem_type = None  # or transformers holds the new labels against the old one
    config.num_labels = len(labels) or 1
    config.id2label = dict(enumerate(labels or ("LABEL_0",)))
    config.label2id = {label: index for index, label in config.id2label.items()}
    config.problem_type = purpose.problem_type


def _pretrained(
    place: str, config: Any, options: dict[str, Any], purpose: Purpose, *, complete: bool
) -> tuple[Any, LoadReport]:
    adapters.require_loadable(Path(place))
    model, info = _auto(purpose).from_pretrained(
        place,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **options,
    )
    adapters.take_out(model, merge=True)  # transformers puts one that stands beside the weights in by itself
    return model, _check_loaded(model, info, head_of(model), place, complete=complete)


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


def with_prefix(state: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """Names of a base model saved alone (``encoder.…``) as its classifier has them (``bert.encoder.…``)."""
    prefix, base = model.base_model_prefix + ".", model.base_model.state_dict()
    if any(name.startswith(prefix) for name in state):
        return state
    return {prefix + name if name in base else name: tensor for name, tensor in state.items()}


def head_of(model: Any) -> tuple[str, ...]:
    """Prefixes of all that is not the pre-trained base model."""
    base = model.base_model_prefix + "."
    names = {name.split(".")[0] + "." for name, _ in model.named_parameters() if not name.startswith(base)}
    return tuple(sorted(names))


def embeddings_of(model: Any) -> tuple[str, ...]:
    """Prefixes of the embedding tables: ``bert.embeddings.``; ``transformer.wte.``, ``transformer.wpe.``."""
    table = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is table)
    if ".embeddings." in name:
        return (name.split(".embeddings.")[0] + ".embeddings.",)
    parent = name.rpartition(".")[0]
    siblings = model.get_submodule(parent).named_children() if parent else ()
    return tuple(f"{parent}.{child}." for child, module in siblings if isinstance(module, nn.Embedding)) or (
        name + ".",
    )


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


def _refuse_shuffled(own: tuple[str, ...] | None, labels: tuple[str, ...], where: str) -> None:
    if own and own != labels and set(own) == set(labels):
        raise ModelError(
            f"the model's labels are {', '.join(own)}, the data's are the same in another order",
            where=where,
            cure=f"data: {{labels: [{', '.join(own)}]}}",
        )


def max_positions(model: Any, tokenizer: Any) -> int | None:
    """Longest input in tokens, special ones included; None for models without a limit."""
    positions = getattr(model.config, "max_position_embeddings", None) or -1
    positions = positions if positions > 0 else 10**9  # XLNet's is -1
    for name, table in model.named_modules():
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None:
            # RoBERTa and its kin count on from the padding index.
            positions = table.num_embeddings - table.padding_idx - 1
    limit = int(min(tokenizer.model_max_length, positions))
    return limit if limit < 10**8 else None
