"""Models that read one text and write another: Marian, T5, BART and their kin, and two encoders made into one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ptm.base.extras import install
from ptm.base.seeds import INIT, mix
from ptm.config.model_ref import ModelRef
from ptm.config.spec import GenerateSpec
from ptm.errors import ConfigError, MissingDownload, ModelError, listing
from ptm.models.weights import LoadReport, read_weights
from ptm.text import models, origins
from ptm.text.models import TextModel
from ptm.text.scratch import is_new
from ptm.text.tokens import Tokens, no_limits, tokenizer_digest

TARGET_TOKENIZER = "target_tokenizer"  # folder in a saved model, if the two sides have two vocabularies
_CHUNK = 20_000  # texts tokenised at a time: bounds the memory of Python lists
_BETWEEN = "enc_to_dec_proj."  # from the width of one model to that of another
_CROSS_ATTENTION = ("crossattention", "ln_cross_attn")  # as BERT's kin and GPT-2 name it
_OUTPUTS = ("decoder.cls.", "decoder.lm_head.", _BETWEEN)


@dataclass(frozen=True, kw_only=True)
class Seq2Seq(TextModel):
    """An encoder with a decoder. ``tokenizer`` is that of what is read; ``max_positions`` holds for either side.

    ``head`` is what two encoders lacked, attention to the source and the way to words; else ().
    """

    target_tokenizer: Any  # of what is written; the same object where one vocabulary serves both

    @property
    def tokenizers(self) -> tuple[Any, ...]:
        return self.tokenizer, self.target_tokenizer

    @property
    def start(self) -> int:
        """The token that every written text begins after."""
        return int(self.model.config.decoder_start_token_id)

    @property
    def pad(self) -> int:
        return int(self.target_tokenizer.pad_token_id)

    def save(self, directory: Path) -> None:
        """The layout of save_pretrained, and a tokenizer of the target in a folder of its own where there are two."""
        super().save(directory)
        if self.target_tokenizer is not self.tokenizer:
            self.target_tokenizer.save_pretrained(directory / TARGET_TOKENIZER)


def build_seq2seq(
    ref: ModelRef,
    texts: Callable[[], Sequence[str]] | None,
    *,
    seed: int,
    complete: bool,
) -> Seq2Seq:
    """The model that ``ref`` names. New weights are a function of ``seed`` alone.

    ``texts`` gives the training texts of both sides, for ``tokenizer: train``. ``complete``: all weights must be there
    (a teacher, an evaluation). Raises ConfigError and ModelError for what does not fit together, MissingDownload
    for a vocabulary that needs a package.
    """
    if ref.layers is not None:
        what = "layers can be chosen of one stack, this model has an encoder and a decoder"
        raise ConfigError(what, where="model.layers", cure="remove it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, INIT))
        if ref.decoder is not None:
            loaded = _from_two_encoders(ref, ref.decoder)
        else:
            loaded = _from_one_place(ref, texts, complete)
    model, tokenizer, target_tokenizer, report = loaded
    _check_vocabularies(model, tokenizer, target_tokenizer, ref.where)
    ends = (
        models.max_positions(model.get_encoder(), tokenizer),
        models.max_positions(model.get_decoder(), target_tokenizer),
    )
    limit = min((end for end in ends if end is not None), default=None)
    for each in (tokenizer, target_tokenizer):
        # Saved, so that pipelines can cut to it.
        each.model_max_length = min(each.model_max_length, limit or each.model_max_length)
    return Seq2Seq(
        model=model,
        tokenizer=tokenizer,
        report=report,
        max_positions=limit,
        head=_head(model),
        embeddings=_embeddings(model),
        target_tokenizer=target_tokenizer,
    )


def set_generation(loaded: Seq2Seq, spec: GenerateSpec) -> None:
    """Make the model write as ``spec`` says, now and wherever it is loaded from what is saved."""
    model, tokenizer = loaded.model, loaded.target_tokenizer
    beams = spec.beams > 1
    config = deepcopy(model.generation_config)
    config.update(
        num_beams=spec.beams,
        length_penalty=spec.length_penalty if beams else 1.0,
        early_stopping=beams,  # as soon as there are so many finished texts
        max_new_tokens=spec.max_length,
        max_length=None,
        do_sample=False,
        use_cache=True,
        num_return_sequences=1,
        decoder_start_token_id=loaded.start,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=end_token(tokenizer),
    )
    config._from_model_config = False  # or it would be made anew from config.json
    model.generation_config = config


def end_token(tokenizer: Any) -> int | None:
    """What ends a text: BERT's tokenizers know no end, but a separator that stands there."""
    end: int | None = tokenizer.eos_token_id
    separator: int | None = tokenizer.sep_token_id
    return separator if end is None else end


def encode(tokenizer: Any, texts: Sequence[str], max_length: int, *, target: bool) -> Tokens:
    """Texts of one side to tokens, those that are longer cut to ``max_length``, special tokens kept.

    ``target``: a tokenizer with two vocabularies uses the one that is written.
    """
    side = "text_target" if target else "text"

    def rows(chunk: list[str], **options: Any) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(
            **{side: chunk}, padding=False, return_attention_mask=False, verbose=False, **options
        )["input_ids"]
        return ids

    pieces: list[np.ndarray] = []
    lengths: list[int] = []
    cut = 0
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        encoded = rows(chunk)
        long = [row for row, ids in enumerate(encoded) if len(ids) > max_length]
        cut += len(long)
        if long:
            shorter = rows([chunk[row] for row in long], truncation=True, max_length=max_length)
            for row, ids in zip(long, shorter, strict=True):
                encoded[row] = ids
        sizes = [len(ids) for ids in encoded]
        lengths += sizes
        pieces.append(np.fromiter((t for ids in encoded for t in ids), dtype=np.int32, count=sum(sizes)))
    no_limits(getattr(tokenizer, "backend_tokenizer", None))
    return Tokens(
        np.concatenate(pieces), None, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), cut
    )


# -- where models come from --------------------------------------------------------------------------------

_Loaded = tuple[Any, Any, Any, LoadReport]  # model, tokenizer, tokenizer of the target, report


def _from_one_place(ref: ModelRef, texts: Callable[[], Sequence[str]] | None, complete: bool) -> _Loaded:
    from transformers import AutoModelForSeq2SeqLM

    origin = _origin(ref, texts)
    config, tokenizer = origin.config, origin.tokenizer
    if not getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"a {config.model_type} model has no decoder that reads what an encoder says",
            where=ref.where,
            expected="Marian, T5, BART, or a run of this task",
            cure="name another, or add model.decoder: a second encoder, which becomes the decoder",
        )
    if ref.name == "new:marian":
        config.eos_token_id = config.forced_eos_token_id = end_token(tokenizer)
    weights = "none" if is_new(ref.name) and ref.weights == "default" else ref.weights
    if complete and weights == "none":
        raise ModelError("its weights would be random", where=ref.where, cure="name trained weights")
    options = {"config": config, "dtype": torch.float32}
    loading = {"ignore_mismatched_sizes": True, "output_loading_info": True}
    state = None if weights in ("default", "none") else read_weights(Path(weights))
    with origins.loading(ref.where):
        if weights == "default":
            model, info = AutoModelForSeq2SeqLM.from_pretrained(
                origin.place, **options, **loading, **origin.options
            )
            report = _report(model, [("", info)], (), origin.place)
        else:
            model = AutoModelForSeq2SeqLM.from_config(trust_remote_code=False, **options)
            report = LoadReport("random start", 0, tuple(name for name, _ in model.named_parameters()))
        if state is not None:
            # transformers knows which names are tied to others, and which tables are computed
            model, info = type(model).from_pretrained(None, state_dict=state, **options, **loading)
            report = _report(model, [("", info)], (), weights)
    report = replace(report, commit=origin.commit)
    folder = Path(origin.place, TARGET_TOKENIZER)
    if not origin.place or not folder.is_dir():
        return model, tokenizer, tokenizer, report
    with origins.loading(ref.where):
        target_tokenizer = origins.load_tokenizer(str(folder), origin.options)
    return model, tokenizer, target_tokenizer, report


def _from_two_encoders(ref: ModelRef, decoder_name: str) -> _Loaded:
    """arXiv:1907.12461. The second encoder looks at earlier tokens only, and gets an attention to the first."""
    from transformers import AutoModel, AutoModelForCausalLM, EncoderDecoderModel

    if ref.weights != "default":
        raise ConfigError(
            "with model.decoder the weights are those of the two names",
            where="model.weights",
            cure="remove it",
        )
    if ref.tokenizer is not None:
        raise ConfigError(
            "with model.decoder each side has its own tokenizer", where="model.tokenizer", cure="remove it"
        )
    decoder_ref = ModelRef(name=decoder_name)
    first, second = _origin(ref, None), _origin(decoder_ref, None)
    if getattr(first.config, "is_encoder_decoder", False):
        what = f"a {first.config.model_type} model has a decoder of its own"
        raise ConfigError(what, where="model.decoder", cure="remove it, or name an encoder as model.name")
    second.config.is_decoder = second.config.add_cross_attention = True
    options = {"dtype": torch.float32, "output_loading_info": True}
    with origins.loading(ref.where):
        encoder, read = AutoModel.from_pretrained(
            first.place, config=first.config, **options, **first.options
        )
    with origins.loading(decoder_ref.where):
        decoder, written = AutoModelForCausalLM.from_pretrained(
            second.place, config=second.config, **options, **second.options
        )
        model = EncoderDecoderModel.from_encoder_decoder_pretrained(
            encoder_model=encoder, decoder_model=decoder
        )
    if not _cross_attention(model):
        what = f"a {second.config.model_type} model cannot attend to another text"
        raise ModelError(what, where=decoder_ref.where, expected="BERT, RoBERTa or GPT-2 as decoder")
    tokenizer, target_tokenizer = first.tokenizer, second.tokenizer
    if tokenizer_digest(tokenizer) == tokenizer_digest(target_tokenizer):
        target_tokenizer = tokenizer
    begin = target_tokenizer.cls_token_id
    model.config.decoder_start_token_id = target_tokenizer.bos_token_id if begin is None else begin
    model.config.pad_token_id = target_tokenizer.pad_token_id
    model.config.eos_token_id = end_token(target_tokenizer)
    pooler = getattr(encoder, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)  # nobody reads it
    places = f"{first.place}, {second.place}"
    report = _report(model, [("encoder.", read), ("decoder.", written)], _head(model), places)
    commits = [origin.commit for origin in (first, second) if origin.commit is not None]
    return model, tokenizer, target_tokenizer, replace(report, commit=", ".join(commits) or None)


def _origin(ref: ModelRef, texts: Callable[[], Sequence[str]] | None) -> origins.Origin:
    """As ``origins.find_origin``; MissingDownload where it is only the package that reads Marian's vocabularies."""
    try:
        return origins.find_origin(ref, texts)
    except ModelError as error:
        if "sentencepiece" not in str(error).lower() or importlib.util.find_spec("sentencepiece"):
            raise
        raise MissingDownload(
            "its vocabulary is read by the package sentencepiece, which is not installed",
            where=ref.where,
            cure=install("marian"),
        ) from None


def _check_vocabularies(model: Any, tokenizer: Any, target_tokenizer: Any, where: str) -> None:
    models.check_vocabulary(model.get_encoder(), tokenizer, where)
    models.check_vocabulary(model.get_decoder(), target_tokenizer, where)
    if getattr(model.config, "decoder_start_token_id", None) is None:
        raise ModelError(
            "config.json does not say which token a written text begins after",
            where=where,
            expected="decoder_start_token_id",
        )
    if end_token(target_tokenizer) is None:
        raise ModelError(
            "the tokenizer has no token that ends a text",
            where=where,
            expected="an eos_token or a sep_token",
            cure="with new:marian: tokenizer: train",
        )


def _report(
    model: Any, parts: list[tuple[str, dict[str, Any]]], heads: tuple[str, ...], place: str
) -> LoadReport:
    """What was loaded into each part, by prefix. Raises ModelError when more than ``heads`` is new."""
    new = sorted(
        prefix + str(name)
        for prefix, info in parts
        for name in {*info["missing_keys"], *(item[0] for item in info["mismatched_keys"])}
    )
    foreign = [name for name in new if not name.startswith(heads or ("\0",)) and ".pooler." not in name]
    if foreign:
        raise ModelError(
            f"{len(foreign)} tensors are missing or of another shape: {listing(foreign, most=4)}",
            where=place,
            expected="weights of this architecture",
            cure="check config.json against the weights",
        )
    left_over = sorted(prefix + str(name) for prefix, info in parts for name in info["unexpected_keys"])
    state = model.state_dict()
    if len(parts) > 1:  # what stands between the two is in neither report
        new += [name for name in state if name.startswith(_BETWEEN)]
    names = tuple(sorted(set(new)))
    return LoadReport(place, len(state) - len(names), names, tuple(left_over))


def _cross_attention(model: Any) -> tuple[str, ...]:
    """Prefixes of the attention to the encoder that a decoder got which had none; () for other models."""
    if model.config.model_type != "encoder-decoder":
        return ()
    names = {name for name, _ in model.named_modules() if name.rpartition(".")[2] in _CROSS_ATTENTION}
    return tuple(f"{name}." for name in sorted(names))


def _head(model: Any) -> tuple[str, ...]:
    """Prefixes of what two encoders did not have before they were put together; () for other models."""
    prefixes = _cross_attention(model)
    return (*prefixes, *_OUTPUTS) if prefixes else ()


def _embeddings(model: Any) -> tuple[str, ...]:
    """Prefixes of the tables of tokens and positions; not T5's table of distances, which belongs to its attention."""
    tables = (name for name, module in model.named_modules() if isinstance(module, nn.Embedding))
    return tuple(f"{name}." for name in tables if not name.endswith("relative_attention_bias"))
