from pathlib import Path

from tiny.samples import save_tiny_gpt2, sentences, write_csv


def make(folder: Path) -> None:
    write_csv(folder / "train.csv", sentences(64, 1))
    write_csv(folder / "eval.csv", sentences(32, 2))
    save_tiny_gpt2(folder / "gpt2")


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(model).state_dict()
