"""Models that read one text and write another: Marian, T5, BART and their kin, and two encoders made into one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm import hub
from ptm.errors import ConfigError, MissingDownload, ModelError
from ptm.order import INIT, mix
from ptm.spec import GenerateSpec, ModelSpec, TeacherSpec
from ptm.text import models
from ptm.text.scratch import DEFAULT_VOCABULARY, TOKENIZERS, is_new, new_config, train_tokenizer
from ptm.text.tokens import Tokens, no_limits, tokenizer_digest
from ptm.weights import LoadReport, fit_weights, read_weights

TARGET_TOKENIZER = (
    "target_tokenizer"  # folder in a saved model, if what is written has a vocabulary of its own
)
_CHUNK = 20_000  # texts tokenised at a time: bounds the memory of Python lists
_NEEDS_SENTENCEPIECE = (".spm", ".model")  # vocabularies that only this package reads


@dataclass(frozen=True)
class Seq2Seq:
    """An encoder with a decoder, and how texts become their tokens."""

    model: Any
    tokenizer: Any  # of what is read
    target_tokenizer: Any  # of what is written; the same object where one vocabulary serves both
    report: LoadReport
    max_positions: int | None  # longest text in tokens, on either side; None without a limit
    head: tuple[str, ...]  # what is new in a decoder that was an encoder: its attention to the source
    embeddings: tuple[str, ...]

    @property
    def start(self) -> int:
        """The token that every written text begins after."""
        return int(self.model.config.decoder_start_token_id)

    @property
    def pad(self) -> int:
        return int(self.target_tokenizer.pad_token_id)


def build_model(
    spec: ModelSpec | TeacherSpec,
    texts: Callable[[], Sequence[str]] | None,
    *,
    seed: int,
    trained: bool,
    where: str,
) -> Seq2Seq:
    """The model that ``spec`` names. New weights are a function of ``seed`` alone.

    ``texts`` gives the training texts of both sides, for ``tokenizer: train``. ``trained``: all weights must be there
    (a teacher, an evaluation). Raises ConfigError and ModelError for what does not fit together, MissingDownload
    for a vocabulary that needs a package.
    """
    if isinstance(spec, ModelSpec) and spec.layers is not None:
        what = "layers can be chosen of one stack, this model has an encoder and a decoder"
        raise ConfigError(what, where="model.layers", cure="remove it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, INIT))
        if is_new(spec.name):
            loaded = _from_nothing(spec, texts, trained, where)
        elif isinstance(spec, ModelSpec) and spec.decoder is not None:
            loaded = _from_two_encoders(spec, spec.decoder, where)
        else:
            loaded = _from_one_place(spec, trained, where)
    model, tokenizer, target_tokenizer, report = loaded
    _check_vocabularies(model, tokenizer, target_tokenizer, where)
    ends = (
        models._max_positions(model.get_encoder(), tokenizer),
        models._max_positions(model.get_decoder(), target_tokenizer),
    )
    limit = min((end for end in ends if end is not None), default=None)
    for each in (tokenizer, target_tokenizer):
        each.model_max_length = limit or each.model_max_length  # saved: pipelines can cut to it
    return Seq2Seq(
        model, tokenizer, target_tokenizer, report, limit, _cross_attention(model), _embeddings(model)
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
    return tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id


def encode(tokenizer: Any, texts: Sequence[str], max_length: int, *, target: bool) -> Tokens:
    """Texts of one side to tokens, those that are longer cut to ``max_length``, special tokens kept.

    ``target``: a tokenizer with two vocabularies uses the one that is written.
    """
    side = "text_target" if target else "text"

    def rows(some: list[str], **how: Any) -> list[list[int]]:
        found: list[list[int]] = tokenizer(
            **{side: some}, padding=False, return_attention_mask=False, verbose=False, **how
        )["input_ids"]
        return found

    pieces: list[np.ndarray] = []
    lengths: list[int] = []
    cut = 0
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        found = rows(chunk)
        long = [row for row, ids in enumerate(found) if len(ids) > max_length]
        cut += len(long)
        if long:
            shorter = rows([chunk[row] for row in long], truncation=True, max_length=max_length)
            for row, ids in zip(long, shorter, strict=True):
                found[row] = ids
        sizes = [len(ids) for ids in found]
        lengths += sizes
        pieces.append(np.fromiter((t for ids in found for t in ids), dtype=np.int32, count=sum(sizes)))
    no_limits(getattr(tokenizer, "backend_tokenizer", None))
    return Tokens(
        np.concatenate(pieces), None, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), cut
    )


@contextmanager
def projecting(model: Any, rows: Tensor) -> Iterator[None]:
    """While open, a forward pass gives logits [rows, vocabulary] of these positions only, for less time and memory.

    ``rows``: bool [n, tokens]. The projection to the vocabulary is most of what a small model computes.
    """
    layer: nn.Module = model.get_output_embeddings()
    handle = layer.register_forward_pre_hook(lambda module, inputs: (inputs[0][rows],))
    try:
        yield
    finally:
        handle.remove()


# -- where models come from --------------------------------------------------------------------------------

_Loaded = tuple[Any, Any, Any, LoadReport]  # model, tokenizer, tokenizer of the target, report


def _from_nothing(
    spec: ModelSpec | TeacherSpec, texts: Callable[[], Sequence[str]] | None, trained: bool, where: str
) -> _Loaded:
    from transformers import AutoModelForSeq2SeqLM

    kind = spec.name.removeprefix("new:")
    if kind != "marian":
        what = f"new:{kind} does not read one text and write another"
        raise ConfigError(what, where="model.name", expected="new:marian")
    if trained or not isinstance(spec, ModelSpec):
        raise ModelError("a new model knows nothing", where=where, cure="name the directory of a trained run")
    if spec.decoder is not None:
        raise ConfigError("new:marian has a decoder of its own", where="model.decoder", cure="remove it")
    if spec.weights not in ("default", "none"):
        raise ConfigError("a new model has no weights", where="model.weights", cure="name a model instead")
    if spec.tokenizer == "train":
        if texts is None:
            raise ModelError("there are no training texts for its tokenizer", where=where)
        tokenizer = train_tokenizer(texts(), spec.vocabulary or DEFAULT_VOCABULARY, **TOKENIZERS[kind])
    else:
        assert spec.tokenizer is not None, "spec_checks.py asks for one"
        tokenizer = _tokenizer_of(*_place(spec.tokenizer, None))
    with models._loading(spec.name):
        config = new_config(kind, spec.shape, tokenizer)
        config.eos_token_id = config.forced_eos_token_id = end_token(tokenizer)
        model = AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32)
    names = tuple(name for name, _ in model.named_parameters())
    return model, tokenizer, tokenizer, LoadReport("random", 0, names)


def _from_one_place(spec: ModelSpec | TeacherSpec, trained: bool, where: str) -> _Loaded:
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    place, options = _place(spec.name, spec.revision)
    with models._loading(spec.name):
        config = AutoConfig.from_pretrained(place, **options)
    if not getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"a {config.model_type} model has no encoder and decoder",
            where=where,
            expected="Marian, T5, BART, or a run of this task",
            cure="or add model.decoder: the name of a second encoder, which becomes the decoder",
        )
    tokenizer = _tokenizer_of(place, options)
    other = Path(place) / TARGET_TOKENIZER
    target_tokenizer = _tokenizer_of(str(other), options) if other.is_dir() else tokenizer
    if isinstance(spec, ModelSpec) and spec.tokenizer is not None:
        tokenizer = target_tokenizer = _same_vocabulary(spec.tokenizer, tokenizer, where)
    with models._loading(spec.name):
        if spec.weights == "default":
            model, info = AutoModelForSeq2SeqLM.from_pretrained(
                place,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
            report = _report(model, [("", info)], (), place)
        else:
            model = AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
            report = LoadReport("random", 0, tuple(name for name, _ in model.named_parameters()))
    if spec.weights == "none" and trained:
        raise ModelError("weights: none, so it knows nothing", where=where, cure="name trained weights")
    if spec.weights not in ("default", "none"):
        report = fit_weights(model, read_weights(Path(spec.weights)), (), spec.weights, trained=trained)
    return model, tokenizer, target_tokenizer, report


def _from_two_encoders(spec: ModelSpec, decoder_name: str, where: str) -> _Loaded:
    """arXiv:1907.12461. The second encoder looks at earlier tokens only, and gets an attention to the first."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, EncoderDecoderModel

    if spec.weights != "default":
        raise ConfigError(
            "with model.decoder the weights are those of the two names",
            where="model.weights",
            cure="remove it",
        )
    if spec.tokenizer is not None:
        raise ConfigError(
            "with model.decoder each side has its own tokenizer", where="model.tokenizer", cure="remove it"
        )
    (first, options), (second, decoder_options) = _place(spec.name, spec.revision), _place(decoder_name, None)
    common = {"dtype": torch.float32, "output_loading_info": True}
    with models._loading(spec.name):
        encoder_config = AutoConfig.from_pretrained(first, **options)
        if getattr(encoder_config, "is_encoder_decoder", False):
            what = f"a {encoder_config.model_type} model has a decoder of its own"
            raise ConfigError(what, where="model.decoder", cure="remove it, or name an encoder as model.name")
        encoder, read = AutoModel.from_pretrained(first, config=encoder_config, **common, **options)
    with models._loading(decoder_name):
        config = AutoConfig.from_pretrained(second, **decoder_options)
        config.is_decoder = config.add_cross_attention = True
        decoder, written = AutoModelForCausalLM.from_pretrained(
            second, config=config, **common, **decoder_options
        )
        model = EncoderDecoderModel.from_encoder_decoder_pretrained(
            encoder_model=encoder, decoder_model=decoder
        )
    if not _cross_attention(model):
        what = f"a {config.model_type} model cannot attend to another text"
        raise ModelError(what, where=f"model {decoder_name!r}", expected="BERT, RoBERTa or GPT-2 as decoder")
    tokenizer, target_tokenizer = _tokenizer_of(first, options), _tokenizer_of(second, decoder_options)
    if tokenizer_digest(tokenizer) == tokenizer_digest(target_tokenizer):
        target_tokenizer = tokenizer
    begin = target_tokenizer.cls_token_id
    model.config.decoder_start_token_id = target_tokenizer.bos_token_id if begin is None else begin
    model.config.pad_token_id = target_tokenizer.pad_token_id
    model.config.eos_token_id = end_token(target_tokenizer)
    pooler = getattr(encoder, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)  # nobody reads it
    heads = ("decoder.cls.", "decoder.lm_head.", "enc_to_dec_proj.", *_cross_attention(model))
    report = _report(model, [("encoder.", read), ("decoder.", written)], heads, f"{first}, {second}")
    return model, tokenizer, target_tokenizer, report


def _place(name: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """Directory or hub id, and the options that everything of it is loaded with."""
    place, local = models.locate(name)
    return place, {
        "revision": None if local else revision,
        "local_files_only": local or not hub.reachable(),
        "trust_remote_code": False,
    }


def _tokenizer_of(place: str, options: dict[str, Any]) -> Any:
    folder = Path(place)
    needs = folder.is_dir() and not (folder / "tokenizer.json").is_file()
    files = [path.name for path in folder.iterdir() if path.suffix in _NEEDS_SENTENCEPIECE] if needs else []
    if files and importlib.util.find_spec("sentencepiece") is None:
        raise MissingDownload(
            f"its vocabulary ({files[0]}) is read by the package sentencepiece, which is not installed",
            where=f"model {place!r}",
            cure="pip install 'ptm[marian]'",
        )
    with models._loading(place):
        return models._load_tokenizer(place, options)


def _same_vocabulary(name: str, own: Any, where: str) -> Any:
    """The tokenizer of another name, if its tokens have the same numbers."""
    if name == "train":
        what = "trained weights belong to the tokenizer that they were trained with"
        raise ConfigError(what, where="model.tokenizer", cure="remove it, or use new:marian")
    other = _tokenizer_of(*_place(name, None))
    if other.get_vocab() != own.get_vocab():
        raise ConfigError(
            f"the vocabulary of {name} is not that of the model", where="model.tokenizer", cure="remove it"
        )
    return other


def _check_vocabularies(model: Any, tokenizer: Any, target_tokenizer: Any, where: str) -> None:
    models._check_vocabulary(model.get_encoder(), tokenizer, where)
    models._check_vocabulary(model.get_decoder(), target_tokenizer, where)
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
            f"{len(foreign)} tensors are missing or of another shape: {', '.join(foreign[:4])}"
            + (", …" if len(foreign) > 4 else ""),
            where=place,
            expected="weights of this architecture",
            cure="check config.json against the weights",
        )
    left_over = sorted(prefix + str(name) for prefix, info in parts for name in info["unexpected_keys"])
    own_new = [name for name in model.state_dict() if name.startswith("enc_to_dec_proj.") and heads]
    total = sum(1 for _ in model.state_dict())
    names = tuple(sorted({*new, *own_new}))
    return LoadReport(place, total - len(names), names, tuple(left_over))


def _cross_attention(model: Any) -> tuple[str, ...]:
    """Prefixes of what two encoders did not have before they were put together; () for other models."""
    if model.config.model_type != "encoder-decoder":
        return ()
    names = {name for name, _ in model.named_modules() if name.rpartition(".")[2] in _CROSS}
    return tuple(sorted(f"{name}." for name in names))


_CROSS = ("crossattention", "ln_cross_attn", "enc_to_dec_proj")


def _embeddings(model: Any) -> tuple[str, ...]:
    """Prefixes of the tables of tokens and positions; not T5's table of distances, which belongs to its attention."""
    tables = (name for name, module in model.named_modules() if isinstance(module, nn.Embedding))
    return tuple(f"{name}." for name in tables if not name.endswith("relative_attention_bias"))
