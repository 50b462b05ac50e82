import random
from pathlib import Path

from tiny.samples import write_csv

# Word by word, with the order of the last two turned: what a copy of the source cannot get right.
LEXICON = {
    "good": "gut", "bad": "schlecht", "old": "alt", "new": "neu",
    "film": "Film", "soup": "Suppe", "book": "Buch", "phone": "Telefon",
}  # fmt: skip
QUALITIES, THINGS = list(LEXICON)[:4], list(LEXICON)[4:]


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """(source, target): "the good film" and "der Film gut", and longer ones joined with "and"."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        phrases = [(draw.choice(QUALITIES), draw.choice(THINGS)) for _ in range(draw.randrange(1, 3))]
        source = " and ".join(f"the {quality} {thing}" for quality, thing in phrases)
        target = " und ".join(f"das {LEXICON[thing]} {LEXICON[quality]}" for quality, thing in phrases)
        rows.append((source, target))
    return rows


def make(folder: Path) -> None:
    write_csv(folder / "train.csv", pairs(256, 1), header=("en", "de"))
    write_csv(folder / "eval.csv", pairs(24, 2), header=("en", "de"))


def strangers_state(model: Path) -> dict:
    from transformers import AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM.from_pretrained(model).state_dict()
