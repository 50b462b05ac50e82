"""Issue 13, line 3: tokens are made once, come back to the bit, and are never those of anything else."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import tiny
from ptm.base import array_cache
from ptm.base.cache import checksum
from ptm.config.load import load_config
from ptm.data.examples import Examples
from ptm.pipeline import task_module
from ptm.text import token_cache
from ptm.text.tokens import Tokens, tokenize
from ptm.text.windows import LongTexts
from tiny.samples import sentences


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty cache, and everything worth keeping."""
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 0)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert)


def examples(texts=("a good film", "a bad one", "  "), **other) -> Examples:
    return Examples({"text": list(texts)}, other.pop("targets", None), str, **other)


def of(tokenizer, max_length=16, segments=True, long_texts=None):
    return partial(tokenize, tokenizer, max_length=max_length, segments=segments, long_texts=long_texts)


def test_13_03_tokens_come_back_to_the_bit_and_the_tokenizer_is_not_asked(root, tokenizer, monkeypatch):
    texts = [text for text, _ in sentences(50, 3)]
    pairs = Examples({"text": texts, "text_pair": texts[::-1]}, np.arange(50), str)
    encode = of(tokenizer, max_length=7)
    plain = encode(pairs)
    made, problem = token_cache.encode_once(encode, pairs, {"tokens": "m"})
    assert problem == ""
    monkeypatch.setattr(type(tokenizer), "__call__", None)
    again, _ = token_cache.encode_once(encode, pairs, {})
    for tokens in (made, again):
        assert isinstance(tokens, Tokens) and tokens.cut == plain.cut > 0 and tokens.windows is None
        for name in ("ids", "types", "starts"):
            expected, array = getattr(plain, name), getattr(tokens, name)
            assert array.dtype == expected.dtype and np.array_equal(array, expected)


def test_13_03_whatever_decides_the_tokens_decides_the_name(root, tokenizer, tiny_bert, monkeypatch):
    from tokenizers import normalizers
    from transformers import AutoTokenizer

    base = examples()
    windows = LongTexts(16, "windows", 2)
    other = AutoTokenizer.from_pretrained(tiny_bert)
    other.backend_tokenizer.normalizer = normalizers.NFC()
    left = AutoTokenizer.from_pretrained(tiny_bert, truncation_side="left")
    variants = [
        (of(tokenizer), base),
        (of(tokenizer, max_length=15), base),
        (of(tokenizer, segments=False), base),
        (of(tokenizer, long_texts=windows), base),
        (of(tokenizer, long_texts=replace(windows, stride=3)), base),
        (of(other), base),
        (of(left), base),
        (of(tokenizer), examples(["a good film", "a bad one"])),
        (of(tokenizer), examples(["a good filma ", "bad one", "  "])),  # the same letters, cut elsewhere
        (of(tokenizer), examples(["a bad one", "a good film", "  "])),
        (of(tokenizer), Examples({"words": [["a", "b"], ["c"]]}, None, str)),
        (of(tokenizer), Examples({"words": [["a"], ["b", "c"]]}, None, str)),
        (of(tokenizer), examples(targets=np.array([0, 1, 1]))),
    ]
    names = [json.dumps(token_cache.identity_of(*variant)) for variant in variants]
    assert len(set(names)) == len(variants)
    monkeypatch.setattr(array_cache, "code_digest", lambda *modules: "another version of ptm")
    assert json.dumps(token_cache.identity_of(*variants[0])) != names[0]


def test_13_03_what_cannot_be_told_apart_is_not_kept(root, tokenizer):
    assert token_cache.identity_of(of(tokenizer), examples()) is not None
    assert token_cache.identity_of(of(object()), examples()) is None
    assert token_cache.identity_of(lambda _: None, examples()) is None
    assert token_cache.identity_of(of(tokenizer), examples(["a", None])) is None
    assert token_cache.identity_of(of(tokenizer), examples(["a", 3])) is None
    objects = np.empty(1, dtype=object)
    objects[0] = np.array([None, 1])
    assert token_cache.identity_of(of(tokenizer), examples(targets=objects)) is None


def test_13_03_few_texts_make_no_file(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    token_cache.encode_once(of(tokenizer), examples(["a good film"] * 100), {})
    assert not (tmp_path / "cache").exists()


def flat(value):
    """Tensors and arrays as lists, to be compared."""
    if isinstance(value, dict):
        return {name: flat(part) for name, part in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["text-classification-pairs", "token-classification", "masked-lm", "translation"]
)
def test_13_03_each_kind_of_tokens_makes_the_same_batches_with_and_without(name, tmp_path, monkeypatch):
    """Without a cache, with an empty one, with a full one, with a spoilt one, with none that can be written."""
    config = tiny.prepare(name, tmp_path / "world")
    spec = load_config(config, [f"output={json.dumps(str(tmp_path / 'r'))}"])
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    asked, whole = [], array_cache.load
    monkeypatch.setattr(array_cache, "load", lambda identity: asked.append(whole(identity)) or asked[-1])
    module, outcomes = task_module(spec.task), {}
    for turn in ("without", "empty", "full", "spoilt", "unwritable"):
        if turn == "empty":
            monkeypatch.setattr(token_cache, "LEAST_BYTES", 0)
        if turn == "spoilt":
            for path in (tmp_path / "cache/data").glob("*/*.bin"):
                path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        if turn == "unwritable":
            monkeypatch.setenv("PTM_CACHE", "/proc/nowhere")
        asked.clear()
        pipeline = module.build(spec, module.load_data(spec), model=spec.model.ref(), complete=False)
        pipeline.save_model(tmp_path / turn)
        outcomes[turn] = [
            [flat(part) for part in (batch.ids, batch.inputs, batch.targets)]
            for split in ("train", "eval")
            for batch in pipeline.batches(split, np.array_split(np.arange(pipeline.size(split)), 4), 0)
        ]
        outcomes[turn] += [pipeline.describe()]
        outcomes[turn] += [
            path.read_bytes() for path in sorted((tmp_path / turn).glob("*")) if path.is_file()
        ]
        hits = sum(found is not None for found in asked)
        # What was made is asked for once more: it comes back mapped, and leaves the memory.
        expected = {"without": (0, 0), "full": (2, 2), "unwritable": (2, 0)}.get(turn, (4, 2))
        assert (len(asked), hits) == expected, turn
        assert ["not kept" in note for note in pipeline.notes()].count(True) == (turn == "unwritable")
    assert all(str(outcome) == str(outcomes["without"]) for outcome in outcomes.values())
    assert len(list((tmp_path / "cache/data").iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda layout: [1, 2],
        lambda layout: {**layout, "arrays": {}},
        lambda layout: {**layout, "arrays": [["ids", 1]]},
        lambda layout: {**layout, "arrays": {"../ids": ["<i4", [10**30]]}},
        lambda layout: {**layout, "arrays": {"ids": ["<i4", [0, 10**30]]}},
        lambda layout: {**layout, "arrays": {"ids": ["|O", [3]]}},
        lambda layout: {**layout, "arrays": {"ids\0": ["<i4", [3]]}},
        lambda layout: {**layout, "values": [1]},
        lambda layout: {**layout, "values": None},
        lambda layout: {**layout, "values": {"parts": {}}},
        lambda layout: {**layout, "values": {"parts": {**layout["values"]["parts"], "cut": "3"}}},
        lambda layout: {**layout, "values": {"parts": {**layout["values"]["parts"], "ids": None}}},
        lambda layout: {**layout, "values": {"parts": {**layout["values"]["parts"], "ids": {"array": "z"}}}},
        lambda layout: {**layout, "values": {"parts": {**layout["values"]["parts"], "ids": {"array": []}}}},
    ],
)
def test_15_05_what_somebody_else_wrote_into_the_cache_is_made_anew(root, tokenizer, change):
    encode, made = of(tokenizer), examples(["a good film", "a bad one"])
    expected, _ = token_cache.encode_once(encode, made, {})
    (place,) = (root / "data").iterdir()
    content = json.dumps(change(json.loads((place / "layout.bin").read_bytes()))).encode()
    (place / "layout.bin").write_bytes(content)
    (place / "layout.crc").write_bytes(checksum(content).to_bytes(4, "little"))
    for _ in range(2):
        again, problem = token_cache.encode_once(encode, made, {})
        assert problem == "" and np.array_equal(again.ids, expected.ids) and again.cut == expected.cut
    assert array_cache.load(token_cache.identity_of(encode, made))
