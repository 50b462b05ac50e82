from pathlib import Path

from tiny.samples import questions, save_tiny_bert, squad_json, write_jsonl


def make(folder: Path) -> None:
    (folder / "train.json").write_text(squad_json(questions(96, 1)), encoding="utf-8")
    write_jsonl(folder / "eval.jsonl", [row for _, row in questions(24, 2)])
    save_tiny_bert(folder / "bert", ["what"])


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForQuestionAnswering

    return AutoModelForQuestionAnswering.from_pretrained(model).state_dict()
