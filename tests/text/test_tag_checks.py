"""Tags of a sentence against each other: what is refused, and what is said."""

import pytest

from ptm.data.conll import read_conll
from ptm.data.examples import Examples
from ptm.data.text_format import TextFormat
from ptm.errors import DataError
from ptm.text.tag_checks import tag_findings


@pytest.fixture
def findings(tmp_path):
    def of(*sentences):
        path = tmp_path / "a.conll"
        path.write_text("\n".join("".join(f"w{i} {t}\n" for i, t in enumerate(s.split())) for s in sentences))
        table = read_conll(path, {"words": "words", "label": "label"}, TextFormat())
        labels = sorted({tag for tags in table.columns["label"] for tag in tags})
        targets = [[labels.index(tag) for tag in tags] for tags in table.columns["label"]]
        examples = Examples({"words": table.columns["words"]}, targets, table.where)
        return [(one.what, one.where) for one in tag_findings(examples, labels)], str(path)

    return of


def test_11_01_a_broken_entity_is_refused_with_its_sentence_and_word(findings, tmp_path):
    with pytest.raises(DataError) as caught:
        findings("B-PER L-PER O U-LOC", "O O", "O B-PER O L-LOC")
    (problem,) = caught.value.problems
    assert problem.what == "word 2, 'w1': 'B-PER' goes on with 'O'"
    assert problem.where == f"{tmp_path / 'a.conll'}:9"
    assert problem.cure


def test_11_01_a_tag_without_a_place_among_others_is_said(findings):
    ((what, where),), path = findings("B-PER I-PER O", "0 B-LOC O")
    assert what.startswith("the tag '0' (1 words) names no place in an entity, as 'B-LOC' does")
    assert where == f"{path}:5"
    assert findings("PER PER O", "LOC O")[0] == []
    assert findings("B-PER I-PER O", "B-LOC O")[0] == []


def test_11_01_entities_of_iob2_that_begin_with_i_are_said_and_those_of_iob1_are_not(findings):
    ((what, where),), path = findings("B-PER I-PER O", "O I-LOC I-LOC")
    assert what == "1 entities begin with I, 1 with B: those with I are read as if they began with B"
    assert where == f"{path}:5, word 2"
    assert findings("I-PER B-PER O", "O I-LOC I-LOC")[0] == []
    assert findings("NN VB", "VB NN")[0] == []
