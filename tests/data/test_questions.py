"""Rows of questions: every form in which answers are written comes to the same characters, or is refused."""

import csv
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from ptm.config.load import parse_config
from ptm.config.spec import DataSpec
from ptm.data.questions import answer_texts, has_unanswerable, load_questions
from ptm.errors import DataError
from tiny.samples import questions

CONTEXT = "Zoë 😀 met Ada in 1843, and Ada wrote."
ADA = CONTEXT.index("Ada")


def load(path, **keys):
    kind = {".jsonl": "json"}.get(path.suffix, path.suffix[1:])
    return load_questions(DataSpec(source=f"{kind}:{path}", **keys), train=False)


def spans(data):
    return [list(map(tuple, row.tolist())) for row in data.eval.targets]


def jsonl(path, *rows):
    path.write_text(
        "".join(json.dumps({"question": "Who?", "context": CONTEXT, **row}) + "\n" for row in rows)
    )
    return path


def table(path, header, *rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["question", "context", *header], *(["Who?", CONTEXT, *row] for row in rows)]
        )
    return path


def test_11_13_answers_in_every_form_come_to_the_same_characters(tmp_path):
    expected = [[(ADA, ADA + 3)]]
    both = {"text": ["Ada"], "answer_start": [ADA]}
    listed = [{"text": "Ada", "answer_start": ADA}]
    for answers in (both, listed, {"text": "Ada", "answer_start": ADA}, json.dumps(both), str(listed)):
        data = load(jsonl(tmp_path / "a.jsonl", {"answers": answers}))
        assert spans(data) == expected and data.decided == {"answers": "answers"}
    assert spans(load(table(tmp_path / "a.csv", ["answers"], [json.dumps(both)]))) == expected
    flat = load(table(tmp_path / "a.csv", ["answer", "answer_start"], ["Ada", ADA]))
    assert spans(flat) == expected and flat.decided == {"answers": "answer", "answer_start": "answer_start"}
    # What a run's config holds of its own files does not stand in the way of the other form.
    assert spans(load(tmp_path / "a.csv", answers="answers")) == expected
    written = {"answers": "answer", "answer_start": "answer_start"}
    assert spans(load(jsonl(tmp_path / "a.jsonl", {"answers": both}), **written)) == expected
    named = load(table(tmp_path / "a.csv", ["said", "at"], ["Ada", ADA]), answers="said", answer_start="at")
    assert spans(named) == expected
    # The defaults of one key beside a name for the other.
    assert (
        spans(load(table(tmp_path / "a.csv", ["said", "answer_start"], ["Ada", ADA]), answers="said"))
        == expected
    )
    assert spans(load(jsonl(tmp_path / "a.jsonl", {"said": both}), answers="said")) == expected
    for name in ("answers", "answer"):
        beside = load(table(tmp_path / "a.csv", [name, "at"], ["Ada", ADA]), answer_start="at")
        assert spans(beside) == expected
    cured = load(
        table(tmp_path / "a.csv", ["answers", "answer_start"], ["Ada", ADA]), answer_start="answer_start"
    )
    assert spans(cured) == expected
    assert spans(load(jsonl(tmp_path / "a.jsonl", {"answer": ["Ada"], "answer_start": [ADA]}))) == expected
    columns = {"question": ["Who?"], "context": [CONTEXT], "answers": [both]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    assert spans(load(tmp_path / "a.parquet")) == expected


def test_11_13_no_answer_and_several_answers(tmp_path):
    second = CONTEXT.rindex("Ada")
    several = {"text": ["Ada", "Ada", " wrote"], "answer_start": [ADA, second, second + 3]}
    nothing = [{"text": [], "answer_start": []}, [], None, ""]
    data = load(jsonl(tmp_path / "a.jsonl", *({"answers": a} for a in (several, *nothing))))
    assert spans(data)[0] == [
        (ADA, ADA + 3),
        (second, second + 3),
        (second + 4, second + 9),
    ]  # blanks are none of it
    assert spans(data)[1:] == [[]] * 4
    assert answer_texts(data.eval.targets[0], CONTEXT) == ["Ada", "wrote"]
    assert has_unanswerable(data)
    rows = load(
        table(tmp_path / "a.csv", ["answer", "answer_start"], ["", ""], ["1843", CONTEXT.index("1843")])
    )
    assert spans(rows) == [[], [(CONTEXT.index("1843"), CONTEXT.index("1843") + 4)]]


def test_11_13_offsets_of_browsers_are_counted_anew_and_that_is_said(tmp_path):
    wide = len(CONTEXT[:ADA].encode("utf-16-le")) // 2
    assert wide == ADA + 1
    data = load(jsonl(tmp_path / "a.jsonl", {"answers": {"text": ["Ada"], "answer_start": [wide]}}))
    assert spans(data) == [[(ADA, ADA + 3)]]
    (warning,) = data.warnings
    assert "UTF-16" in warning.what and warning.where == f"{tmp_path / 'a.jsonl'}:1"


@pytest.mark.parametrize(
    ("row", "what", "cure"),
    [
        (
            {"answers": {"text": ["Ada"], "answer_start": [3]}},
            "'Ada' is not at character 3",
            f"it stands at {ADA}, ",
        ),
        ({"answers": {"text": ["Ada"], "answer_start": [-3]}}, "begins at -3", "correct or remove the row"),
        (
            {"answers": {"text": ["Ada"], "answer_start": []}},
            "1 texts of answers and 0 places",
            "correct or remove",
        ),
        (
            {"answers": {"text": ["Ada"], "answer_start": [True]}},
            "begins at True",
            "correct or remove the row",
        ),
        ({"answers": {"text": [3], "answer_start": [3]}}, "an answer is 3", "no answer is an empty list"),
        ({"answers": "Ada"}, "nobody says where the answer 'Ada' begins", "--set data.answer_start=NAME"),
        ({"answers": 7}, "an answer is 7", ""),
        ({"answers": {"texts": []}}, "the answers are {'texts': []}", ""),
        ({"answer": "Ada", "answer_start": "x"}, "begins at 'x'", "correct or remove the row"),
        ({"answer": "", "answer_start": 7}, "no answer, and answer_start is 7", "correct or remove the row"),
        ({"answer": "Ada", "answer_start": 10**400}, "begins at 1000", "correct or remove the row"),
        ({"answers": {"text": ["Ada"], "answer_start": [10**400]}}, "begins at 1000", "correct or remove"),
        ({"answers": "{[]: 1}"}, "nobody says where the answer '{[]: 1}' begins", ""),
        ({"answer": "Ada"}, "no column 'answer_start'", "name the right column in data.answer_start"),
        ({"answr": "Ada"}, "no column 'answers'", "did you mean 'answr'"),
        ({"answers": [], "question": " "}, "the question is ' '", "fill it in"),
    ],
)
def test_11_13_an_answer_that_is_not_where_it_is_said_is_refused(tmp_path, row, what, cure):
    path = jsonl(
        tmp_path / "a.jsonl", {"answers": [], "answer": "", "answer_start": ""} if "answers" in row else row
    )
    if "answers" in row:
        jsonl(path, {"answers": []}, row)
    with pytest.raises(DataError) as caught:
        load(path)
    problem = caught.value.problems[0]
    assert what in problem.what and cure in problem.cure, problem
    assert problem.where.startswith(f"{path}:2" if "answers" in row else str(path))


def test_11_13_equal_questions_stay_on_one_side_and_a_question_names_its_context(tmp_path):
    rows = [row for _, row in questions(40, 1)]
    path = jsonl(tmp_path / "a.jsonl", *rows, *rows)
    data = load_questions(DataSpec(source=f"json:{path}", eval="25%"))
    pairs = [
        set(zip(s.columns["question"], s.columns["context"], strict=True)) for s in (data.train, data.eval)
    ]
    assert not pairs[0] & pairs[1] and len(data.train) + len(data.eval) == 80
    assert isinstance(data.train.targets, np.ndarray)


def test_11_13_articles_of_squad_stay_together_and_kinds_of_questions_are_told_apart(tmp_path):
    """``split_by: title``, ``slices: [is_impossible]``: keys of tables, which files of SQuAD's are, too."""
    articles = [
        {
            "title": f"t{n}",
            "paragraphs": [
                {
                    "context": f"Ada {n} wrote.",
                    "qas": [
                        {"question": f"who {n}?", "answers": [{"text": "Ada", "answer_start": 0}]},
                        {"question": f"why {n}?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
        for n in range(10)
    ]
    (tmp_path / "all.json").write_text(json.dumps({"data": articles}))
    for kind in ("squad", "json"):
        text = (
            "version: 1\ntask: question-answering\nmodel: {name: bert-base-uncased}\noutput: r\n"
            f"data: {{source: '{kind}:all.json', eval: 20%, split_by: title, slices: [is_impossible]}}\n"
            "train: {epochs: 1, batch_size: 2, learning_rate: 1e-3}\n"
        )
        spec = parse_config(text, "c.yaml", base=tmp_path, cwd=tmp_path)
        data = load_questions(spec.data)
        numbers = [{c.split()[1] for c in split.columns["context"]} for split in (data.train, data.eval)]
        assert len(data.eval) == 4 and not numbers[0] & numbers[1]
        assert sorted(data.eval.attributes["is_impossible"]) == ["(empty)", "(empty)", "true", "true"]
