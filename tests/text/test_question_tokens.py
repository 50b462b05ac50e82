"""Windows of a context: what stands in each, where its tokens come from, and which of them hold the answer."""

from itertools import pairwise

import numpy as np
import pytest

from ptm.data.examples import Examples
from ptm.errors import DataError, ModelError
from ptm.text.origins import load_tokenizer
from ptm.text.question_tokens import NONE, tokenize_questions
from ptm.text.windows import LongTexts
from tiny.samples import save_tiny_bert, save_tiny_gpt2

CONTEXT = "really " * 14 + "the film was superb ."
ANSWER = (CONTEXT.index("superb"), CONTEXT.index("superb") + 6)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(str(save_tiny_bert(tmp_path_factory.mktemp("bert"), ["what"])), {})


def examples(*rows):
    """(question, context, answers) each; answers are None where nobody knows them."""
    questions, contexts, answers = zip(*rows, strict=True)
    targets = None
    if None not in answers:
        targets = np.empty(len(rows), dtype=object)
        for row, spans in enumerate(answers):
            targets[row] = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return Examples({"question": questions, "context": contexts}, targets, lambda row: f"row {row}")


def tokens_of(tokenizer, *rows, length=16, stride=4, segments=True):
    return tokenize_questions(tokenizer, LongTexts(length, "windows", stride), segments, examples(*rows))


def windows_of(encoding, tokenizer):
    starts = encoding.tokens.starts
    rows = [slice(a, b) for a, b in pairwise(starts)]
    return [(tokenizer.convert_ids_to_tokens(encoding.ids[row]), row) for row in rows]


def test_11_13_every_window_has_the_question_and_together_they_have_the_context(tokenizer):
    encoding = tokens_of(tokenizer, ("what was it", CONTEXT, [ANSWER]))
    windows = windows_of(encoding, tokenizer)
    before = tokenizer.convert_ids_to_tokens(tokenizer("what was it")["input_ids"])
    seen = set()
    for pieces, row in windows:
        assert pieces[: len(before)] == before and pieces[-1] == "[SEP]" and len(pieces) <= 16
        assert list(encoding.tokens.types[row]) == [0] * len(before) + [1] * (len(pieces) - len(before))
        inside = encoding.first[row] != NONE
        assert list(inside) == [False] * len(before) + [True] * (len(pieces) - len(before) - 1) + [False]
        for piece, first, after in zip(pieces, encoding.first[row], encoding.after[row], strict=True):
            if first != NONE:
                assert CONTEXT[first:after] == piece
                seen.add(first)
    assert sorted(seen) == [n for n, c in enumerate(CONTEXT) if n == 0 or CONTEXT[n - 1] == " "]
    shared = [set(encoding.first[row]) - {NONE} for _, row in windows]
    assert [len(a & b) for a, b in pairwise(shared[:-1])] == [4] * (len(windows) - 2)
    assert len(encoding) == 1 and encoding.describe()["in_windows"] == 1


def test_11_13_an_answer_in_the_third_window_is_learned_there_and_cls_in_the_others(tokenizer):
    encoding = tokens_of(
        tokenizer, ("what was it", CONTEXT, [ANSWER]), ("what was it", "the film was bad", [])
    )
    held = np.flatnonzero(encoding.targets[:, 0] != encoding.start)
    assert held.tolist() == [2] and encoding.answered == 1
    pieces, row = windows_of(encoding, tokenizer)[2]
    first, last = encoding.targets[2]
    assert pieces[first : last + 1] == ["superb"] and encoding.first[row][first] == ANSWER[0]
    assert (encoding.targets[[0, 1, 3]] == encoding.start[[0, 1, 3], None]).all() and (
        encoding.start == 0
    ).all()


def test_11_13_an_answer_within_words_has_all_tokens_it_touches_and_the_first_answer_is_learned(tokenizer):
    spans = [(5, 11), (0, 3)]  # "ilm wa" of "the film was bad"
    encoding = tokens_of(tokenizer, ("what", "the film was bad", spans))
    ((pieces, _),) = windows_of(encoding, tokenizer)
    first, last = encoding.targets[0]
    assert pieces[first : last + 1] == ["film", "was"]


def test_11_13_a_long_question_is_cut_and_counted(tokenizer):
    encoding = tokens_of(tokenizer, ("what " * 30, CONTEXT, [ANSWER]), ("what", CONTEXT, [ANSWER]))
    asked = windows_of(encoding, tokenizer)[0][0]
    assert asked.count("what") == (16 - 3) // 2 and encoding.describe()["cut_to_max_length"] == 1
    assert "windows_with_answer" in encoding.describe()
    assert "windows_with_answer" not in tokens_of(tokenizer, ("what", CONTEXT, None)).describe()


def test_11_13_a_text_that_spells_a_special_token_is_no_place_of_no_answer(tokenizer):
    encoding = tokens_of(tokenizer, ("[CLS] what", "[CLS] the film", [(6, 9)]), length=32)
    assert encoding.start.tolist() == [0] and encoding.targets[0, 0] > 3


def test_11_13_what_cannot_be_read_is_refused_with_its_row(tokenizer, tmp_path):
    with pytest.raises(DataError, match=r"no context here.*row 1|row 1.*no context here"):
        tokens_of(tokenizer, ("what", CONTEXT, []), ("what", "", []))
    with pytest.raises(DataError, match="no token of the answer"):
        tokens_of(tokenizer, ("what", "the\u200b film", [(3, 4)]))
    gpt2 = load_tokenizer(str(save_tiny_gpt2(tmp_path / "gpt2")), {})
    with pytest.raises(ModelError, match=r"has no \[CLS\], which stands for no answer"):
        tokens_of(gpt2, ("what", CONTEXT, []))
