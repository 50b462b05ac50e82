from pathlib import Path

from tiny.samples import sentences


def make(folder: Path) -> None:
    for name, count, seed in (("train", 96, 1), ("eval", 40, 2)):
        (folder / f"{name}.txt").write_text("\n".join(text for text, _ in sentences(count, seed)) + "\n")


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForMaskedLM

    return AutoModelForMaskedLM.from_pretrained(model).state_dict()
