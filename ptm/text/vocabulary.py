"""A vocabulary cut down to what texts use: fewer rows of embeddings, the same answers to these texts.

WordPiece takes the longest piece that it knows at each place of a word (Devlin et al. 2018, arXiv:1810.04805, §3; Song
et al. 2021, arXiv:2012.15524). A text whose pieces are all kept is therefore cut as before: the longest piece is still
there, and pieces that were left out were not taken. Merges of BPE and the scores of Unigram depend on pieces that no
text holds, so such vocabularies are not cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptm.base import files
from ptm.errors import ConfigError, ModelError

_TOKENIZER, _WEIGHTS = "tokenizer.json", "model.safetensors"


def require_wordpiece(tokenizer: Any, where: object) -> dict[str, Any]:
    """The tokenizer as its tokenizer.json has it. ConfigError for one whose vocabulary cannot be cut."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    kind = (content.get("model") or {}).get("type") or type(tokenizer).__name__
    if kind != "WordPiece":
        raise ConfigError(
            f"its tokenizer is {kind}: which pieces a text is cut into depends on pieces that no text holds",
            where=where,
            expected="a model with a WordPiece tokenizer (BERT, DistilBERT, MiniLM, ELECTRA, MPNet)",
            cure="leave --trim-vocabulary out",
        )
    return content


def kept_tokens(content: Mapping[str, Any], used: np.ndarray, pad_id: int, more: int) -> np.ndarray:
    """Ids of the tokens that stay, rising, int64 [kept]: those in ``used`` (int [n], the special ones among them),
    all added ones, pieces of one character, so that a new word is cut into letters rather than unknown, and ``more`` of
    the others.

    These are the first in the vocabulary, which BERT's and its kin's have in the order of their frequency, names of the
    kind ``[unused7]`` left out. All ids up to ``pad_id`` stay, so that it keeps its number: some models count positions
    from it.
    """
    model = content["model"]
    vocabulary, prefix = model["vocab"], model.get("continuing_subword_prefix") or ""
    kept = {*map(int, used), *range(pad_id + 1)}
    kept |= {int(token["id"]) for token in content.get("added_tokens") or ()}
    kept |= {number for piece, number in vocabulary.items() if len(piece.removeprefix(prefix)) == 1}
    others = sorted(
        number
        for piece, number in vocabulary.items()
        if number not in kept and not piece.startswith("[unused")
    )
    return np.array(sorted(kept | set(others[:more])), dtype=np.int64)


def trim_saved(directory: Path, model: Any, content: Mapping[str, Any], kept: np.ndarray) -> None:
    """Cut the saved model in ``directory`` down to the tokens ``kept``, which get new numbers in the old order: the
    tokenizer, the rows of its embeddings, and the ids in config.json. ``model`` is the one that was saved.

    Raises ModelError for a model whose embeddings are not in its file of weights. One with another table a token does
    not fit its new config.json any more, which whoever loads it is told.
    """
    from safetensors.torch import load_file, save_file

    new = {int(old): number for number, old in enumerate(kept)}
    table = model.get_input_embeddings()
    name = next(n for n, module in model.named_modules() if module is table) + ".weight"
    weights = load_file(directory / _WEIGHTS) if (directory / _WEIGHTS).is_file() else {}
    if name not in weights:
        raise ModelError(f"{name} is not in {_WEIGHTS}", where=directory, cure="leave --trim-vocabulary out")
    weights[name] = weights[name][torch.from_numpy(kept)].contiguous()
    save_file(weights, directory / _WEIGHTS, metadata={"format": "pt"})
    config = _read(directory / "config.json")
    config |= {key: new[value] for key, value in config.items() if key.endswith("_token_id") and value in new}
    files.write_json(directory / "config.json", config | {"vocab_size": len(kept)})
    pieces = {piece: new[number] for piece, number in content["model"]["vocab"].items() if number in new}
    ordered = dict(sorted(pieces.items(), key=lambda item: item[1]))
    files.write_json(
        directory / _TOKENIZER,
        {
            **content,
            "truncation": None,
            "padding": None,
            "added_tokens": [
                token | {"id": new[int(token["id"])]} for token in content.get("added_tokens") or ()
            ],
            "post_processor": _renumbered(content.get("post_processor"), new),
            "model": {**content["model"], "vocab": ordered},
        },
    )
    if (directory / "vocab.txt").is_file():
        (directory / "vocab.txt").write_text("".join(f"{piece}\n" for piece in ordered), encoding="utf-8")
    settings = _read(directory / "tokenizer_config.json")
    if "added_tokens_decoder" in settings:
        added = settings["added_tokens_decoder"]
        settings["added_tokens_decoder"] = {str(new[int(old)]): token for old, token in added.items()}
        files.write_json(directory / "tokenizer_config.json", settings)


def _renumbered(processor: Any, new: Mapping[int, int]) -> Any:
    """What is put around a text, its special tokens by their new numbers."""
    if not isinstance(processor, dict):
        return processor
    done = dict(processor)
    for key in ("sep", "cls"):  # BertProcessing, RobertaProcessing: [token, id]
        if isinstance(done.get(key), list):
            done[key] = [done[key][0], new[done[key][1]]]
    if isinstance(done.get("special_tokens"), dict):  # TemplateProcessing
        done["special_tokens"] = {
            token: {**entry, "ids": [new[number] for number in entry["ids"]]}
            for token, entry in done["special_tokens"].items()
        }
    if isinstance(done.get("processors"), list):  # Sequence
        done["processors"] = [_renumbered(each, new) for each in done["processors"]]
    return done


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
