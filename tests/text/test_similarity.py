"""Embeddings that are trained: their losses, what they are compared with, and what is done with a trained one."""

import ast
import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers import Saying, StopAt, evaluation, export_of, last_state, run, weights
from ptm.base.console import Silent
from ptm.config.load import load_config, parse_config
from ptm.config.model_ref import ModelRef
from ptm.errors import DataError, Interrupted
from ptm.experiment.card import COMPARED, code_of
from ptm.experiment.predict import run_prediction
from ptm.export.record import read_record
from ptm.text import similarity
from ptm.training.order import epoch_plan, micro_batches
from tiny.samples import save_tiny_bert, sentences, similar_sentences, write_csv

CONFIG = """\
version: 1
task: text-similarity
model: {name: %(folder)s/bert}
data: {source: "csv:%(folder)s", train: train.csv, eval: eval.csv, text_pair: second}
train: {steps: 4, batch_size: 8, learning_rate: 3e-3, save_every_steps: 2}
runtime: {device: cpu, threads: 1}
output: %(folder)s/r
"""
SCORED = ("data.label_type=number", "data.label=score", "data.score_range=[0, 5]")
TOGETHER = ("data.label_type=pairs",)
CLASSES = ("data.text_pair=null", "data.train=single.csv", "data.eval=single_eval.csv")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("w")
    for name, count, seed in (("train", 30, 1), ("eval", 16, 2)):
        write_csv(folder / f"{name}.csv", similar_sentences(count, seed), ("text", "second", "score"))
        single = folder / ("single.csv" if name == "train" else "single_eval.csv")
        write_csv(single, sentences(count, seed))
    save_tiny_bert(folder / "bert")
    return folder


@pytest.fixture(scope="module")
def make(world):
    def spec(*changes, output="r"):
        text = CONFIG % {"folder": world}
        return parse_config(text, "c.yaml", [*changes, f"output={world / output}"], base=world, cwd=world)

    return spec


@pytest.fixture(scope="module")
def trained(make):
    spec = make(*SCORED, output="scored")
    return run(spec), spec


def build(spec, *, dropout=False):
    pipeline = similarity.build(spec, similarity.load_data(spec), model=spec.model.ref(), complete=False)
    for module in pipeline.model.modules():
        if isinstance(module, torch.nn.Dropout) and not dropout:
            module.p = 0.0
    pipeline.model.train()
    return pipeline


@torch.no_grad()
def embedded(pipeline, texts):
    """Independently: transformers, text by text."""
    rows = []
    for text in texts:
        read = pipeline.tokenizer(text, return_tensors="pt")
        states = pipeline.model(**read).last_hidden_state[0]
        rows.append(F.normalize(states.mean(0), dim=0))
    return torch.stack(rows)


def losses(pipeline, pieces, epoch=0):
    pipeline.model.zero_grad()
    total = 0.0
    for batch in pipeline.batches("train", pieces, epoch):
        output = pipeline.forward(pipeline.model, batch)
        output.loss_sum.backward()
        total += output.loss_sum.item()
    return total, {n: p.grad.clone() for n, p in pipeline.model.named_parameters() if p.grad is not None}


def test_11_sim_the_loss_of_scored_pairs_is_the_squared_error_of_their_cosine(make):
    pipeline = build(make(*SCORED))
    train = pipeline._data.train
    ids = [4, 9, 2]
    first, second = (
        embedded(pipeline, [train.columns[role][i] for i in ids]) for role in ("text", "text_pair")
    )
    expected = sum((float(first[k] @ second[k]) - train.targets[i] / 5) ** 2 for k, i in enumerate(ids))
    assert losses(pipeline, [np.array(ids)])[0] == pytest.approx(expected, rel=1e-4)


def test_11_sim_negatives_are_the_batch_however_it_is_cut(make):
    """The rest of a step's batch, in pieces of any size; equal texts are none of them."""
    spec = make(*TOGETHER, "train.temperature=0.1")
    pipeline = build(spec)
    train, lengths = pipeline._data.train, pipeline.lengths("train")
    for epoch in (0, 1):
        ids = epoch_plan(30, 8, spec.train.seed, epoch, lengths)[1]
        first, second = (
            embedded(pipeline, [train.columns[role][i] for i in ids]) for role in ("text", "text_pair")
        )
        expected = 0.0
        texts = [train.columns["text_pair"][i] for i in ids]
        for k in range(len(ids)):
            others = [j for j in range(len(ids)) if j == k or texts[j] != texts[k]]
            scores = (first[k] @ second[others].T / 0.1).tolist()
            expected += np.log(np.sum(np.exp(scores))) - scores[others.index(k)]
        whole, gradient = losses(pipeline, [ids], epoch)
        assert whole == pytest.approx(expected, rel=1e-4)
        pieces, added = losses(pipeline, micro_batches(ids, 3, lengths), epoch)
        assert pieces == pytest.approx(whole, rel=1e-5)
        largest = max(float(g.abs().max()) for g in gradient.values())
        for name, tensor in gradient.items():
            torch.testing.assert_close(added[name], tensor, rtol=1e-3, atol=1e-4 * largest)
    pipeline.model.eval()  # a teacher is asked for cosines alone
    (batch,) = pipeline.batches("train", [ids], 1)
    output = pipeline.forward(pipeline.model, batch)
    assert output.logits.shape == (8, 1) and float(output.loss_sum) == 0.0


def test_11_sim_partners_are_a_function_of_seed_epoch_and_example(make):
    pipeline = build(make(*CLASSES))
    targets = pipeline._data.train.targets
    seen = set()
    for epoch in range(6):
        (batch,) = pipeline.batches("train", [np.arange(30)], epoch)
        same, other = np.array(batch.inputs["others"]).reshape(2, 30)
        assert (targets[same] == targets).all() and (targets[other] != targets).all()
        assert (same != np.arange(30)).all()
        (piece,) = pipeline.batches("train", [np.array([11, 3])], epoch)
        assert piece.inputs["others"] == [*same[[11, 3]], *other[[11, 3]]]
        seen.add((same[3], other[3]))
    assert len(seen) > 3
    train = pipeline._data.train
    ids = np.array([11, 3])
    texts, own, others = (
        embedded(pipeline, [train.columns["text"][i] for i in chosen])
        for chosen in (ids, same[ids], other[ids])
    )
    expected = sum((1 - float(texts[k] @ own[k])) ** 2 + float(texts[k] @ others[k]) ** 2 for k in range(2))
    assert losses(pipeline, [ids], 5)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TOGETHER, CLASSES])
def test_11_sim_stopped_and_resumed_equals_uninterrupted_and_evaluates_to_the_same(
    make, world, kind, monkeypatch, capsys
):
    name = kind[0][-5:]
    results = run(make(*kind, output=f"{name}whole"))
    with pytest.raises(Interrupted):
        run(make(*kind, output=f"{name}parts"), reporter=StopAt(3))
    run(make(*kind, output=f"{name}parts"), mode="resume")
    assert last_state(world / f"{name}whole") == last_state(world / f"{name}parts")
    assert weights(world / f"{name}whole") == weights(world / f"{name}parts")
    again = evaluation(world / f"{name}whole")
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    known = make(*kind).evaluation.names()
    assert set(results["metrics"]) == set(known)
    rows = [
        json.loads(line) for line in (world / f"{name}whole" / "predictions.jsonl").read_text().splitlines()
    ]
    expected = {"id", "where", "input", "similarity", "rank"} if kind == TOGETHER else {"label", "prediction"}
    assert expected <= rows[0].keys()
    # What the card prints is what ptm predict says.
    monkeypatch.chdir(world / f"{name}whole")
    printed = card_prints(capsys)
    Path("card.csv").write_text("text,second\nOne text.,The other.\n")
    (row,) = predicted(Path.cwd(), Path("card.csv"))
    ours, theirs = COMPARED["text-similarity"](printed, row)
    assert ours == pytest.approx(theirs, abs=1e-5)


def card_prints(capsys):
    capsys.readouterr()
    exec(code_of(Path("README.md").read_text()), {})
    return ast.literal_eval(capsys.readouterr().out.splitlines()[-1])


def predicted(run_directory, *sources, texts=()):
    rows = []
    run_prediction(run_directory, sources, texts=texts, receive=rows.append, reporter=Silent())
    return rows


@pytest.mark.slow  # trains
def test_11_sim_a_saved_model_is_one_of_transformers_and_of_its_card(
    trained, world, tmp_path, monkeypatch, capsys
):
    texts = ["the film was good", "the hotel was really really awful"]
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (
        kind.from_pretrained(world / "scored" / "model") for kind in (AutoModel, AutoTokenizer)
    )
    read = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**read).last_hidden_state
    mask = read.attention_mask[..., None]
    expected = F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    rows = predicted(world / "scored", texts=texts)
    assert np.array([row["embedding"] for row in rows]) == pytest.approx(expected.numpy(), abs=1e-5)
    write_csv(tmp_path / "p.csv", [(*texts, "x")], ("text", "second", "of"))
    (row,) = predicted(world / "scored", tmp_path / "p.csv")
    cosine = float(expected[0] @ expected[1])
    assert row["similarity"] == pytest.approx(cosine, abs=1e-5)
    assert row["prediction"] == pytest.approx(5 * cosine, abs=1e-4)
    assert row["input"] == {"text": texts[0], "text_pair": texts[1]} and row["columns"] == {"of": "x"}
    monkeypatch.chdir(world / "scored")
    printed = card_prints(capsys)
    write_csv(tmp_path / "card.csv", [("One text.", "The other.")], ("text", "second"))
    (row,) = predicted(world / "scored", tmp_path / "card.csv")
    assert printed == pytest.approx(row["similarity"], abs=1e-5)


@pytest.mark.slow  # sentence-transformers takes its time to be imported
@pytest.mark.filterwarnings("ignore")
def test_11_sim_sentence_transformers_gives_the_same_embeddings(trained, world):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = ["the film was good", "the hotel was really really awful"]
    model = sentence_transformers.SentenceTransformer(str(world / "scored" / "model"), device="cpu")
    ours = np.array([row["embedding"] for row in predicted(world / "scored", texts=texts)])
    assert ours == pytest.approx(model.encode(texts), abs=1e-5)


def test_11_sim_scores_outside_the_range_are_refused_with_the_one_that_fits(make):
    spec = make(*SCORED)
    with pytest.raises(DataError) as caught:
        similarity.load_data(replace(spec, data=replace(spec.data, score_range=None)))
    problem = caught.value.problems[0]
    assert problem.what == "the score is 2" and problem.where.endswith("train.csv:3")
    assert problem.cure == "data.score_range: [0, 5]"
    assert similarity.load_data(parse_cured(spec)).sizes == {"train": 30, "eval": 16}


@pytest.mark.parametrize(
    ("kind", "file", "rows", "what", "where"),
    [
        (TOGETHER, "train", [("a", "z"), ("b", "z"), ("c", "z")], "second text of all 3 pairs", "data.train"),
        (CLASSES, "eval", [("a", "positive")], "one text alone has no nearest one", "data.eval"),
    ],
)
def test_11_sim_where_there_is_nothing_to_tell_a_text_from_no_step_is_taken(
    make, world, kind, file, rows, what, where
):
    header = ("text", "second") if kind is TOGETHER else ("text", "label")
    write_csv(world / "few.csv", rows, header)
    with pytest.raises(DataError) as caught:
        similarity.load_data(make(*kind, f"data.{file}=few.csv"))
    assert what in caught.value.problems[0].what and caught.value.problems[0].where == where


def parse_cured(spec):
    return replace(spec, data=replace(spec.data, score_range=(0.0, 5.0)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SCORED, TOGETHER])
def test_11_sim_a_student_learns_the_cosines_of_its_teacher(trained, make, world, kind):
    """A store that keeps a number a pair; the second run finds it."""
    teacher = ("teacher={name: %s}" % (world / "scored"), "distill={ce_weight: 0.5, audit: warn}")
    output = f"student{len(kind)}"
    results = run(make(*kind, *teacher, output=output))
    assert results["distill"]["store"]["used"] and results["distill"]["store"]["misses"] == 30
    lines = [json.loads(line) for line in (world / output / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["kd"]) for line in lines if line["kind"] == "train")
    again = run(make(*kind, *teacher, output=f"{output}again"))
    assert again["distill"]["store"]["misses"] == 0
    assert weights(world / output) == weights(world / f"{output}again")


def test_11_sim_a_teacher_that_is_an_encoder_alone_can_be_asked(make):
    spec = make(*SCORED)
    data = similarity.load_data(spec)
    teacher = ModelRef(name=spec.model.name, role="teacher")
    pipeline = similarity.build(spec, data, model=teacher, complete=True)
    assert pipeline.per_example and pipeline.distillable and pipeline.feature_names == ()


@pytest.mark.slow
def test_11_17_an_export_gives_embeddings_and_so_does_its_program(trained, world, tmp_path):
    _, spec = trained
    of_run = Path(spec.output)
    export = export_of(of_run, tmp_path / "e")
    record = read_record(export)
    assert (record.outputs, record.comparison.equal_answers) == (("embeddings",), None)
    assert record.comparison.largest_difference < 1e-5
    assert evaluation(export)["metrics"] == pytest.approx(evaluation(of_run)["metrics"], abs=1e-5)
    texts = ["the film was good", "the soup was " + "really " * 40 + "awful"]
    program = runpy.run_path(str(export / "predict.py"))["predict"]
    alone, other, pair = program([*texts, "\t".join(texts)])
    rows = []
    run_prediction(export, (), texts=texts, receive=rows.append, reporter=Silent())
    own = []
    run_prediction(of_run, (), texts=texts, receive=own.append, reporter=Silent())
    for said, row, of_model in zip((alone, other), rows, own, strict=True):
        assert said["embedding"] == pytest.approx(row["embedding"], abs=1e-5)
        assert row["embedding"] == pytest.approx(of_model["embedding"], abs=1e-5)
        assert np.linalg.norm(said["embedding"]) == pytest.approx(1, abs=1e-5)
    cosine = float(np.dot(alone["embedding"], other["embedding"]))
    assert pair["similarity"] == pytest.approx(cosine, abs=1e-5)
    assert pair["prediction"] == pytest.approx(5 * cosine, abs=1e-4)  # of scores from 0 to 5


@pytest.mark.slow
def test_11_18_the_length_of_the_encoder_is_taken_and_said_and_a_key_of_one_s_own_wins(make, world):
    place = world / "of its own"
    shutil.copytree(world / "bert", place)
    (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    told = Saying()
    spec = make(*SCORED, f"model.name={place}", "train.steps=1", output="own")
    run(spec, reporter=told)
    assert "data.max_length: 12, as sentence_bert_config.json of the model has it" in told.lines
    assert load_config(Path(spec.output) / "config.yaml").data.max_length == 12
    saved = json.loads((Path(spec.output) / "model" / "sentence_bert_config.json").read_text())
    assert saved["max_seq_length"] == 12
    other = build(make(*SCORED, f"model.name={place}", "data.max_length=9"))
    assert (other.effective_data["max_length"], other.told) == (9, ())
