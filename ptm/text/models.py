"""What ptm knows of any model of transformers, whatever it is for: its tokenizer, its parts, its limits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptm.base.light_imports import without
from ptm.data.cutting import CONFIG_KEY
from ptm.errors import ConfigError, ModelError
from ptm.models.weights import LoadReport

_UNLIMITED = 10**8  # tokens, from which on a limit is none


@dataclass(frozen=True, kw_only=True)
class TextModel:
    """A model as it was loaded, and the tokenizer that turns texts into what it reads."""

    model: Any
    tokenizer: Any
    report: LoadReport
    max_positions: int | None  # longest text in tokens; None without a limit
    head: tuple[str, ...]  # prefixes of what is not the base model
    embeddings: tuple[str, ...]  # prefixes of the embedding tables

    @property
    def tokenizers(self) -> tuple[Any, ...]:
        """All that it needs; more than one where what is written has a vocabulary of its own."""
        return (self.tokenizer,)

    @property
    def output_fingerprint(self) -> str:
        """What decides its outputs besides weights and inputs."""
        return config_digest(self.model)

    def save(self, directory: Path) -> None:
        """The layout of save_pretrained, which transformers loads without ptm."""
        # Whether a tensor is spread over machines is asked of each; who has none need not import what spreads them.
        with without("torch.distributed.tensor"):
            self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


def config_digest(model: Any) -> str:
    """SHA-256 of what a model's configuration says of its arithmetic; where it came from does not count."""
    names_only = ("_name_or_path", "transformers_version", CONFIG_KEY)
    config = {key: value for key, value in model.config.to_dict().items() if key not in names_only}
    text = json.dumps([type(model).__name__, config], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def max_positions(model: Any, tokenizer: Any) -> int | None:
    """Longest input in tokens, special ones included; None for models without a limit.

    The model's positions decide where it has such; the tokenizer's own limit may be what a run cut its texts to.
    """
    positions = position_limit(model)
    limit = positions if positions < _UNLIMITED else int(tokenizer.model_max_length)
    return limit if limit < _UNLIMITED else None


def trained_length(loaded: TextModel) -> int | None:
    """Tokens that a trained model's texts were cut to, where its tokenizer says less than the model has positions for;
    None where nobody says."""
    own = int(loaded.tokenizer.model_max_length)
    return own if own < position_limit(loaded.model) else None


def position_limit(model: Any) -> int:
    """Longest input in tokens that the model itself has positions for; 10^8 without a limit."""
    positions = getattr(model.config, "max_position_embeddings", None) or -1
    positions = positions if positions > 0 else _UNLIMITED  # XLNet's is -1
    for name, table in model.named_modules():
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None:
            # RoBERTa and its kin count on from the padding index.
            positions = table.num_embeddings - table.padding_idx - 1
    return int(positions)


def head_of(model: Any) -> tuple[str, ...]:
    """Prefixes of all that is not the pre-trained base model."""
    base = model.base_model_prefix + "."
    names = {name.split(".")[0] + "." for name, _ in model.named_parameters() if not name.startswith(base)}
    return tuple(sorted(names))


def output_layer(model: Any) -> str:
    """The name of the layer of a classifier that gives a score an output: the last linear one of its head."""
    head = head_of(model)
    linear = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return str([name for name in linear if f"{name}.".startswith(head)][-1])


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


def limit_length(model: Any, tokenizer: Any) -> int | None:
    """The most tokens that the model takes, which the tokenizer knows from now on: it is saved, so that whoever uses
    the model can cut to it. Of a trained one it may know less: what its texts were cut to."""
    limit = max_positions(model, tokenizer)
    tokenizer.model_max_length = min(tokenizer.model_max_length, limit or tokenizer.model_max_length)
    return limit


def check_vocabulary(model: Any, tokenizer: Any, where: str) -> None:
    """ModelError for a tokenizer with more tokens than the model has embeddings."""
    embeddings, highest = model.get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values())
    if highest >= embeddings:
        raise ModelError(
            f"the tokenizer has token ids up to {highest:,}, the model knows {embeddings:,} tokens",
            where=where,
            expected="a tokenizer that belongs to the model",
            cure="take both from the same place",
        )


def with_prefix(state: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """Names of a base model saved alone (``encoder.…``) as its classifier has them (``bert.encoder.…``)."""
    prefix, base = model.base_model_prefix + ".", model.base_model.state_dict()
    if any(name.startswith(prefix) for name in state):
        return state
    return {prefix + name if name in base else name: tensor for name, tensor in state.items()}


def keep_layers(model: Any, layers: str | tuple[int, ...]) -> None:
    """Remove all but these layers, counted from 0. Raises ConfigError for layers that are not there."""
    count = model.config.num_hidden_layers
    stacks = [m for m in model.base_model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(stacks) != 1:
        raise ConfigError(
            "this model has no single stack of layers to choose from", where="model.layers", cure="remove it"
        )
    numbers = tuple(range(0, count, 2)) if isinstance(layers, str) else layers
    if not numbers or list(numbers) != sorted(set(numbers)) or numbers[0] < 0 or numbers[-1] >= count:
        raise ConfigError(
            f"layers {list(numbers)} cannot be kept of {count}",
            where="model.layers",
            expected=f"rising numbers from 0 to {count - 1}",
        )
    layers_left = [stacks[0][index] for index in numbers]
    del stacks[0][:]
    stacks[0].extend(layers_left)
    for place, layer in enumerate(layers_left):
        module: Any
        for module in layer.modules():
            if hasattr(module, "layer_idx"):  # the place of its keys and values in a cache
                module.layer_idx = place
    model.config.num_hidden_layers = len(layers_left)
    if isinstance(getattr(model.config, "layer_types", None), list):
        model.config.layer_types = [model.config.layer_types[index] for index in numbers]
