from pathlib import Path

from tiny.samples import save_tiny_bert, similar_sentences, write_csv


def make(folder: Path) -> None:
    write_csv(folder / "train.csv", similar_sentences(64, 1), ("text", "second", "score"))
    write_csv(folder / "eval.csv", similar_sentences(32, 2), ("text", "second", "score"))
    save_tiny_bert(folder / "bert")


def strangers_state(model: Path) -> dict:
    from transformers import AutoModel

    return AutoModel.from_pretrained(model).state_dict()
