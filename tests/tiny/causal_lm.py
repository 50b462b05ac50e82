from pathlib import Path

from tiny.samples import sentences, write_csv


def make(folder: Path) -> None:
    write_csv(folder / "train.csv", sentences(64, 1))
    write_csv(folder / "eval.csv", sentences(32, 2))


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model).state_dict()
