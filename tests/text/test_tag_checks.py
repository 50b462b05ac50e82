"""Tags of a sentence against each other: what is refused, and what is said."""

import numpy as np
import pytest

from ptm.config.tags import broken_entity, entity_tags
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


SCHEMES = [
    "O B-X I-X B-Y I-Y",
    "O B-X I-X E-X S-X B-Y E-Y S-Y I-Y",
    "O X Y",
    "O B-X L-X U-Y I-X I-Y B-Y L-Y",
    "O 0 B-X x I-X",
]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_13_06_tags_that_are_looked_at_together_are_found_one_by_one(scheme):
    labels, random = scheme.split(), np.random.default_rng(0)
    for rows in range(1, 60):
        targets = [random.integers(0, len(labels), size) for size in random.integers(0, 4, rows)]
        examples = Examples({"words": [["w"] * len(numbers) for numbers in targets]}, targets, str)
        tags = [[labels[number] for number in numbers] for numbers in targets]
        known = entity_tags(labels)
        broken = [(str(row), found) for row, one in enumerate(tags) if (found := broken_entity(one, known))]
        if broken:
            with pytest.raises(DataError) as caught:
                tag_findings(examples, labels)
            told = [(one.where, one.what) for one in caught.value.problems]
            assert told[:5] == [(row, f"word {word + 1}, 'w': {how}") for row, (word, how) in broken][:5]
            continue
        counts = {label: sum(one.count(label) for one in tags) for label in ("0", "x")}
        said = {one.what.split(":")[0]: one.where for one in tag_findings(examples, labels)}
        for label, count in counts.items():
            first = next((str(row) for row, one in enumerate(tags) if label in one), None)
            what = f"the tag {label!r} ({count} words) names no place in an entity, as 'B-X' does"
            assert said.get(what) == first
        begins = [
            (row, word, tag[0])
            for row, one in enumerate(tags)
            for word, (before, tag) in enumerate(zip(["O", *one], one, strict=False))
            if tag != "O" and tag[-1] != before[-1]
        ]
        inside = [(row, word) for row, word, place in begins if place == "I"]
        begun = len(begins) - len(inside)
        if scheme == SCHEMES[0] and inside and begun:
            row, word = inside[0]
            what = f"{len(inside)} entities begin with I, {begun} with B"
            assert said == {what: f"{row}, word {word + 1}"}
        elif scheme != SCHEMES[-1]:
            assert not said
