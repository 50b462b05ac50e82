"""Masked and causal language models of transformers: pre-trained, further trained, or new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ptm.base.seeds import INIT, mix
from ptm.config.model_ref import ModelRef
from ptm.errors import ConfigError, ModelError, listing
from ptm.models import adapters
from ptm.models.weights import LoadReport, bare_report, fit_weights, read_weights
from ptm.text import models, origins
from ptm.text.models import TextModel
from ptm.text.scratch import is_new

Kind = Literal["masked-lm", "causal-lm"]

_EXPECTED = {"masked-lm": "an encoder such as BERT", "causal-lm": "a decoder such as GPT-2"}


def build_language_model(
    ref: ModelRef,
    kind: Kind,
    texts: Callable[[], Sequence[str]] | None,
    *,
    seed: int,
    complete: bool,
) -> TextModel:
    """The model that ``ref`` names; its ``head`` is () where the embeddings serve as output layer.

    New weights are a function of ``seed`` alone. ``texts`` gives the training texts, for ``tokenizer: train``. The base
    model is loaded whole or not at all; the head may be new unless ``complete``. Raises ConfigError for a model of
    another kind, ModelError for weights that do not fit.
    """
    origin = origins.find_origin(ref, texts)
    config, tokenizer = origin.config, origin.tokenizer
    auto = _auto_class(config, kind, ref.name)
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]), origins.loading(ref.where):
        torch.manual_seed(mix(seed, INIT))
        if ref.bare:
            with torch.device("meta"):
                model = auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
            report = bare_report(ref.name)
        elif ref.weights == "default" and not is_new(ref.name):
            model, report = _pretrained(auto, origin, complete=complete)
        else:
            if complete and ref.weights in ("none", "default"):
                raise ModelError("its weights would be random", where=ref.where, cure="name trained weights")
            model = auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
            if ref.weights in ("none", "default"):
                report = LoadReport("random start", 0, tuple(name for name, _ in model.named_parameters()))
            else:
                stored = read_weights(Path(ref.weights))
                state, head = _with_tied(models.with_prefix(stored, model), model), models.head_of(model)
                report = fit_weights(model, state, head, ref.weights, complete=complete, beside=stored.beside)
    if ref.layers is not None:
        models.keep_layers(model, ref.layers)
    models.check_vocabulary(model, tokenizer, ref.where)
    if kind == "causal-lm" and not ref.bare:
        _require_causal(model, ref.name)
    return TextModel(
        model=model,
        tokenizer=tokenizer,
        report=replace(report, commit=origin.commit),
        max_positions=models.limit_length(model, tokenizer),
        head=models.head_of(model),
        embeddings=models.embeddings_of(model),
    )


@contextmanager
def projecting(model: Any, rows: Tensor) -> Iterator[None]:
    """While open, a forward pass gives logits [rows, vocabulary] of these places only. ``rows``: bool [n, tokens].

    The projection to the vocabulary is most of what a small model computes.
    """
    layer: nn.Module = model.get_output_embeddings()
    handle = layer.register_forward_pre_hook(lambda module, inputs: (inputs[0][rows],))
    try:
        yield
    finally:
        handle.remove()


def _auto_class(config: Any, kind: Kind, name: str) -> Any:
    import transformers
    from transformers.models.auto import modeling_auto

    config_classes = {
        "masked-lm": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING,
        "causal-lm": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    }[kind]
    if type(config) not in config_classes or getattr(config, "is_encoder_decoder", False):
        other = "causal-lm" if kind == "masked-lm" else "masked-lm"
        raise ConfigError(
            f"{name} ({config.model_type}) is no {kind.removesuffix('-lm')} language model",
            where="model.name",
            expected=_EXPECTED[kind],
            cure=f"use another model, or task: {other}",
        )
    return transformers.AutoModelForMaskedLM if kind == "masked-lm" else transformers.AutoModelForCausalLM


def _pretrained(auto: Any, origin: origins.Origin, *, complete: bool) -> tuple[Any, LoadReport]:
    adapters.require_loadable(Path(origin.place))
    model, info = auto.from_pretrained(
        origin.place, config=origin.config, dtype=torch.float32, output_loading_info=True, **origin.options
    )
    adapters.take_out(model, merge=True)  # transformers puts one that stands beside the weights in by itself
    head = models.head_of(model)
    new = tuple(sorted(map(str, info["missing_keys"])))
    wrong = [name for name in new if complete or not head or not name.startswith(head)]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors are missing: {listing(wrong, most=4)}",
            where=origin.place,
            expected="a trained language model: its head would be random"
            if complete
            else "weights of this model",
            cure="pre-train it first" if complete else "check config.json against the weights",
        )
    total = sum(1 for _ in model.state_dict())
    left_over = tuple(sorted(map(str, info["unexpected_keys"])))
    return model, LoadReport(origin.place, total - len(new), new, left_over)


def _with_tied(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """With every name of a tensor that the model knows by several: save_pretrained writes one of them."""
    own = model.state_dict()
    place = {own[name].data_ptr(): name for name in state if name in own}
    tied = {name: place.get(tensor.data_ptr()) for name, tensor in own.items() if name not in state}
    return state | {name: state[other] for name, other in tied.items() if other is not None}


def _require_causal(model: Any, name: str) -> None:
    """ConfigError if what comes later in a text has an influence: such a model sees what it is to predict."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        texts = torch.tensor([[0, 1, 0], [0, 1, 1]])
        one, other = model(input_ids=texts, attention_mask=torch.ones_like(texts)).logits[:, 0]
    model.train(was_training)
    # A model that gives numbers that are none is told of where its loss is looked at.
    if not torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise ConfigError(
            f"{name} ({model.config.model_type}) reads the whole text before it predicts a token of it",
            where="model.name",
            expected=_EXPECTED["causal-lm"],
            cure="use another model, or task: masked-lm",
        )
