"""Trimmed vocabularies: which tokens stay, and that the saved parts agree."""

import json

import numpy as np
import pytest

from ptm.errors import ConfigError
from ptm.text.origins import load_tokenizer
from ptm.text.vocabulary import kept_tokens, require_wordpiece, trim_saved
from tiny.samples import save_base, save_bert_tokenizer

PIECES = [
    "[unused0]",
    "[PAD]",
    "[unused1]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "##b",
    "the",
    "film",
    "##ing",
    "of",
]
MPNET_SPECIAL = ["<pad>", "<s>", "</s>", "<mask>"]  # its positions are counted from the number of <pad>
CONTENT = {
    "added_tokens": [{"id": 4}, {"id": 5}],
    "model": {
        "vocab": {piece: number for number, piece in enumerate(PIECES)},
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
    },
}


@pytest.mark.parametrize(
    ("more", "pieces"),
    [
        (0, ["[unused0]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "film"]),
        (1, ["[unused0]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "the", "film"]),
        (99, [piece for piece in PIECES if piece != "[unused1]"]),
    ],
)
def test_14_04_special_tokens_letters_used_and_the_most_frequent_stay(more, pieces):
    kept = kept_tokens(CONTENT, np.array([3, 9]), 1, more)
    assert [PIECES[number] for number in kept] == pieces


@pytest.mark.parametrize(
    ("name", "tokenizer", "config"),
    [
        (
            "Bert",
            "BertTokenizer",
            {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        ),
        ("DistilBert", "DistilBertTokenizer", {"n_layers": 1, "n_heads": 2, "hidden_dim": 32}),
        (
            "Electra",
            "ElectraTokenizer",
            {
                "embedding_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
        ),
        (
            "MPNet",
            "MPNetTokenizer",
            {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        ),
    ],
)
def test_14_04_a_saved_model_answers_as_before_whatever_its_architecture(name, tokenizer, config, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    width = "dim" if name == "DistilBert" else "hidden_size"
    words = [*MPNET_SPECIAL, *(f"unheard{letter}" for letter in "abcdefghijklmnopqrst")]
    save_bert_tokenizer(tmp_path, tokenizer, words)
    size = len(AutoTokenizer.from_pretrained(tmp_path))
    save_base(tmp_path, name, vocab_size=size, **{width: 16}, **config)
    before = load_tokenizer(str(tmp_path), {})
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    model.save_pretrained(tmp_path)
    text = ("a wonderful film", "the dull plot")
    inputs = before(*text, return_tensors="pt")
    content = require_wordpiece(before, "m")
    used = np.union1d(inputs["input_ids"].numpy(), before.all_special_ids)
    kept = kept_tokens(content, used, before.pad_token_id, 0)
    trim_saved(tmp_path, model, content, kept)
    after = load_tokenizer(str(tmp_path), {})
    smaller = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    again = after(*text, return_tensors="pt")
    assert len(after) == len(kept) <= size - 20
    assert after.all_special_tokens == before.all_special_tokens
    assert kept[again["input_ids"]].tolist() == inputs["input_ids"].tolist()
    assert smaller.get_input_embeddings().weight.shape[0] == len(kept)
    with torch.inference_mode():
        torch.testing.assert_close(smaller(**again).logits, model(**inputs).logits, rtol=0, atol=1e-6)
    assert after.convert_ids_to_tokens(after("unheardc")["input_ids"])[1:3] == ["u", "##n"]


def test_14_04_other_tokenizers_are_refused_with_the_reason(tiny_roberta):
    tokenizer = load_tokenizer(str(tiny_roberta), {})
    with pytest.raises(ConfigError, match="its tokenizer is BPE: which pieces") as refused:
        require_wordpiece(tokenizer, "m")
    assert "--trim-vocabulary" in json.dumps([p.cure for p in refused.value.problems])
