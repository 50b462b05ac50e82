"""SQuAD's files: what is read of them, and what is refused with the place within the file."""

import json

import pytest

from ptm.config.spec import DataSpec
from ptm.data.questions import load_questions
from ptm.data.squad import read_squad, seems_squad
from ptm.data.text_format import TextFormat
from ptm.errors import DataError, PtmError

CONTEXT = "Ada wrote the first program in 1843."
ROLES = {"question": "question", "context": "context", "answers": "answers"}


def question(text="Who wrote it?", answer="Ada", start=0, **more):
    return {"id": "a1", "question": text, "answers": [{"text": answer, "answer_start": start}], **more}


def squad(*questions, context=CONTEXT, **more):
    return {
        "version": "1.1",
        "data": [{"title": "Ada", "paragraphs": [{"context": context, "qas": questions}]}],
        **more,
    }


@pytest.fixture
def load(tmp_path):
    def read(content, kind="squad", **keys):
        text = content if isinstance(content, str) else json.dumps(content, indent=1)
        (tmp_path / "dev.json").write_text(text, encoding="utf-8")
        return load_questions(DataSpec(source=f"{kind}:{tmp_path / 'dev.json'}", **keys), train=False).eval

    return read


@pytest.mark.parametrize("kind", ["squad", "json"])
def test_11_13_questions_of_squad_are_read_with_all_their_answers(load, kind):
    both = question(answers=[{"text": "Ada", "answer_start": 0}, {"text": "Ada wrote", "answer_start": 0}])
    none = question(
        "Who read it?", is_impossible=True, plausible_answers=[{"text": "Ada", "answer_start": 0}]
    )
    read = load(squad(both, none, question("When?", "1843", 31)), kind)
    assert [list(map(tuple, row)) for row in read.targets] == [[(0, 3), (0, 9)], [], [(31, 35)]]
    assert list(read.columns["question"]) == ["Who wrote it?", "Who read it?", "When?"]
    assert set(read.columns["context"]) == {CONTEXT}
    assert read.where(2).endswith("dev.json, data[0].paragraphs[0].qas[2]")


def test_11_13_a_file_in_one_line_and_rows_are_told_apart(tmp_path):
    path = tmp_path / "x.json"
    for content, expected in (
        (json.dumps(squad(question())), True),
        (json.dumps(squad(question()), indent=2), True),
        (json.dumps({"question": "a", "context": "b", "data": "c"}), False),
        (json.dumps({"question": "a"}) + "\n" + json.dumps({"question": "b"}), False),
        ("[]", False),
        ("{", False),
    ):
        path.write_text(content)
        assert seems_squad(path, TextFormat()) is expected, content


def test_11_13_titles_hold_questions_together_and_ids_come_along(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(squad(question())))
    table = read_squad(tmp_path / "x.json", {**ROLES, "split_by": "title"}, TextFormat())
    assert (table.columns["split_by"], table.columns["id"]) == (["Ada"], ["a1"])
    asked = {"question": "question", "context": "context"}  # ptm predict needs no answers
    (tmp_path / "x.json").write_text(json.dumps(squad({"question": "Who?"})))
    assert len(read_squad(tmp_path / "x.json", asked, TextFormat())) == 1


@pytest.mark.parametrize(
    ("content", "place", "what", "cure"),
    [
        (squad(question(start=2)), "data[0].paragraphs[0].qas[0]", "'Ada' is not at character 2", "it stands at 0"),
        (squad(question(answer="ada")), "qas[0]", "'ada' is not at character 0", "take Ada"),
        (squad(question(answer="Eve")), "qas[0]", "'Eve' is not at character 0", "was the context changed"),
        (squad(question(), question(start=None)), "qas[1]", "nobody says where the answer 'Ada'", "answer_start"),
        (squad(question(start=1.5)), "qas[0]", "begins at 1.5", "correct or remove the row"),
        (squad(question(answer="")), "qas[0]", "an answer is ''", "an empty list"),
        (squad(question(answers=[])), "qas[0]", "no answer", "add the answer, or remove the question"),
        (squad({"question": "Who?"}), "qas[0]", "no 'answers'", "add the answer"),
        (squad(question(is_impossible="no")), "qas[0]", "is_impossible is 'no'", ""),
        (squad(question(question=None)), "qas[0]", "no question here", "fill it in"),
        (squad(question(), context=""), "qas[0]", "no context here", "fill it in"),
        ({"data": [{"title": "x"}]}, "data[0]", "there is no paragraphs", ""),
        ({"data": [{"paragraphs": ["x"]}]}, "data[0].paragraphs[0]", "no object: 'x'", ""),
        ({"data": []}, "dev.json", "there is no question in it", ""),
        ({"rows": []}, "dev.json", "there is no data", ""),
        ("[1, 2", "dev.json", "not JSON", ""),
    ],
)  # fmt: skip
def test_11_13_what_is_no_question_is_refused_with_place_and_cure(load, content, place, what, cure):
    with pytest.raises(DataError) as caught:
        load(content)
    problem = caught.value.problems[0]
    assert what in problem.what and problem.where.endswith(place) and cure in problem.cure
    assert problem.expected


def test_11_13_a_column_that_squad_has_not_is_refused(load):
    with pytest.raises(PtmError, match="no column 'passage'"):
        load(squad(question()), text="passage")


def test_11_04_a_nested_file_of_json_is_parsed_once(tmp_path, monkeypatch):
    from ptm.data import squad
    from ptm.data.readers import FORMATS
    from ptm.data.text_format import TextFormat

    path = tmp_path / "a.json"
    question = '{"id": "x", "question": "Who?", "answers": [{"text": "Anna", "answer_start": 0}]}'
    path.write_text(
        '{\n"data": [{"title": "t", "paragraphs": [{"context": "Anna is", "qas": [' + question + "]}]}]}"
    )
    parsed = []
    loads = squad.strict_json.loads

    def counted(text):
        found = loads(text)
        parsed.append(text)
        return found

    monkeypatch.setattr(squad.strict_json, "loads", counted)
    roles = {"question": "question", "context": "context", "answers": "answers"}
    table = FORMATS["json"].read(path, roles, TextFormat())
    assert table.columns["context"] == ["Anna is"] and len(parsed) == 1


def test_11_04_an_id_that_is_no_name_is_refused(load):
    asked = '{"id": NaN, "question": "Who?", "answers": [{"text": "Anna", "answer_start": 0}]}'
    with pytest.raises(DataError, match="the id is nan") as caught:
        load('{"data": [{"paragraphs": [{"context": "Anna is", "qas": [' + asked + "]}]}]}")
    assert "data[0].paragraphs[0].qas[0]" in caught.value.problems[0].where
