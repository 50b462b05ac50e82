"""Masks: how many, which words, by what, and that they depend on nothing but (seed, epoch, id)."""

from dataclasses import replace

import numpy as np
import pytest

from ptm.data.examples import Examples
from ptm.errors import ConfigError, ModelError
from ptm.text import scratch
from ptm.text.blocks import SPECIAL, make_blocks
from ptm.text.masking import (
    IGNORED,
    Masking,
    choose_words,
    evaluation_draws,
    mask_words,
    masking_of,
    training_draws,
)
from tiny.samples import sentences

TEXTS = [text for text, _ in sentences(40, 3)]
MASK, OTHERS = 4, np.arange(5, 105, dtype=np.int32)
WORDS = np.array([SPECIAL, *np.repeat(np.arange(60), [1, 2, 1, 3] * 15), SPECIAL])
IDS = np.where(WORDS == SPECIAL, 2, 5 + np.arange(len(WORDS)) % 100).astype(np.int32)


def masked(count, share=0.15, words=WORDS, ids=IDS):
    masking = Masking(share, MASK, OTHERS)
    draws = training_draws(1, 0, np.arange(count), len(words))
    pairs = [masking.apply(ids, words, draw) for draw in draws]
    return np.array([seen for seen, _ in pairs]), np.array([targets for _, targets in pairs])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.15, 0.4])
def test_shares_over_many_draws(share):
    seen, targets = masked(3000, share)
    chosen = targets != IGNORED
    assert chosen.sum() / (3000 * (WORDS != SPECIAL).sum()) == pytest.approx(share, abs=0.01)
    assert (targets[chosen] == np.broadcast_to(IDS, targets.shape)[chosen]).all()
    assert (seen == IDS)[~chosen].all()
    what = seen[chosen]
    assert (what == MASK).mean() == pytest.approx(0.8, abs=0.01)
    kept = (what == targets[chosen]).mean()
    assert kept == pytest.approx(0.1 + 0.1 / len(OTHERS), abs=0.01)
    replaced = what[(what != MASK) & (what != targets[chosen])]
    assert len(replaced) / chosen.sum() == pytest.approx(0.1, abs=0.01)
    assert set(replaced) == set(OTHERS.tolist())
    assert chosen.any(1).all()


def test_whole_words_and_never_special_tokens():
    _, targets = masked(500)
    chosen = targets != IGNORED
    assert not chosen[:, WORDS == SPECIAL].any()
    for word in range(60):
        inside = chosen[:, word == WORDS]
        assert (inside.all(1) | ~inside.any(1)).all()
    per_word = np.array([chosen[:, word == WORDS][:, 0].mean() for word in range(60)])
    assert per_word.min() > 0.05  # long words have their turn as well
    lengths = np.array([(word == WORDS).sum() for word in range(60)])
    assert per_word[lengths == 1].mean() == pytest.approx(per_word[lengths == 3].mean(), abs=0.03)


def test_at_least_one_word_of_a_short_block():
    words = np.array([SPECIAL, 7, 7, 7, 7, SPECIAL])
    for draws in np.random.default_rng(0).random((20, 6)):
        assert choose_words(words, draws, 0.15).tolist() == [False, True, True, True, True, False]
    assert not choose_words(np.array([SPECIAL, SPECIAL]), np.zeros(2), 0.15).any()


def test_single_tokens_when_not_whole_words():
    tokenizer = scratch.train_tokenizer(TEXTS, 100, **scratch.TOKENIZERS["bert"])
    examples = Examples({"text": ["dreadful films really"]}, None, str)
    blocks = make_blocks(tokenizer, examples, 32, pack=False, overlap=False)
    whole, single = mask_words(blocks, True), mask_words(blocks, False)
    own = blocks.words != SPECIAL
    assert len(set(whole[own])) == 3
    assert len(set(single[own])) == own.sum() > 3
    assert (single[~own] == SPECIAL).all()
    counts = {
        int(choose_words(single, draws, 0.15).sum())
        for draws in np.random.default_rng(0).random((50, len(own)))
    }
    assert counts == {max(1, round(0.15 * own.sum()))}


def test_draws_are_a_function_of_seed_epoch_and_id():
    ids = np.array([3, 9])
    together = training_draws(1, 2, ids, 8)
    assert together.shape == (2, 8, 3)
    assert np.array_equal(together[1:], training_draws(1, 2, ids[1:], 8))
    for other in (training_draws(2, 2, ids, 8), training_draws(1, 3, ids, 8)):
        assert not np.isclose(together, other).any()
    assert np.array_equal(evaluation_draws(ids, 8)[1:], evaluation_draws(ids[1:], 8))
    assert not np.isclose(evaluation_draws(ids, 8), together).any()


def test_replacements_are_never_special():
    tokenizer = scratch.train_tokenizer(TEXTS, 100, **scratch.TOKENIZERS["bert"])
    masking = masking_of(tokenizer, 0.15, "model 'm'")
    assert set(masking.others.tolist()) == set(range(5, len(tokenizer)))
    decoder = scratch.train_tokenizer(TEXTS, 280, **scratch.TOKENIZERS["gpt2"])
    with pytest.raises(ModelError, match="no mask token"):
        masking_of(decoder, 0.15, "model 'm'")


def test_a_tokenizer_without_words_is_refused():
    tokenizer = scratch.train_tokenizer(TEXTS, 100, **scratch.TOKENIZERS["bert"])
    examples = Examples({"text": TEXTS}, None, str)
    blocks = make_blocks(tokenizer, examples, 64, pack=True, overlap=False)
    one = replace(blocks, words=np.minimum(blocks.words, 0))
    with pytest.raises(ConfigError, match="does not tell words apart"):
        mask_words(one, True)
    assert mask_words(one, False).max() > 0
