"""Encoders of transformers without a head, whose pooled states are the embeddings of texts.

They are saved in the layout of sentence-transformers, which is that of transformers with a few small files beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ptm.base import files
from ptm.base.regular import endless
from ptm.base.seeds import INIT, mix
from ptm.config.model_ref import ModelRef
from ptm.errors import ConfigError, MissingDownload, ModelError, PtmError, first_line, listing
from ptm.models import adapters
from ptm.models.weights import LoadReport, bare_report, fit_weights, read_weights
from ptm.text import models, origins
from ptm.text.models import TextModel
from ptm.text.scratch import is_new

POOLING_FILE = "1_Pooling/config.json"
LENGTH_FILE = "sentence_bert_config.json"
_MODULES_FILE = "modules.json"
_MOST_BYTES = 1_000_000  # of a file that says how states are pooled
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
# What the older form of sentence-transformers' file calls each way to pool.
_FLAGS = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}


@dataclass(frozen=True, kw_only=True)
class Encoder(TextModel):
    """``pooling``: ``mean`` of the last hidden states over tokens, or ``cls``, that of the first token. ``own_length``:
    tokens that its texts are cut to by LENGTH_FILE; None where nobody says."""

    pooling: str = "mean"
    own_length: int | None = None

    @property
    def output_fingerprint(self) -> str:
        return f"{super().output_fingerprint} {self.pooling} normalised"

    def save(self, directory: Path) -> None:
        super().save(directory)
        names = ("", "1_Pooling", "2_Normalize")
        modules = [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (path, kind) in enumerate(zip(names, _KNOWN_MODULES, strict=True))
        ]
        pooling = {"word_embedding_dimension": int(self.model.config.hidden_size)}
        (directory / "1_Pooling").mkdir(exist_ok=True)
        contents: dict[str, Any] = {
            _MODULES_FILE: modules,
            POOLING_FILE: pooling | {flag: name == self.pooling for name, flag in _FLAGS.items()},
            LENGTH_FILE: {
                "max_seq_length": int(self.tokenizer.model_max_length),
                "do_lower_case": False,
            },
        }
        for name, content in contents.items():
            files.write_file(directory / name, (json.dumps(content, indent=2) + "\n").encode())


def embed(states: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """Embeddings of length 1, fp32 [n, d], from last hidden states [n, tokens, d] (Reimers & Gurevych 2019,
    arXiv:1908.10084, section 3). ``mask``: 1 where a token is none that fills up; None: nowhere."""
    states = states.float()
    if pooling == "cls":
        return F.normalize(states[:, 0], dim=-1)
    if mask is None:
        return F.normalize(states.mean(1), dim=-1)
    real = mask[..., None].to(states.dtype)
    return F.normalize((states * real).sum(1) / real.sum(1), dim=-1)


def build_encoder(
    ref: ModelRef, texts: Callable[[], Sequence[str]] | None, *, seed: int, complete: bool
) -> Encoder:
    """The encoder that ``ref`` names, without the head that it may have.

    New weights are a function of ``seed`` alone. ``texts`` gives the training texts, for ``tokenizer: train``. The
    pooler of BERT, which embeddings do not go through, may be new; it never learns. Raises ConfigError for a model of
    another kind, ModelError for weights that do not fit, or that are to be random where the model is to be
    ``complete``, and for files of sentence-transformers that ask for more than an encoder and its pooling.
    """
    from transformers import AutoModel

    origin = origins.find_origin(ref, texts)
    config, tokenizer = origin.config, origin.tokenizer
    if getattr(config, "is_encoder_decoder", False):
        what = f"{ref.name} ({config.model_type}) reads with an encoder and writes with a decoder"
        raise ConfigError(what, where="model.name", expected="an encoder such as BERT")
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    pooling = _pooling_of(origin, ref.where)
    own_length = _own_length(origin, ref.where)
    with torch.random.fork_rng(devices=[]), origins.loading(ref.where):
        torch.manual_seed(mix(seed, INIT))
        if ref.bare:
            with torch.device("meta"):
                model = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
            report = bare_report(ref.name)
        elif ref.weights == "default" and not is_new(ref.name):
            model, report = _pretrained(origin)
        else:
            if complete and ref.weights in ("none", "default"):
                raise ModelError("its weights would be random", where=ref.where, cure="name trained weights")
            model = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
            if ref.weights in ("none", "default"):
                report = LoadReport("random start", 0, tuple(name for name, _ in model.named_parameters()))
            else:
                stored = read_weights(Path(ref.weights))
                state = _without_prefix(stored, model)
                report = fit_weights(
                    model, state, ("pooler.",), ref.weights, complete=False, beside=stored.beside
                )
    if ref.layers is not None:
        models.keep_layers(model, ref.layers)
    models.check_vocabulary(model, tokenizer, ref.where)
    for name, parameter in model.named_parameters():
        if name.startswith("pooler."):
            parameter.requires_grad_(False)
    longest = models.limit_length(model, tokenizer)
    return Encoder(
        model=model,
        tokenizer=tokenizer,
        report=replace(report, commit=origin.commit),
        max_positions=longest,
        head=(),
        embeddings=models.embeddings_of(model),
        pooling=pooling,
        own_length=min(own_length, longest or own_length) if own_length else None,
    )


def _pretrained(origin: origins.Origin) -> tuple[Any, LoadReport]:
    from transformers import AutoModel

    adapters.require_loadable(Path(origin.place))
    model, info = AutoModel.from_pretrained(
        origin.place, config=origin.config, dtype=torch.float32, output_loading_info=True, **origin.options
    )
    adapters.take_out(model, merge=True)  # transformers puts one that stands beside the weights in by itself
    new = tuple(sorted(map(str, info["missing_keys"])))
    wrong = [name for name in new if not name.startswith("pooler.")]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors are missing: {listing(wrong, most=4)}",
            where=origin.place,
            expected="weights of this model",
            cure="check config.json against the weights",
        )
    total = sum(1 for _ in model.state_dict())
    left_over = tuple(sorted(map(str, info["unexpected_keys"])))
    return model, LoadReport(origin.place, total - len(new), new, left_over)


def _without_prefix(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Names as the encoder alone has them: of a model with a head they are ``bert.encoder.…``."""
    prefix = f"{model.base_model_prefix}."
    if not any(name.startswith(prefix) for name in state):
        return state
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _pooling_of(origin: origins.Origin, where: str) -> str:
    """What the files of sentence-transformers beside a model say; ``mean`` where there are none. Raises ModelError for
    anything but mean and cls, for layers behind the pooling, and for files that do not say it; MissingDownload where
    the hub has them, and they cannot be had: another pooling would give other embeddings."""
    modules = _content(origin, _MODULES_FILE, where)
    if modules is not None and not (isinstance(modules, list) and all(isinstance(m, dict) for m in modules)):
        raise ModelError(f"{_MODULES_FILE} is no list of modules", where=where, cure="fetch the model again")
    kinds = [str(one.get("type", "")).rpartition(".")[2] for one in modules or ()]
    others = [kind for kind in kinds if kind not in _KNOWN_MODULES]
    if others:
        what = f"its embeddings go through {listing(others)} behind the encoder, which ptm has not"
        raise ModelError(what, where=where, expected="an encoder with mean or cls pooling")
    content = _content(origin, POOLING_FILE, where)
    if content is None and "Pooling" not in kinds:
        return "mean"
    if content is None:
        local = Path(origin.place).is_dir()
        raise (ModelError if local else MissingDownload)(
            f"{_MODULES_FILE} says that its states are pooled, and {POOLING_FILE}, which says how, is not there",
            where=where,
            cure="copy the model with all its folders"
            if local
            else f"with a network, once: hf download {origin.place} {POOLING_FILE}",
        )
    if not isinstance(content, dict):
        raise ModelError(f"{POOLING_FILE} is no object", where=where, cure="fetch the model again")
    chosen = content.get("pooling_mode")
    if chosen is None:
        flags = [key for key, on in content.items() if key.startswith("pooling_mode_") and on is True]
        named = [name for name, flag in _FLAGS.items() if flags == [flag]]
        chosen = named[0] if named else listing(flags)
    if not isinstance(chosen, str) or chosen not in _FLAGS:
        raise ModelError(
            f"its embeddings are pooled by {str(chosen)[:80] or 'nothing'}",
            where=where,
            expected="mean or cls",
        )
    return chosen


def _own_length(origin: origins.Origin, where: str) -> int | None:
    """Tokens that sentence-transformers cuts texts to; None where it says none. Raises ModelError for what is no
    number, and for a model whose texts are brought to lower case before a tokenizer that does not do so."""
    content = _content(origin, LENGTH_FILE, where)
    if content is None:
        return None
    length = content.get("max_seq_length") if isinstance(content, dict) else 0
    if length is not None and (type(length) is not int or length < 1):
        raise ModelError(
            f"{LENGTH_FILE} does not say how long texts are",
            where=where,
            expected="max_seq_length, a number of tokens",
            cure="fetch the model again",
        )
    if (
        content.get("do_lower_case") is True
        and origin.tokenizer("A").input_ids != origin.tokenizer("a").input_ids
    ):
        raise ModelError(
            f"{LENGTH_FILE} brings texts to lower case, and its tokenizer does not, which ptm follows",
            where=where,
            expected="a tokenizer that does what the model needs",
            cure="choose another encoder: ptm models --task text-similarity",
        )
    return length


def _content(origin: origins.Origin, name: str, where: str) -> Any:
    """A file of JSON beside a model; None where there is none. Links are followed: caches of a hub are made of them.

    Raises ModelError for a file that cannot be read, MissingDownload for one that the hub does not give.
    """
    path = _path_of(origin, name, where) if origin.place else None
    if path is None or not (path.exists() or path.is_symlink()):
        return None
    try:
        if kind := endless(path):
            raise ValueError(f"it is {kind}")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
        return files.parse_json(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{name} cannot be read: {first_line(error)}", where=where, cure="fetch the model again"
        ) from None


def _path_of(origin: origins.Origin, name: str, where: str) -> Path | None:
    if Path(origin.place).is_dir():
        return Path(origin.place) / name
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    options = {key: origin.options[key] for key in ("revision", "local_files_only")}
    try:
        return Path(hf_hub_download(origin.place, name, **options))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError) and not options["local_files_only"]:
            raise _not_had(name, where, error) from None
        return None  # most models have none
    except PtmError:
        raise
    except Exception as error:  # of HTTP and of disks, each with its own
        raise _not_had(name, where, error) from None


def _not_had(name: str, where: str, error: Exception) -> MissingDownload:
    return MissingDownload(
        f"{name} cannot be downloaded: {first_line(error)}",
        where=where,
        expected="an answer of the hub, for this file says how embeddings are pooled",
        cure="try again; what was downloaded is kept",
    )
