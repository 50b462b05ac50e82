"""ptm predict: what an evaluation says of the same rows, without labels and without the training data."""

import ast
import base64
import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import tiny
from helpers import Saying, evaluation, image_spec, run, text_spec
from ptm.base.console import Silent
from ptm.config.load import load_config
from ptm.errors import ConfigError, DataError, MissingDownload, ModelError, NotFinite, StorageError
from ptm.experiment.predict import run_prediction
from ptm.experiment.predictor import open_predictor
from ptm.pipeline import Pipeline, task_module
from ptm.serve import openapi
from served import app_of, ask
from tiny.samples import (
    POSITIONS,
    save_base,
    save_bert_tokenizer,
    sentences,
    tagged_sentences,
    write_csv,
    write_jsonl,
)

READY = tuple(
    name
    for name in tiny.NAMES
    if hasattr(task_module(load_config(tiny.CONFIGS / f"{name}.yaml").task), "read_inputs")
)


def rows_of(path: Path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table_of(path: Path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predict(target, *sources, reporter=None, **how):
    return run_prediction(Path(target), sources, reporter=reporter or Silent(), **how)


@pytest.fixture(scope="session")
def trained(tiny_bert, reviews, tmp_path_factory):
    """A finished text run whose training data are gone."""
    folder = tmp_path_factory.mktemp("trained")
    data = shutil.copytree(reviews, folder / "data")
    spec = text_spec(tiny_bert, data, folder / "r", epochs=8, learning_rate=3e-3)
    run(spec)
    shutil.rmtree(data)
    return folder / "r"


@pytest.fixture(scope="session")
def seeing(image_folder, tmp_path_factory):
    """A finished image run."""
    data = {"source": f"imagefolder:{image_folder}", "train": "train", "eval": "val"}
    spec = image_spec(tmp_path_factory.mktemp("seeing") / "r", **data, max_train_examples=None)
    run(spec)
    return Path(spec.output)


@pytest.fixture
def texts(tmp_path):
    return write_csv(tmp_path / "new.csv", sentences(50, 7))


# -- what it says ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=READY)
def ready(request, tmp_path_factory):
    """(its finished run, predictions of ``ptm eval`` on the evaluation split)."""
    folder = tmp_path_factory.mktemp(request.param)
    config = tiny.prepare(request.param, folder)
    run(load_config(config, [f"output={json.dumps(str(folder / 'r'))}"]))
    evaluation(folder / "r", predictions=folder / "eval.jsonl")
    return folder / "r", rows_of(folder / "eval.jsonl")


def inputs_of(spec, evaluated):
    """The evaluation split as a user would name it to ptm predict; texts of their own for language models."""
    if spec.descriptor.language_model:
        return {"texts": ["the film was [MASK] and [MASK]", "the [MASK] was good"]}
    if spec.descriptor.modality == "image" and spec.data.source.startswith("parquet:"):
        return {"sources": image_files(Path(spec.data.source.partition(":")[2]), spec.data.eval)}
    if spec.descriptor.modality == "image":
        return {"sources": [row["where"] for row in evaluated]}
    path = Path(spec.data.source.partition(":")[2]) / spec.data.eval
    return {"sources": [path if path.is_file() else next(path.parent.glob(f"{path.name}*"))]}


def image_files(folder, name):
    """The images of a table as files beside it, in their order."""
    images = pyarrow.parquet.read_table(folder / name, columns=["image"])["image"].to_pylist()
    paths = [folder / f"{row:03d}.png" for row in range(len(images))]
    for path, png in zip(paths, images, strict=True):
        path.write_bytes(png)
    return paths


@pytest.mark.slow
def test_14_05_every_task_is_served_as_it_is_predicted(ready):
    """By HTTP, as texts, rows of tables and pictures; together as each alone."""
    output, evaluated = ready
    given = inputs_of(load_config(output / "config.yaml"), evaluated)
    rows = []
    predict(output, *given.pop("sources", ())[:6], **given, receive=rows.append)
    rows = [{**row, "id": place} for place, row in enumerate(rows[:6])]
    with open_predictor(output, [], reporter=Silent()) as predictor:
        sent = [sent_input(row, predictor) for row in rows]
        answers = ask(app_of(predictor), {"json": {"inputs": sent}})
        alone = ask(app_of(predictor, batch=1), *({"json": {"inputs": [each]}} for each in sent[:2]))
        document = openapi.document(predictor.spec, predictor.columns, "model", "")
    expected = [{k: v for k, v in row.items() if k not in ("where", "input", "columns")} for row in rows]
    assert answers[0].status_code == 200, answers[0].text
    same_but_last_bits(answers[0].json()["predictions"], expected)
    for place, answer in enumerate(alone):
        same_but_last_bits(answer.json()["predictions"], [{**expected[place], "id": 0}])
    fields = document["components"]["schemas"]["Prediction"]["properties"]
    assert set(expected[0]) <= set(fields)


def sent_input(row, predictor):
    """What a request holds for a line of ptm predict."""
    if predictor.roles == ("image",):
        return base64.b64encode(Path(row["input"]).read_bytes()).decode()
    if len(predictor.roles) == 1:
        return row["input"]
    return {
        column: row["input"][role] for role, column in zip(predictor.roles, predictor.columns, strict=True)
    }


def same_but_last_bits(found, expected):
    """Batches are cut otherwise, and a floating-point sum depends on that in its last bits."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4, rel=1e-4)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same_but_last_bits(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            same_but_last_bits(*pair)
    else:
        assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_every_task_predicts_what_an_evaluation_does(ready, tmp_path, suffix):
    output, evaluated = ready
    spec = load_config(output / "config.yaml")
    given = inputs_of(spec, evaluated)
    done = predict(output, *given.pop("sources", ()), **given, output=tmp_path / f"p{suffix}")
    if suffix == ".csv":
        assert [int(row["id"]) for row in table_of(tmp_path / "p.csv")] == list(range(done["inputs"]))
        return
    predicted = rows_of(tmp_path / "p.jsonl")
    assert done["task"] == spec.task
    assert [row["id"] for row in predicted] == list(range(done["inputs"]))
    assert all("input" in row for row in predicted)
    if spec.descriptor.language_model:  # its evaluation predicts other things
        assert all(isinstance(row["prediction"], str) for row in predicted)
        return
    assert len(predicted) == len(evaluated)
    for ours, theirs in zip(predicted, evaluated, strict=True):
        shared = ours.keys() & theirs.keys() - {"id", "where", "input"}
        assert shared
        for key in shared:
            close(ours[key], theirs[key])


# What stands in the snippet of a card for the text of a user, by task.
PLACES = {
    "text-classification": '"A text to classify."',
    "token-classification": '"A text with names in it."',
    "masked-lm": '"A text with a [MASK] in it."',
    "causal-lm": '"A text that"',
    "translation": '"A text to translate."',
}
LONG = "the old film was good and really really lovely , the new book was bad . "


def snippet(run):
    """The Python block of a model card; None where there is none."""
    found = re.search(r"```python\n(.*?)```", (run / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return found and found.group(1)


def said_by(code, place, value, folder, monkeypatch, capsys):
    """What the code prints where ``value`` stands in the place of the sample."""
    monkeypatch.chdir(folder)
    assert place in code
    capsys.readouterr()
    exec(code.replace(place, repr(value)), {})
    return capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("length", ["short", "long"])
def test_10_22_the_snippet_of_the_card_says_what_predict_says(ready, length, monkeypatch, capsys):
    output, _ = ready
    spec, code = load_config(output / "config.yaml"), snippet(ready[0])
    if spec.descriptor.modality == "image":
        assert "ptm predict . IMAGES" in (output / "README.md").read_text()
        return
    text = "the film was really good ." if length == "short" else LONG * 20
    if spec.task == "masked-lm":
        text = "the [MASK] was really good"
        text = text if length == "short" else f"{text} {LONG * 20}"
    rows = []
    if spec.task == "question-answering":
        asked = {"question": "what was the film", "context": text}
        table = write_jsonl(output / f"{length}.jsonl", [asked])
        predict(output, table, overrides=["data.no_answer=false"], receive=rows.append)
        code = code.replace('"Who wrote it?"', repr(asked["question"]))
        said = said_by(code, '"Ada wrote it, and Ben read it."', text, output, monkeypatch, capsys)
        assert length == "long" or said == rows[0]["answer"]  # of a long text the code reads the beginning
        return
    if spec.data.text_pair:
        pair = {"text": text, "text_pair": "was good " * (1 if length == "short" else 40)}
        place, value = '{"text": "One text.", "text_pair": "The other."}', pair
        table = write_jsonl(output / f"{length}.jsonl", [{"text": text, "second": pair["text_pair"]}])
        predict(output, table, receive=rows.append)
        if spec.task == "text-similarity":
            code = code.replace('"The other."', repr(pair["text_pair"]))
            said = said_by(code, '"One text."', text, output, monkeypatch, capsys)
            assert float(said) == pytest.approx(rows[0]["similarity"], abs=1e-4)
            return
    else:
        place, value = PLACES[spec.task], text
        predict(output, texts=[text], receive=rows.append)
    said = said_by(code, place, value, output, monkeypatch, capsys)
    if spec.task == "translation":
        assert said == rows[0]["prediction"]
        return
    answer = ast.literal_eval(re.sub(r"np\.(int64|float32|float64)\(([^()]*)\)", r"\2", said))
    COMPARED[spec.task](answer, rows[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_10_22_a_text_is_cut_in_the_saved_model_as_in_training(task, tmp_path, monkeypatch, capsys):
    """The model takes 256 tokens, training cuts to 128 unasked: what decides stands beyond these, or before."""
    bert = wide_bert(tmp_path / "bert")
    folder = tmp_path / "data"
    folder.mkdir()
    if task == "text-classification":
        for name, seed in (("train.csv", 1), ("eval.csv", 2)):
            write_csv(folder / name, [(text + LONG * 3, label) for text, label in sentences(32, seed)])
        spec = text_spec(bert, folder, tmp_path / "r", epochs=1)
    else:
        for name, seed in (("train.jsonl", 1), ("eval.jsonl", 2)):
            write_jsonl(folder / name, tagged_sentences(32, seed))
        config = tmp_path / "tags.yaml"
        config.write_text(
            f"version: 1\ntask: {task}\nmodel: {{name: {bert}}}\n"
            f"data: {{source: 'json:{folder}', train: train.jsonl, eval: eval.jsonl}}\n"
            "train: {epochs: 3, batch_size: 8, learning_rate: 5.0e-3}\n"
            f"runtime: {{device: cpu, threads: 1}}\noutput: {tmp_path / 'r'}\n"
        )
        spec = load_config(config)
    run(spec)
    assert load_config(tmp_path / "r" / "config.yaml").data.max_length == 128
    saved = json.loads((tmp_path / "r" / "model" / "tokenizer_config.json").read_text())
    assert saved["model_max_length"] == 128
    card = (tmp_path / "r" / "README.md").read_text()
    assert "cut to 128 tokens" in card
    for count in (1, 7, 9, 15):  # 15 words each, so that the ninth is cut
        rows = []
        predict(tmp_path / "r", texts=[LONG * count], receive=rows.append)
        said = said_by(
            snippet(tmp_path / "r"), PLACES[task], LONG * count, tmp_path / "r", monkeypatch, capsys
        )
        answer = ast.literal_eval(re.sub(r"np\.(int64|float32|float64)\(([^()]*)\)", r"\2", said))
        COMPARED[task](answer, rows[0])


def wide_bert(folder):
    """A tiny BERT of 256 positions."""
    size = save_bert_tokenizer(folder)
    return save_base(
        folder,
        "Bert",
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )


@pytest.mark.slow
def test_10_22_a_run_goes_on_from_one_that_read_shorter_texts(trained, reviews, tmp_path):
    """What a run cut its texts to does not bind the next one: the model takes more."""
    run(text_spec(trained, reviews, tmp_path / "a", epochs=1, max_length=20))
    saved = json.loads((tmp_path / "a" / "model" / "tokenizer_config.json").read_text())
    assert saved["model_max_length"] == 20
    run(text_spec(tmp_path / "a", reviews, tmp_path / "b", epochs=1, max_length=POSITIONS))
    assert load_config(tmp_path / "b" / "config.yaml").data.max_length == POSITIONS


@pytest.mark.slow
def test_10_22_a_config_that_names_a_trained_model_reads_what_it_was_trained_on(tmp_path, write_config):
    bert = wide_bert(tmp_path / "bert")
    for name, seed in (("train.csv", 1), ("eval.csv", 2)):
        write_csv(tmp_path / name, [(text + LONG * 15, label) for text, label in sentences(16, seed)])
    run(text_spec(bert, tmp_path, tmp_path / "r", epochs=1, max_length=200))
    config = write_config(
        tmp_path,
        f"version: 1\ntask: text-classification\nmodel: {{name: {tmp_path / 'r'}}}\n"
        f"data: {{source: 'csv:{tmp_path}', train: train.csv, eval: eval.csv}}\n"
        f"train: {{epochs: 1, learning_rate: 1.0e-3}}\noutput: r2\n",
    )
    assert evaluation(config)["metrics"] == evaluation(tmp_path / "r")["metrics"]


def same_scores(answer, row):
    answer = answer if isinstance(answer, list) else [answer]  # of a pair
    answer = answer[0] if isinstance(answer[0], list) else answer  # of several labels a list a text
    if "scores" not in row:
        assert answer[0]["score"] == pytest.approx(row["prediction"], abs=1e-4)
        return
    assert isinstance(row["prediction"], list) == (len(answer) > 1)
    assert {one["label"]: one["score"] for one in answer} == pytest.approx(
        {one["label"]: row["scores"][one["label"]] for one in answer}, abs=1e-4
    )
    if len(answer) == 1:
        assert answer[0]["label"] == row["prediction"]
    else:
        assert {one["label"] for one in answer} == set(row["scores"])


def same_entities(answer, row):
    ours = [(entity["kind"], entity["start"], entity["end"]) for entity in row["entities"]]
    assert [(entity["entity_group"], entity["start"], entity["end"]) for entity in answer] == ours
    assert ours


def same_blanks(answer, row):
    (blank,) = row["masks"]
    found = {one["token_str"]: one["score"] for one in answer}
    assert found == pytest.approx(blank, abs=1e-4)


def same_continuation(answer, row):
    assert answer[0]["generated_text"] == row["prediction"]


COMPARED = {
    "text-classification": same_scores,
    "token-classification": same_entities,
    "masked-lm": same_blanks,
    "causal-lm": same_continuation,
}


@pytest.mark.slow
def test_10_02_a_prediction_does_not_depend_on_the_batch_or_the_order(ready, tmp_path):
    output, evaluated = ready
    given = inputs_of(load_config(output / "config.yaml"), evaluated)
    kind, inputs = ("sources", given["sources"]) if "sources" in given else ("texts", given["texts"])

    def say(chosen, batch_size):
        rows = []
        sources = chosen if kind == "sources" else ()
        texts = chosen if kind == "texts" else ()
        predict(output, *sources, texts=texts, receive=rows.append, batch_size=batch_size)
        return [{key: value for key, value in row.items() if key not in ("id", "where")} for row in rows]

    alone = say(inputs, 1)
    for size in (4, 64):
        near(say(inputs, size), alone)
    if len(inputs) > 1:  # else a table, whose rows have an order of their own
        near(say(inputs[::-1], 3), alone[::-1])


def near(ours, theirs):
    """As :func:`close`, for models whose sums round more: those that detect and those that write."""
    if isinstance(theirs, float):
        assert ours == pytest.approx(theirs, abs=1e-4, rel=1e-3)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            near(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            near(a, b)
    else:
        assert ours == theirs


@pytest.mark.slow
def test_every_task_that_draws_draws_a_png_an_input(ready, tmp_path):
    output, evaluated = ready
    spec = load_config(output / "config.yaml")
    if not spec.descriptor.draws:
        pytest.skip("draws nothing")
    images = [row["where"] for row in evaluated[:2]]
    predict(output, *images, output=tmp_path / "p.jsonl", draw=tmp_path / "drawn")
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawn] == [f"{i:06d}_{Path(p).stem}.png" for i, p in enumerate(images)]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    predict(output, *images, output=tmp_path / "p2.jsonl", draw=tmp_path / "drawn")  # drawn again: replaced


def close(ours, theirs):
    """Equal but for the last bits of numbers, which depend on what is computed together."""
    if isinstance(theirs, float):
        assert ours == pytest.approx(theirs, abs=2e-6, rel=1e-5)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            close(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            close(a, b)
    else:
        assert ours == theirs


@pytest.mark.slow
def test_pieces_say_what_the_whole_says(trained, texts, tmp_path, monkeypatch):
    from ptm.text import classification

    predict(trained, texts, output=tmp_path / "whole.jsonl")
    small = lambda *inputs: classification_inputs(*inputs, piece=7)  # noqa: E731
    classification_inputs = classification.text_inputs
    monkeypatch.setattr(classification, "text_inputs", small)
    predict(trained, texts, output=tmp_path / "pieces.jsonl")
    for a, b in zip(rows_of(tmp_path / "whole.jsonl"), rows_of(tmp_path / "pieces.jsonl"), strict=True):
        close(a, b)


@pytest.mark.slow
def test_texts_come_from_the_command_line_files_and_standard_input(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.txt").write_text("the film was great\n\nthe soup was awful\n", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the film was great\n")))
    done = predict(trained, tmp_path / "a.txt", "-", texts=["the soup was awful"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert done["inputs"] == len(rows) == 4
    assert [row["where"] for row in rows] == [
        f"{tmp_path / 'a.txt'}:1",
        f"{tmp_path / 'a.txt'}:3",
        "standard input:1",
        "--text 1",
    ]
    assert [row["prediction"] for row in rows] == ["positive", "negative"] * 2
    assert rows[0]["input"] == rows[2]["input"] == "the film was great"
    assert rows[0]["scores"] == pytest.approx(rows[2]["scores"], abs=1e-6)


@pytest.mark.slow
def test_a_config_whose_model_is_trained_predicts(trained, reviews, tmp_path, write_config):
    config = write_config(
        tmp_path,
        f"version: 1\ntask: text-classification\nmodel: {{name: {trained}}}\n"
        f"data: {{source: 'csv:{tmp_path}/gone', eval: eval.csv}}\n"
        f"train: {{epochs: 1, learning_rate: 1.0e-3}}\noutput: r\n",
    )
    predict(config, texts=["the film was great"], output=tmp_path / "a.jsonl")
    predict(trained, texts=["the film was great"], output=tmp_path / "b.jsonl")
    assert rows_of(tmp_path / "a.jsonl") == rows_of(tmp_path / "b.jsonl")


@pytest.mark.slow
def test_pairs_are_read_by_their_columns(tiny_bert, tmp_path):
    pairs = [(f"the film was {a}", f"the film was {b}", str(int(a == b))) for a in "xyz" for b in "xyz"]
    path = write_csv(tmp_path / "pairs.csv", pairs, header=("one", "two", "same"))
    columns = {"text": "one", "text_pair": "two", "label": "same", "labels": None}
    spec = text_spec(
        tiny_bert, tmp_path, tmp_path / "r", epochs=1, **columns, train="pairs.csv", eval="pairs.csv"
    )
    run(spec)
    predict(spec.output, path, output=tmp_path / "p.jsonl")
    row = rows_of(tmp_path / "p.jsonl")[1]
    assert row["input"] == {"text": "the film was x", "text_pair": "the film was y"}
    assert row["columns"] == {"same": "0"}
    predict(spec.output, path, output=tmp_path / "p.csv")
    assert list(table_of(tmp_path / "p.csv")[0]) == [
        "id", "where", "one", "two", "prediction", "score_0", "score_1", "same",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="this run reads one and two"):
        predict(spec.output, texts=["one text"])


def test_images_are_predicted_from_files_and_folders(seeing, image_folder, tmp_path):
    single = image_folder / "val" / "disc" / "00.png"
    predict(seeing, image_folder / "val", single, output=tmp_path / "p.jsonl")
    rows = rows_of(tmp_path / "p.jsonl")
    assert [row["input"] for row in rows] == [
        *map(str, sorted((image_folder / "val").rglob("*.png"))),
        str(single),
    ]
    assert "where" not in rows[0]  # the input says it
    close(rows[-1]["scores"], rows[0]["scores"])


# -- how it is written -------------------------------------------------------------------------------------


def test_a_table_may_name_images_and_its_other_columns_come_along(seeing, image_folder, tmp_path):
    pictures = sorted((image_folder / "val").rglob("*.png"))[:3]
    table = tmp_path / "photos.csv"
    named = [os.path.relpath(path, tmp_path) for path in pictures]
    table.write_text("image,taken\n" + "".join(f"{name},19{n}0\n" for n, name in enumerate(named)))
    predict(seeing, table, output=tmp_path / "p.jsonl")
    predict(seeing, *pictures, output=tmp_path / "q.jsonl")
    rows, direct = rows_of(tmp_path / "p.jsonl"), rows_of(tmp_path / "q.jsonl")
    assert [row["scores"] for row in rows] == [row["scores"] for row in direct]
    assert [row["columns"]["taken"] for row in rows] == ["1900", "1910", "1920"]
    assert rows[1]["where"] == f"{table}:3"
    table.write_text(f"image,taken\ngone.png,1900\n{named[1]},1910\n")
    with pytest.raises(DataError) as caught:
        predict(seeing, table, output=tmp_path / "r.jsonl")
    assert caught.value.problems[0].where == f"{table}:2"
    predict(seeing, table, output=tmp_path / "r.jsonl", skip_bad=True)
    (row,) = rows_of(tmp_path / "r.jsonl")
    assert row["columns"]["taken"] == "1910"
    table.write_text("image,taken\n,1900\n")
    with pytest.raises(DataError, match="no image is named"):
        predict(seeing, table, output=tmp_path / "s.jsonl")


def test_csv_has_the_columns_of_the_table_and_a_column_a_score(trained, tmp_path):
    rows = [{"text": "the film was great", "prediction": "mine", "n": 3, "none": None}]
    rows.append({"text": 'the "soup", really', "prediction": "yours", "n": 4, "none": None})
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    predict(trained, path, output=tmp_path / "p.csv")
    predict(trained, path, output=tmp_path / "p.jsonl")
    table, lines = table_of(tmp_path / "p.csv"), rows_of(tmp_path / "p.jsonl")
    assert list(table[0]) == [
        "id", "where", "text", "prediction", "score_negative", "score_positive", "input.prediction", "n", "none",
    ]  # fmt: skip
    for cells, line in zip(table, lines, strict=True):
        assert cells["text"] == line["input"]
        assert cells["prediction"] == line["prediction"]
        assert float(cells["score_positive"]) == line["scores"]["positive"]
    assert [cells["input.prediction"] for cells in table] == ["mine", "yours"]
    assert lines[1]["columns"] == {"prediction": "yours", "n": 4, "none": None}


def test_tables_with_other_columns_do_not_fit_into_one_csv(trained, tmp_path):
    first = write_csv(tmp_path / "a.csv", [("the film", "1")], header=("text", "x"))
    second = write_csv(tmp_path / "b.csv", [("the soup", "1")], header=("text", "y"))
    with pytest.raises(DataError, match=r"b\.csv:2: the columns .* are not those of the inputs before"):
        predict(trained, first, second, output=tmp_path / "p.csv")
    assert not list(tmp_path.glob("*p.csv"))
    assert predict(trained, first, second, output=tmp_path / "p.jsonl")["inputs"] == 2


def test_a_bad_row_late_leaves_the_old_output_as_it_was(trained, tmp_path):
    output = tmp_path / "p.jsonl"
    old = '{"id": 0, "input": "an earlier one", "prediction": "positive"}'
    output.write_text(old, encoding="utf-8")
    bad = tmp_path / "bad.csv"
    bad.write_text("text\n" + "the film was good\n" * 2000 + "a,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.csv:2002: 2 fields"):
        predict(trained, bad, output=output)
    assert output.read_text() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.csv", "p.jsonl"]


def test_it_runs_elsewhere_in_a_process_of_its_own(run_cli, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("the film was great\n" * 3)
    words = ("predict", trained, "t.txt", "--output", "p.csv", "--json", "--set", "runtime.threads=1")
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inputs"] == 3
    assert "3 predicted" in done.stderr
    assert len(table_of(tmp_path / "p.csv")) == 3


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({}, ConfigError, ("there is nothing to predict", "--text")),
        ({"texts": ["a"], "output": "p.txt"}, ConfigError, ("not a kind of output", ".jsonl or .csv")),
        ({"texts": ["a"], "output": "gone/p.csv"}, ConfigError, ("there is no such folder",)),
        ({"texts": ["a"], "draw": "d"}, ConfigError, ("this task draws nothing", "object-detection")),
        ({"texts": [" "]}, DataError, ("--text 1", "a text")),
    ],
)
def test_refusals(trained, tmp_path, how, error, words):
    how = {k: tmp_path / v if k in ("output", "draw") else v for k, v in how.items()}
    with pytest.raises(error) as caught:
        predict(trained, **how)
    assert all(word in str(caught.value) for word in words)
    assert not list(tmp_path.iterdir())


def test_the_output_is_never_an_input(trained, texts):
    before = texts.read_bytes()
    with pytest.raises(ConfigError, match="would overwrite an input"):
        predict(trained, texts, output=texts)
    assert texts.read_bytes() == before


def test_targets_that_are_no_trained_model_are_refused(trained, tiny_bert, texts, tmp_path, write_config):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="not a run of ptm"):
        predict(tmp_path / "empty", texts)
    damaged = shutil.copytree(trained, tmp_path / "damaged")
    with (damaged / "model" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(ModelError, match="the model is damaged"):
        predict(damaged, texts)
    text = (
        "version: 1\ntask: text-classification\nmodel: {{name: {}}}\n"
        "data: {{source: 'csv:x', eval: e.csv, labels: [negative, positive]}}\n"
        "train: {{epochs: 1, learning_rate: 1.0e-3}}\noutput: r\n"
    )
    with pytest.raises(ModelError):
        predict(write_config(tmp_path, text.format(tiny_bert)), texts)
    with pytest.raises(MissingDownload):
        predict(write_config(tmp_path, text.format("package:no_such_package/model")), texts)


def test_scores_that_are_not_finite_are_refused_by_row(trained, tmp_path, monkeypatch):
    from ptm.metrics.classification import ClassificationMetrics

    whole = ClassificationMetrics.predictions

    def broken(self):
        for row in whole(self):
            yield row | ({"scores": {"negative": float("nan")}} if row["id"] == 1 else {})

    monkeypatch.setattr(ClassificationMetrics, "predictions", broken)
    for name in ("p.jsonl", "p.csv"):
        with pytest.raises(NotFinite, match="--text 2: the scores are not finite"):
            predict(trained, texts=["the film"] * 3, output=tmp_path / name)


def test_unreadable_images_are_refused_before_the_first_or_left_out(seeing, image_folder, tmp_path):
    folder = shutil.copytree(image_folder / "val", tmp_path / "in")
    (folder / "disc" / "02.png").write_bytes(b"no image")
    whole = (folder / "frame" / "01.png").read_bytes()
    (folder / "frame" / "01.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"disc.02\.png: is not an image"):
        predict(seeing, folder, output=tmp_path / "p.jsonl")
    reporter = Saying()
    done = predict(seeing, folder, output=tmp_path / "p.jsonl", skip_bad=True, reporter=reporter)
    assert done["inputs"] == 16
    assert [line.split(": ")[1] for line in reporter.lines] == [
        str(folder / "disc" / "02.png"),
        str(folder / "frame" / "01.png"),
    ]
    assert [row["id"] for row in rows_of(tmp_path / "p.jsonl")] == list(range(16))
    with pytest.raises(DataError, match="nothing is left to predict"):
        predict(seeing, folder / "disc" / "02.png", skip_bad=True)
    with pytest.raises(ConfigError, match="this run reads images"):
        predict(seeing, texts=["a text"])


def test_a_full_disk_is_one_message(trained, tmp_path, monkeypatch):
    import os

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        predict(trained, texts=["the film"], output=tmp_path / "p.jsonl")
    assert not list(tmp_path.iterdir())


def test_drawings_are_numbered_and_named_after_their_images(seeing, image_folder, tmp_path, monkeypatch):
    from ptm.vision.classification import ImageClassification

    monkeypatch.setattr(
        ImageClassification,
        "render_prediction",
        lambda self, index, prediction: prediction["prediction"].encode(),
    )
    assert ImageClassification.render_prediction is not Pipeline.render_prediction
    folder = image_folder / "val"
    predict(seeing, folder, output=tmp_path / "p.jsonl", draw=tmp_path / "new" / "drawn")
    rows = rows_of(tmp_path / "p.jsonl")
    drawn = {path.name: path.read_text() for path in (tmp_path / "new" / "drawn").iterdir()}
    assert drawn == {f"{r['id']:06d}_{Path(r['input']).stem}.png": r["prediction"] for r in rows}
    # These hold no mark of a drawing: as a picture of the user's by such a name, they stay.
    with pytest.raises(ConfigError, match="no drawing of ptm's"):
        predict(seeing, folder, output=tmp_path / "p2.jsonl", draw=tmp_path / "new" / "drawn")
    assert drawn == {path.name: path.read_text() for path in (tmp_path / "new" / "drawn").iterdir()}


def test_15_06_a_drawing_that_is_an_input_is_not_drawn_over(seeing, tmp_path, monkeypatch):
    from io import BytesIO

    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from ptm.vision.classification import ImageClassification

    picture = BytesIO()
    mark = PngInfo()
    mark.add_text("Software", "ptm")
    Image.new("RGB", (8, 8)).save(picture, "PNG", pnginfo=mark)
    monkeypatch.setattr(ImageClassification, "render_prediction", lambda *_: picture.getvalue() + b"new")
    drawing = tmp_path / "000000_a.png"
    drawing.write_bytes(picture.getvalue())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(drawing)
    with pytest.raises(ConfigError, match="--draw would put drawings among the inputs"):
        predict(seeing, tmp_path / "in", output=tmp_path / "p.jsonl", draw=tmp_path)
    assert drawing.read_bytes() == picture.getvalue()
    (tmp_path / "in" / "below").mkdir()
    (tmp_path / "in" / "below" / "b.png").write_bytes(picture.getvalue())
    with pytest.raises(ConfigError, match="--draw would put drawings among the inputs"):
        predict(seeing, tmp_path / "in", output=tmp_path / "p.jsonl", draw=tmp_path / "in" / "below")
    assert len(list((tmp_path / "in" / "below").iterdir())) == 1


def test_the_order_of_rows_is_that_of_the_inputs(trained, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["the film was " + "really " * int(n) + "good" for n in rng.integers(0, 20, 40)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    predict(trained, tmp_path / "a.txt", output=tmp_path / "p.jsonl", batch_size=4)
    assert [row["input"] for row in rows_of(tmp_path / "p.jsonl")] == lines
