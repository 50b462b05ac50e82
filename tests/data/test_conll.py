"""Columns of the CoNLL shared tasks: what is a sentence, a comment, a column; what is refused, with its line."""

import hashlib

import pytest

from ptm.data.conll import read_conll
from ptm.data.text_format import TextFormat
from ptm.errors import DataError

ROLES = {"words": "words", "label": "label"}


@pytest.fixture
def make(tmp_path):
    def write(content, name="a.conll"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, written=None, **roles):
    table = read_conll(path, roles or ROLES, written or TextFormat())
    return table, [list(zip(*row, strict=True)) for row in zip(*table.columns.values(), strict=True)]


def refusal(path, *more, **roles):
    with pytest.raises(DataError) as caught:
        read(path, *more, **roles)
    return caught.value.problems


CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
-DOCSTART- -X- -X- O

# SYM B-NP O
1 CD I-NP O
"""


def test_11_01_sentences_of_conll_2003(make):
    path = make(CONLL_2003)
    table, sentences = read(path)
    assert sentences == [
        [("EU", "B-ORG"), ("rejects", "O")],
        [("Peter", "B-PER"), ("Blackburn", "I-PER")],
        [("#", "O"), ("1", "O")],
    ]
    assert [table.where(row) for row in range(3)] == [f"{path}:{line}" for line in (3, 6, 10)]
    assert table.digest == hashlib.sha256(CONLL_2003.encode()).hexdigest()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_11_01_any_column_is_the_tag_or_the_word(make, end):
    path = make(CONLL_2003.replace("\n", end))
    assert read(path, words="words", label="1")[1][0] == [("EU", "NNP"), ("rejects", "VBZ")]
    assert read(path, words="0", label="-2")[1][0] == [("EU", "B-NP"), ("rejects", "B-VP")]
    named = TextFormat(columns=("form", "pos", "chunk", "ner"))
    assert read(path, named, words="form", label="pos")[1][0][0] == ("EU", "NNP")
    assert read(path, named)[1][0][0] == ("EU", "B-ORG")
    assert read(path, words="words")[1][0] == [("EU",), ("rejects",)]
    (problem,) = refusal(path, words="words", label="4")
    assert (problem.what, problem.expected) == (
        "no column '4'",
        "one of the columns there: '0', '1', '2', '3'",
    )


def test_11_01_comments_and_words_that_begin_with_a_hash(make):
    tabs = "# text = #win big\n#win\tB-X\nbig\tO\n \n#id 3\nNew York\tB-LOC\n"
    assert read(make(tabs))[1] == [[("#win", "B-X"), ("big", "O")], [("New York", "B-LOC")]]
    blanks = "# sentence 1\n#win O\nbig   O\n# sentence 2\n"
    assert read(make(blanks))[1] == [[("#win", "O"), ("big", "O")]]


def test_11_01_conll_u(make):
    """Ranges and empty nodes are no words (https://universaldependencies.org/format.html)."""
    rows = ["# text = vámonos al mar", "1-2\tvámonos\t_\t_", "1\tvamos\tir\tVERB", "2\tnos\tnosotros\tPRON"]
    rows += ["2.1\tpues\t_\t_", "3\tmar\tmar\tNOUN", ""]
    path = make("\n".join(rows), "a.conllu")
    expected = [[("vamos", "VERB"), ("nos", "PRON"), ("mar", "NOUN")]]
    assert read(path, words="1", label="3")[1] == expected
    plus = make("# global.columns = ID FORM LEMMA UPOS\n" + "\n".join(rows))
    assert read(plus)[1] == expected
    assert read(plus, words="words", label="LEMMA")[1][0][0] == ("vamos", "ir")
    counted = make("1\ta\tX\n2\tb\tY\n")
    (problem,) = refusal(counted)
    assert problem.what == "the words are the numbers 1, 2, …: column 0 counts them"
    assert problem.cure.endswith("""--set 'data.text="1"'""")


BAD = [
    ("a O\nb\n\nc O O\n", [(2, "1 fields, the first line has 2"), (4, "3 fields, the first line has 2")]),
    ("a\tO\nb O\n", [(2, "1 fields, the first line has 2")]),
    ("a\tO\n\tO\n", [(2, "the word (column 0) is empty")]),
    ("a\tO\nb\t\n", [(2, "the tag (column 1) is empty")]),
    ("a (PER*\nb *)\nc *\n", [(1, "the tag '(PER*' is a bracket of a span")]),
    ("# only\n\n", [(None, "no word in it")]),
    ("", [(None, "the file is empty")]),
    (b"a O\n\xe4 O\n", [(2, "byte 0xe4 is not UTF-8")]),
    ("word\nother\n", [(None, "no column 'label'")]),
]


@pytest.mark.parametrize(("content", "expected"), BAD)
def test_11_01_what_does_not_fit_is_refused_with_its_line(make, content, expected):
    path = make(content)
    problems = refusal(path)
    for problem, (line, what) in zip(problems, expected, strict=False):
        assert problem.what == what
        assert problem.where == (f"{path}:{line}" if line else str(path))
    assert len(problems) >= len(expected)


def test_11_01_names_for_other_than_its_columns(make):
    (problem,) = refusal(make("a O\n"), TextFormat(columns=("word", "pos", "ner")))
    assert (problem.what, problem.cure) == ("2 fields, word, pos, ner are 3 names", "correct data.columns")
    latin = make("h\u00e4user O\n".encode("latin-1"))
    assert read(latin, TextFormat(encoding="iso-8859-1"))[1] == [[("häuser", "O")]]


def test_11_01_ranges_of_conllu_hide_no_numbers_of_words(make):
    """They stood between the numbers, and so the numbers were taken for words."""
    path = make("1\tdo\tdo\tAUX\n2-3\tcan't\t_\t_\n2\tcan\tcan\tAUX\n3\tn't\tnot\tPART\n3.1\tgo\tgo\tVERB\n")
    (problem,) = refusal(path)
    assert problem.what == "the words are the numbers 1, 2, …: column 0 counts them"
    assert "data.text=" in problem.cure
