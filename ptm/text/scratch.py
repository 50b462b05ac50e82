"""Text models from nothing: a tokenizer trained on the texts at hand, and the configuration of a small model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ptm.config.spec import ShapeSpec
from ptm.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

Kind = Literal["wordpiece", "bpe"]

DEFAULT_VOCABULARY = 8000  # tokens
BERT_TOKENS: Mapping[str, str] = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# One token begins, ends and parts texts, as in GPT-2; padding, which GPT-2 never needed, gets its own.
GPT2_TOKENS: Mapping[str, str] = {
    "pad_token": "<pad>",
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
}
MARIAN_TOKENS: Mapping[str, str] = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}

_BYTES = 256
_LETTERS_SHARE = 4  # letters, each with and without ##, take at most half of a WordPiece vocabulary


def is_new(name: str) -> bool:
    """Whether ``model.name`` asks for a model from scratch: ``new:bert``."""
    return name.startswith("new:")


def train_tokenizer(
    texts: Sequence[str],
    size: int,
    kind: Kind,
    *,
    lowercase: bool,
    special: Mapping[str, str] | None = None,
    append_end: bool = False,
) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``size`` tokens: the same for the same texts, in any process, with any thread count.

    ``wordpiece``: BERT's (arXiv:1810.04805), learned as byte-pair encoding over letters, as the tokenizers library
    does. ``bpe``: byte-level byte-pair encoding as GPT-2's, which can write any text. ``special`` names the special
    tokens by role (``pad_token``, ``eos_token``, …; default: BERT's or GPT-2's); they get the lowest ids in the
    order given. ``append_end``: every text ends with ``eos_token`` (``bpe``). Raises ConfigError when ``size``
    leaves no room for the letters.
    """
    if kind == "wordpiece":
        return _train_wordpiece(texts, size, lowercase, BERT_TOKENS if special is None else special)
    return _train_bpe(texts, size, lowercase, GPT2_TOKENS if special is None else special, append_end)


def _train_wordpiece(
    texts: Sequence[str], size: int, lowercase: bool, special: Mapping[str, str]
) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    names = list(dict.fromkeys(special.values()))
    trained = Tokenizer(models.WordPiece(unk_token=special["unk_token"]))
    trained.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word
        for text in texts
        for word, _ in trained.pre_tokenizer.pre_tokenize_str(trained.normalizer.normalize_str(text))
    )
    letters = _most_frequent(words, (size - len(names)) // _LETTERS_SHARE)
    inner = sorted({f"##{letter}" for word in words for letter in word[1:] if letter in letters})
    _require_room(size, len(names) + len(letters) + len(inner))
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        # Inner letters get their ids in the order of a hash table, which ties between pairs are decided by. Only
        # what stands here has a fixed id; the tokenizer for use below knows the true special tokens alone.
        special_tokens=[*names, *inner],
        initial_alphabet=sorted(letters),
        limit_alphabet=len(letters),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    return BertTokenizer(vocab=trained.get_vocab(), do_lower_case=lowercase, **special)


def _most_frequent(words: Mapping[str, int], most: int) -> set[str]:
    """At most so many letters, the most frequent ones; of equally frequent ones those that come first in Unicode."""
    times: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            times[letter] += count
    return set(sorted(times, key=lambda letter: (-times[letter], letter))[:most])


def _train_bpe(
    texts: Sequence[str], size: int, lowercase: bool, special: Mapping[str, str], append_end: bool
) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = list(dict.fromkeys(special.values()))
    _require_room(size, _BYTES + len(names))
    trained = Tokenizer(models.BPE())
    if lowercase:
        trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=names,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    if append_end:
        end = special["eos_token"]
        trained.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, trained.token_to_id(end))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, **special)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def _require_room(size: int, needed: int) -> None:
    if size < needed:
        raise ConfigError(
            f"{size} tokens have no room for the letters and the special tokens",
            where="model.vocabulary",
            expected=f"at least {needed}",
            cure="raise it; 8,000 is the default",
        )


def new_config(model_type: str, shape: ShapeSpec | None, tokenizer: Any) -> PretrainedConfig:
    """The configuration of a ``new:`` model: its size from ``shape``, vocabulary and special ids from ``tokenizer``.

    ``marian`` has an encoder and a decoder of that size with common embeddings and sinusoidal positions; it begins
    to write with the padding token. Raises ConfigError for a type that cannot be made.
    """
    _require_type(model_type)
    shape = shape or ShapeSpec()
    return _CONFIGS[model_type](shape, shape.feedforward or 4 * shape.width, tokenizer)


def tokenizer_options(model_type: str) -> Mapping[str, Any]:
    """How the tokenizer of a ``new:`` model is trained: arguments of :func:`train_tokenizer`."""
    _require_type(model_type)
    return TOKENIZERS[model_type]


def _require_type(model_type: str) -> None:
    if model_type not in _CONFIGS:
        raise ConfigError(
            f"there is no new:{model_type}",
            where="model.name",
            expected=f"one of {', '.join(f'new:{name}' for name in sorted(_CONFIGS))}",
        )


def _bert(shape: ShapeSpec, feedforward: int, tokenizer: Any) -> PretrainedConfig:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=feedforward,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        max_position_embeddings=shape.positions,
        pad_token_id=tokenizer.pad_token_id,
    )


def _gpt2(shape: ShapeSpec, feedforward: int, tokenizer: Any) -> PretrainedConfig:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_inner=feedforward,
        n_positions=shape.positions,
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=shape.dropout,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _marian(shape: ShapeSpec, feedforward: int, tokenizer: Any) -> PretrainedConfig:
    from transformers import MarianConfig

    return MarianConfig(
        vocab_size=len(tokenizer),
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=feedforward,
        decoder_ffn_dim=feedforward,
        max_position_embeddings=shape.positions,
        dropout=shape.dropout,
        attention_dropout=shape.dropout,
        scale_embedding=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )


_CONFIGS: Mapping[str, Callable[[ShapeSpec, int, Any], Any]] = {
    "bert": _bert,
    "gpt2": _gpt2,
    "marian": _marian,
}
# How a tokenizer for each is trained: the arguments of train_tokenizer.
TOKENIZERS: Mapping[str, Mapping[str, Any]] = {
    "bert": {"kind": "wordpiece", "lowercase": True, "special": BERT_TOKENS},
    "gpt2": {"kind": "bpe", "lowercase": False, "special": GPT2_TOKENS},
    "marian": {"kind": "bpe", "lowercase": False, "special": MARIAN_TOKENS, "append_end": True},
}
