"""Long texts: which tokens are read, in which windows, and what becomes of their outputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from config_texts import TEXT, changed, only
from helpers import Saying, StopAt, evaluation, history, last_state, run, text_spec
from ptm.config.spec import DataSpec, DistillSpec, TeacherSpec
from ptm.data.questions import load_questions
from ptm.errors import ConfigError, Interrupted
from ptm.experiment.export import require_exportable
from ptm.experiment.predict import run_prediction
from ptm.text import classification, question_answering, token_classification
from ptm.text.windows import LongTexts, in_parts, pooled, window_starts, word_windows
from tiny.samples import write_csv, write_jsonl

SPECIAL = [1, *[0] * 20, 1]
IDS = [101, *range(20), 102]


def long_texts(mode, max_length=10, **keys):
    return LongTexts.of(DataSpec(source="csv:x", long_texts=mode, **keys), max_length, 2)


def test_11_03_head_and_tail_of_a_text_by_hand():
    (piece,) = long_texts("head_tail").pieces(IDS, SPECIAL)
    assert piece.tolist() == [101, 0, 1, 14, 15, 16, 17, 18, 19, 102]
    (short,) = long_texts("head_tail").pieces([101, 5, 102], [1, 0, 1])
    assert short.tolist() == [101, 5, 102]


def test_11_03_windows_share_their_stride_and_the_last_one_ends_with_the_text():
    pieces = long_texts("windows", stride=3).pieces(IDS, SPECIAL)
    assert [p[1:-1].tolist() for p in pieces] == [
        [*range(8)],
        [*range(5, 13)],
        [*range(10, 18)],
        [*range(12, 20)],
    ]
    assert all(p[0] == 101 and p[-1] == 102 for p in pieces)
    assert window_starts(8, 8, 3) == [0] and window_starts(9, 8, 3) == [0, 1]


@given(st.integers(1, 60), st.integers(1, 12), st.data())
def test_11_03_windows_cover_every_token(length, room, data):
    stride = data.draw(st.integers(0, room - 1))
    starts = window_starts(length, room, stride)
    seen = {token for start in starts for token in range(start, min(start + room, length))}
    assert seen == set(range(length)) and len(starts) == len(set(starts))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(2, 12), st.data())
def test_11_03_every_word_is_read_in_one_window_from_its_first_token(sizes, room, data):
    """Words of several tokens, some longer than a window."""
    stride = data.draw(st.integers(0, room - 1))
    begins = np.zeros(sum(sizes), dtype=bool)
    begins[np.cumsum([0, *sizes[:-1]])] = True
    windows = word_windows(begins, room, stride)
    read = np.concatenate([first + places for first, _, places in windows])
    assert read.tolist() == np.flatnonzero(begins).tolist()
    for first, end, places in windows:
        assert 0 < end - first <= room and begins[first]
        assert ((places >= 0) & (places < end - first)).all()


def test_11_03_pooling_by_hand():
    logits = torch.tensor([[1.0, 2.0], [3.0, -2.0], [5.0, 5.0]], requires_grad=True)
    counts = torch.tensor([2, 1])
    assert pooled(logits, counts, "mean").tolist() == [[2, 0], [5, 5]]
    assert pooled(logits, counts, "max").tolist() == [[3, 2], [5, 5]]
    pooled(logits, counts, "mean")[0, 0].backward()
    assert logits.grad.tolist() == [[0.5, 0], [0.5, 0], [0, 0]]


def test_11_03_a_stride_that_leaves_nothing_new_is_refused():
    with pytest.raises(ConfigError, match="share 8 never get further"):
        long_texts("windows", stride=8)


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["data.stride=3"], "stride is for long_texts: windows"),
        (["data.pool=max", "data.long_texts=head_tail"], "pool is for long_texts: windows"),
        (["data.long_texts=windows", "data.text_pair=other"], "windows is for single texts"),
        (
            ["data.long_texts=windows", "teacher={name: bert-base-uncased}", "distill={features: cosine}"],
            "features: cosine compares texts",
        ),
    ],
)
def test_11_03_where_they_mean_nothing(overrides, what):
    assert only(TEXT, *overrides).what.startswith(what)


def test_11_03_no_word_may_be_left_out_of_tags():
    text = changed("labels:", "").replace("task: text-classification", "task: token-classification")
    text = text.replace("best: {metric: accuracy}", "best: {metric: f1}")
    assert only(text, "data.long_texts=head_tail").what.startswith("head_tail leaves words out")


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """Texts whose deciding word stands behind what is read of their beginning."""
    folder = tmp_path_factory.mktemp("late")
    for name, count in (("train", 48), ("eval", 32)):
        rows = [
            ("the film was " + "really " * (8 + i % 3) + word, label)
            for i in range(count)
            for word, label in [("good", "positive") if i % 2 else ("bad", "negative")]
        ]
        write_csv(folder / f"{name}.csv", rows)
    return folder


def spec_of(bert, data, output, **keys):
    changes = {"max_length": 12, "epochs": 12, "learning_rate": 3e-3, "eval_every_steps": 72, **keys}
    return text_spec(bert, data, output, **changes)


def test_11_03_the_pipeline_pools_what_it_says_of_each_window(tiny_bert, late, tmp_path):
    spec = spec_of(tiny_bert, late, tmp_path / "r", long_texts="windows", stride=2, max_length=8)
    data = classification.load_data(spec)
    pipeline = classification.build(spec, data, model=spec.model.ref(), complete=False)
    pipeline.model.eval()
    (batch,) = pipeline.batches("eval", [np.array([3, 0])], 0)
    with torch.no_grad():
        output = pipeline.forward(pipeline.model, batch)
        for place, row in enumerate([3, 0]):
            text = data.eval.columns["text"][row]
            ids = pipeline.tokenizer(text, add_special_tokens=False)["input_ids"]
            windows = [[2, *ids[start : start + 6], 3] for start in window_starts(len(ids), 6, 2)]
            assert len(windows) > 1
            logits = torch.cat([pipeline.model(torch.tensor([w])).logits for w in windows])
            torch.testing.assert_close(output.logits[place], logits.mean(0), rtol=1e-4, atol=1e-5)
    assert output.count == 2 and len(output.logits) == 2
    facts = pipeline.describe()["eval"]
    assert (facts["examples"], facts["in_windows"], facts["cut_to_max_length"]) == (32, 32, 0)
    (note, *_) = pipeline.notes()
    assert note.startswith("texts longer than 8 tokens are read in windows: 48 of 48 train (100%), ")


@pytest.mark.slow
def test_11_03_what_is_beyond_the_limit_is_learned_and_predicted_and_survives_a_stop(
    tiny_bert, late, tmp_path
):
    assert run(spec_of(tiny_bert, late, tmp_path / "cut", epochs=2))["metrics"]["accuracy"] == 0.5
    results = run(spec_of(tiny_bert, late, tmp_path / "windows", long_texts="windows"))
    assert results["metrics"]["accuracy"] == 1
    assert evaluation(tmp_path / "windows")["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    spec = spec_of(tiny_bert, late, tmp_path / "parts", long_texts="windows")
    with pytest.raises(Interrupted):
        run(spec, reporter=StopAt(7))
    run(spec, mode="resume")
    assert last_state(tmp_path / "parts") == last_state(tmp_path / "windows")
    seen = []
    run_prediction(
        tmp_path / "windows",
        [],
        texts=["the film was " + "really " * 9 + "good", "the film was " + "really " * 9 + "bad"],
        receive=seen.append,
        reporter=(said := Saying()),
    )
    assert [row["prediction"] for row in seen] == ["positive", "negative"]
    assert not any("not read as a whole" in line for line in said.lines)
    with pytest.raises(ConfigError, match="long_texts: windows"):
        require_exportable(spec, "r")


@pytest.mark.slow
def test_11_03_accumulation_and_a_teacher_read_the_same_windows(tiny_bert, late, tmp_path):
    keys = {"long_texts": "windows", "pool": "max", "log_every_steps": 1, "steps": 2}
    spec = spec_of(tiny_bert, late, tmp_path / "teacher", long_texts="windows", pool="max", epochs=1)
    run(spec)
    losses = []
    for name, micro in (("whole", None), ("pieces", 4)):
        still = replace(
            spec_of(tiny_bert, late, tmp_path / name, **keys),
            teacher=TeacherSpec(name=str(tmp_path / "teacher")),
            distill=DistillSpec(audit="off"),
        )
        train = replace(still.train, epochs=None, micro_batch_size=micro, learning_rate=1e-12)
        run(replace(still, train=train))
        losses.append(history(tmp_path / name)[0]["parts"]["kd"])
    assert losses[0] == pytest.approx(losses[1], rel=0.2)  # dropout differs


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagged")
    for name, count in (("train", 32), ("eval", 16)):
        rows = []
        for index in range(count):
            words = ["the", "film", "was"] + ["really"] * (3 + index % 20) + ["good", "bad"]
            tags = ["O"] * (len(words) - 2) + ["B-GOOD", "B-BAD"]
            rows.append({"words": words, "tags": tags})
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


@pytest.mark.slow
def test_11_03_no_word_is_without_a_tag_in_windows(tiny_bert, tagged, tmp_path):
    def spec(mode):
        made = text_spec(tiny_bert, tagged, tmp_path / mode, epochs=8, learning_rate=3e-3, max_length=8)
        data = replace(
            made.data,
            source=f"json:{tagged}",
            train="train.jsonl",
            eval="eval.jsonl",
            labels=None,
            long_texts=mode,
        )
        return replace(made, task="token-classification", data=data, best=None)

    cut, windows = run(spec("cut")), run(spec("windows"))
    assert cut["metrics"]["f1"] < 0.7 and windows["metrics"]["f1"] == 1
    for line in (tmp_path / "windows" / "predictions.jsonl").read_text().splitlines():
        assert "null" not in line
    pipeline = token_classification.build(
        spec("windows"),
        token_classification.load_data(spec("windows")),
        model=spec("windows").model.ref(),
        complete=False,
    )
    assert pipeline.describe()["eval"]["words_cut_off"] == 0
    (batch,) = pipeline.batches("eval", [np.array([15, 2])], 0)
    lengths = [len(pipeline._data.eval.columns["words"][i]) for i in (15, 2)]
    assert int(batch.inputs["first"].sum()) == sum(lengths)
    targets = batch.targets[batch.inputs["first"]].numpy()
    assert targets.tolist() == [*pipeline._data.eval.targets[15], *pipeline._data.eval.targets[2]]
    seen = []
    words = "the film was " + "really " * 40 + "good bad"
    run_prediction(tmp_path / "windows", [], texts=[words], receive=seen.append, reporter=Saying())
    assert None not in seen[0]["predicted_tags"] and seen[0]["predicted_tags"][-2:] == ["B-GOOD", "B-BAD"]


@pytest.mark.parametrize("most", [1, 7, 12, 35, 1000])
def test_15_15_windows_of_a_long_text_go_through_a_model_in_parts(most):
    """A text of a megabyte sent to a server was one forward pass over a thousand windows, and gigabytes."""
    sizes = []

    def call(part):
        sizes.append(part["input_ids"].numel())
        return part["input_ids"] * 2, part["input_ids"].sum(1)

    ids = torch.arange(35).reshape(7, 5)
    double, sums = in_parts(call, {"input_ids": ids, "attention_mask": ids}, most)
    assert torch.equal(double, ids * 2) and torch.equal(sums, ids.sum(1))
    assert sum(sizes) == 35 and max(sizes) <= max(most, 5)


def test_15_15_a_long_question_is_answered_in_parts_as_in_one(tiny_bert, monkeypatch, tmp_path):
    row = {"question": "Who wrote it?", "context": "Ada wrote it, and Ben read it. " * 40}
    row |= {"answers": {"text": ["Ada"], "answer_start": [0]}}
    write_jsonl(tmp_path / "a.jsonl", [row])
    data = DataSpec(source=f"json:{tmp_path / 'a.jsonl'}", max_length=32)
    spec = replace(text_spec(tiny_bert, tmp_path, tmp_path / "r"), task="question-answering", data=data)
    loaded = load_questions(data, train=False)
    pipeline = question_answering.build(spec, loaded, model=spec.model.ref(), complete=False)
    pipeline.model.eval()
    (batch,) = pipeline.batches("eval", [np.array([0])], 0)
    assert len(batch.inputs["input_ids"]) > 10
    with torch.inference_mode():
        whole = pipeline.evaluate_batch(pipeline.model, batch)
        monkeypatch.setattr(in_parts, "__defaults__", (64,))
        parts = pipeline.evaluate_batch(pipeline.model, batch)
    assert torch.allclose(whole.logits, parts.logits, atol=1e-5)
    assert whole.predictions[0].text == parts.predictions[0].text
