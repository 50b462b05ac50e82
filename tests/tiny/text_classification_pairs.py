from pathlib import Path

from tiny.samples import paired_sentences, save_tiny_bert, write_csv


def make(folder: Path) -> None:
    write_csv(folder / "train.csv", paired_sentences(64, 1), ("text", "second", "label"))
    write_csv(folder / "eval.csv", paired_sentences(32, 2), ("text", "second", "label"))
    save_tiny_bert(folder / "bert")


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(model).state_dict()
