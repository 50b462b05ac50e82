from pathlib import Path

from tiny.samples import save_tiny_bert, tagged_sentences, write_jsonl


def make(folder: Path) -> None:
    write_jsonl(folder / "train.jsonl", tagged_sentences(64, 1))
    write_jsonl(folder / "eval.jsonl", tagged_sentences(32, 2))
    save_tiny_bert(folder / "bert")


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForTokenClassification

    return AutoModelForTokenClassification.from_pretrained(model).state_dict()
