"""What ``ptm init`` makes of questions with contexts, and of texts that are alike: configs that can be run."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from ptm.config.load import parse_config
from ptm.data.guess import guess
from ptm.errors import DataError
from ptm.experiment.draft import draft_config

WORDS = ("good", "fine", "bad", "poor")


def drafted(place, task=None):
    """The spec of the config that is made of a guess."""
    text = draft_config(guess(place, task), "run.yaml", place.parent)
    return parse_config(text, "run.yaml", base=place.parent, cwd=place.parent)


def table(folder, header, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "all.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "all.csv"


def squad(path, articles, answered=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = {"answers": [{"text": "Ada", "answer_start": 0}]} if answered else {}
    asked = [{"id": "1", "question": "who?", **answers}]
    content = [
        {"title": f"t{n}", "paragraphs": [{"context": f"Ada {n} wrote", "qas": asked}]}
        for n in range(articles)
    ]
    path.write_text(json.dumps({"version": "1", "data": content}, indent=1))
    return path


def test_11_13_files_of_squad_are_known(tmp_path):
    spec = drafted(squad(tmp_path / "a" / "qa.json", 6))
    assert (spec.task, spec.data.source.partition(":")[0]) == ("question-answering", "squad")
    assert (spec.data.eval, spec.data.split_by) == ("20%", "title")
    folder = tmp_path / "b"
    for name in ("train-v2.0", "dev-v2.0", "test"):
        squad(folder / f"{name}.json", 2, answered=name != "test")
    about = guess(folder)
    assert (about.data["train"], about.data["eval"]) == ("train-v2.0.json", "dev-v2.0.json")
    assert "test" not in about.data and "no 'answers'" in about.reasons["test"]
    assert drafted(folder).data.split_by is None
    assert drafted(squad(tmp_path / "c.json", 3)).data.split_by is None  # too few to hold a fifth out


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("question,passage,answer,answer_start", {"text": "passage", "answers": None}),
        ("query,context,answer,start", {"question": "query", "answers": None, "answer_start": "start"}),
        (
            "question,context,answer_text,answer_start",
            {"answers": "answer_text", "answer_start": None},
        ),
    ],
)
def test_11_13_questions_under_other_names(header, expected, tmp_path):
    place = table(tmp_path / "d", header, [f"who?,Ada {n} wrote,Ada,0" for n in range(20)])
    spec = drafted(place, "question-answering")
    assert {key: getattr(spec.data, key) for key in expected} == expected
    (tmp_path / "none.jsonl").write_text('{"question": "who?", "context": "Ada", "answers": null}\n' * 4)
    assert drafted(tmp_path / "none.jsonl").task == "question-answering"  # nowhere an answer to show
    with pytest.raises(DataError, match="no columns of questions"):
        guess(table(tmp_path / "e", "question,answer", ["who?,Ada"]), "question-answering")


def test_11_sim_scored_pairs_their_scale_and_a_model_for_them(tmp_path):
    rows = [f"a {WORDS[n % 4]} film {n},a {WORDS[n % 3]} one {n},{n % 11 / 2}" for n in range(40)]
    spec = drafted(table(tmp_path / "d", "sentence1,sentence2,score", rows), "text-similarity")
    data = spec.data
    assert (data.text, data.text_pair, data.label, data.label_type) == (
        "sentence1",
        "sentence2",
        "score",
        "number",
    )
    assert data.score_range == (0, 5) and "MiniLM" in spec.model.name.replace("minilm", "MiniLM")
    alike = [f"a {WORDS[n % 4]} film {n},one {n},{n % 2}" for n in range(40)]
    same = drafted(table(tmp_path / "e", "question1,question2,label", alike), "text-similarity").data
    assert (same.label_type, same.score_range) == ("number", None)  # 0 and 1 are what the cosine is to be


def test_11_sim_pairs_without_scores_and_texts_of_classes(tmp_path):
    rows = [f"the {WORDS[n % 4]} house {n},das Haus {n % 3}" for n in range(40)]
    data = drafted(table(tmp_path / "d", "en,de", rows), "text-similarity").data
    assert (data.text, data.text_pair, data.label_type, data.label) == ("en", "de", "pairs", None)
    rows = [f"a film so {WORDS[n % 4]} that {n},short,{'ab'[n % 2]}" for n in range(40)]
    data = drafted(table(tmp_path / "e", "body,title,topic", rows), "text-similarity").data
    assert (data.text, data.text_pair, data.label, data.label_type) == ("body", None, "topic", "class")


def test_11_13_a_table_without_rows_is_told(tmp_path):
    columns = {name: pyarrow.array([], pyarrow.string()) for name in ("question", "context", "answers")}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no rows"):
        guess(tmp_path / "a.parquet")


def test_11_sim_what_are_no_texts_that_are_alike(tmp_path):
    rows = [f"it rains {n},it is wet,{('yes', 'no')[n % 2]}" for n in range(20)]
    with pytest.raises(DataError, match="--task text-classification"):
        guess(table(tmp_path / "d", "premise,hypothesis,label", rows), "text-similarity")
    with pytest.raises(DataError, match="neither two columns"):
        guess(table(tmp_path / "e", "text", [f"a line {n}" for n in range(20)]), "text-similarity")
