"""Questions about a context through whole runs: learned, evaluated over windows, predicted, refused, taught."""

import json
import re
import runpy

import numpy as np
import pytest
import torch

from helpers import evaluation, export_of, run
from ptm.base.console import Silent
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.errors import ConfigError, DataError, ModelError
from ptm.experiment.predict import run_prediction
from ptm.export.record import read_record
from ptm.text import question_answering
from tiny import prepare
from tiny.samples import write_csv, write_jsonl

LATE = "really " * 30 + "the film was superb ."


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and the folder that it is in."""
    folder = tmp_path_factory.mktemp("qa")
    config = prepare("question-answering", folder)
    results = run(load_config(config, [f"output={folder / 'r'}"]))
    return folder, results


def spec_of(folder, *changes):
    output = folder / f"other{len(list(folder.iterdir()))}"
    return load_config(folder / "question-answering.yaml", [f"output={output}", *changes])


def build(spec, **how):
    data = question_answering.load_data(spec)
    return question_answering.build(
        spec, data, model=how.pop("model", spec.model.ref()), complete=False, **how
    )


def rows_of(folder, *sources, **options):
    rows = []
    run_prediction(folder / "r", list(sources), receive=rows.append, reporter=Silent(), **options)
    return rows


@pytest.mark.slow
def test_11_13_a_run_learns_to_answer_and_to_say_that_there_is_none(trained):
    folder, results = trained
    assert results["metrics"]["f1"] > 0.9 and set(results["metrics"]) == {"loss", "exact_match", "f1"}
    saved = load_config(folder / "r" / "config.yaml")
    assert (saved.data.no_answer, saved.data.question, saved.data.text) == (True, "question", "context")
    rows = [json.loads(line) for line in (folder / "r" / "predictions.jsonl").read_text().splitlines()]
    for row in rows:
        context = row["input"]["context"]
        assert row["answer"] == ("" if row["start"] is None else context[row["start"] : row["end"]])
        assert 0 < row["probability"] <= 1
    assert any(row["answers"] == [] and row["answer"] == "" for row in rows)
    again = evaluation(folder / "r", overrides=["data.no_answer=false"])
    assert again["metrics"]["f1"] < results["metrics"]["f1"]


@pytest.mark.slow
def test_11_13_predict_answers_from_every_kind_of_file_with_what_stands_beside(trained, tmp_path):
    folder, _ = trained
    asked = {"question": "what was the film", "context": LATE, "id": "x7"}
    squad = {
        "data": [{"paragraphs": [{"context": LATE, "qas": [{"id": "x7", "question": asked["question"]}]}]}]
    }
    (tmp_path / "a.json").write_text(json.dumps(squad))
    write_jsonl(tmp_path / "a.jsonl", [asked])
    write_csv(tmp_path / "a.csv", [tuple(asked.values())], tuple(asked))
    sources = [tmp_path / "a.json", f"squad:{tmp_path / 'a.json'}", tmp_path / "a.jsonl", tmp_path / "a.csv"]
    rows = [row for source in sources for row in rows_of(folder, source)]
    for row in rows:
        assert row["answer"] == "superb" and row["columns"]["id"] == "x7"  # in the last of several windows
        assert (row["start"], row["end"]) == (LATE.index("superb"), LATE.index("superb") + 6)
    run_prediction(folder / "r", [tmp_path / "a.csv"], output=tmp_path / "p.csv", reporter=Silent())
    header = (tmp_path / "p.csv").read_text().splitlines()[0]
    assert header == "id,where,question,context,answer,start,end,probability,input.id"
    short = run_with(folder, tmp_path / "a.csv", "data.max_answer_length=1", "data.no_answer=false")
    assert len(short["answer"].split()) == 1
    none = run_with(folder, tmp_path / "a.csv", "data.no_answer_margin=-1000")
    assert (none["answer"], none["start"], none["end"]) == ("", None, None)


def run_with(folder, source, *overrides):
    return rows_of(folder, source, overrides=overrides)[0]


@pytest.mark.slow
def test_11_13_the_saved_model_answers_in_plain_transformers(trained, tmp_path):
    """By the start and end logits of a window, as the code of the card has it."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder, _ = trained
    model = AutoModelForQuestionAnswering.from_pretrained(folder / "r" / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "r" / "model")
    question, context = "what was the film", "the film was really superb ."
    read = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    places = read.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        scores = model(**read)
    inside = torch.tensor([side == 1 for side in read.sequence_ids(0)])
    first, last = (
        int(logits[0].masked_fill(~inside, -torch.inf).argmax())
        for logits in (scores.start_logits, scores.end_logits)
    )
    write_jsonl(tmp_path / "a.jsonl", [{"question": question, "context": context}])
    (row,) = rows_of(folder, tmp_path / "a.jsonl")
    assert (row["start"], row["end"]) == (places[first][0], places[last][1])


def test_11_13_loss_is_a_sum_over_both_ends_of_every_window_and_padding_has_no_part(tmp_path):
    spec = load_config(prepare("question-answering", tmp_path), [f"output={tmp_path / 'r'}"])
    pipeline = build(spec)
    pipeline.model.eval()
    ids = np.arange(6)
    (whole,) = pipeline.batches("train", [ids], 0)
    assert (
        len(whole.inputs["input_ids"]) == len(whole.targets) == int(whole.inputs["windows"].sum()) > len(ids)
    )
    with torch.no_grad():
        together = pipeline.forward(pipeline.model, whole)
        alone = [pipeline.forward(pipeline.model, b) for b in pipeline.batches("train", ids[:, None], 0)]
        raw = pipeline.model(**{k: v for k, v in whole.inputs.items() if k not in ("possible", "windows")})
    assert together.count == sum(each.count for each in alone) == 2 * len(whole.targets)
    assert float(together.loss_sum) == pytest.approx(sum(float(each.loss_sum) for each in alone), rel=1e-5)
    by_hand = 0.0
    for row, (first, last) in enumerate(whole.targets.tolist()):
        for logits, target in ((raw.start_logits[row], first), (raw.end_logits[row], last)):
            possible = logits[whole.inputs["possible"][row]]
            by_hand += float(possible.logsumexp(0) - logits[target])
    assert float(together.loss_sum) == pytest.approx(by_hand, rel=1e-5)
    assert "pooled" not in pipeline.feature_names and not pipeline.per_example
    (note,) = [line for line in pipeline.notes() if "windows" in line]
    assert re.search(r"texts longer than 24 tokens are read in windows: \d+ of 96 train", note)


@pytest.mark.slow
def test_11_13_a_teacher_teaches_the_scores_of_both_ends(trained):
    folder, _ = trained
    spec = spec_of(
        folder, f"teacher.name={folder / 'r'}", "distill.ce_weight=0", "train.epochs=3", "expect={}"
    )
    spec_none = spec_of(folder, f"teacher.name={folder / 'r'}", "distill.features=hidden")
    assert run(spec)["metrics"]["f1"] > 0.5
    with pytest.raises((ConfigError, ModelError)):
        run(spec_none)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (["model={name: new:gpt2, tokenizer: train}"], ModelError, "has no [CLS]"),
        (["data.long_texts=cut"], ConfigError, "data.long_texts is for"),
        (["data.stride=60"], ConfigError, "never get further"),
        (["data.max_answer_length=0"], ConfigError, "data.max_answer_length"),
        (["data.question=asked"], DataError, "no column 'asked'"),
        (["data.eval=nothing.json"], DataError, "nothing.json"),
    ],
)
def test_11_13_what_does_not_fit_is_refused_before_the_first_step(trained, changes, error, words):
    folder, _ = trained
    with pytest.raises(error) as caught:
        run(spec_of(folder, *changes))
    assert words in str(caught.value)


def test_11_13_a_classifier_cannot_answer_and_is_refused(tiny_bert, tmp_path):
    spec = load_config(prepare("question-answering", tmp_path), [f"output={tmp_path / 'r'}"])
    data = question_answering.load_data(spec)
    with pytest.raises(ModelError, match=r"its output layer would be random"):
        question_answering.build(spec, data, model=ModelRef(name=str(tiny_bert)), complete=True)


@pytest.mark.slow
def test_11_17_an_export_answers_over_all_windows_as_its_run_and_so_does_its_program(trained, tmp_path):
    folder, results = trained
    export = export_of(folder / "r", tmp_path / "e")
    record = read_record(export)
    assert (record.outputs, record.inputs) == (
        ("logits",),
        ("input_ids", "attention_mask", "token_type_ids"),
    )
    assert record.comparison.equal_answers == 1 and record.comparison.largest_difference < 1e-4
    assert evaluation(export)["metrics"] == pytest.approx(results["metrics"], abs=1e-5)
    program = runpy.run_path(str(export / "predict.py"))["predict"]
    asked = [
        ("what was the film", LATE),  # the answer is in the last of several windows
        ("what was the soup", "the film was good ."),
        ("what was the film " * 9, "  the   film was  really good , the soup was awful"),
        ("film", "good"),
    ]
    write_jsonl(tmp_path / "a.jsonl", [{"question": q, "context": c} for q, c in asked])
    rows = []
    run_prediction(export, [tmp_path / "a.jsonl"], receive=rows.append, reporter=Silent())
    of_run = rows_of(folder, tmp_path / "a.jsonl")
    for (question, context), row, own in zip(asked, rows, of_run, strict=True):
        said = program(question, context)
        assert (said["answer"], said["start"], said["end"]) == (row["answer"], row["start"], row["end"])
        assert said["probability"] == pytest.approx(row["probability"], abs=1e-4)
        assert (row["answer"], row["start"]) == (own["answer"], own["start"])
    assert rows[0]["answer"] == "superb"
