from pathlib import Path

from tiny.samples import rated_sentences, save_tiny_bert, write_csv


def make(folder: Path) -> None:
    for name, count, seed in (("train", 64, 1), ("eval", 32, 2)):
        rows = [(text, number) for text, _, number in rated_sentences(count, seed)]
        write_csv(folder / f"{name}.csv", rows, ("text", "number"))
    save_tiny_bert(folder / "bert")


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(model).state_dict()
