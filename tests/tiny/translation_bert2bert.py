from pathlib import Path

from tiny import translation
from tiny.samples import SPECIAL, save_base, save_tiny_bert


def make(folder: Path) -> None:
    translation.make(folder)
    save_tiny_bert(folder / "reader")
    save_writer(folder / "writer")


def save_writer(folder: Path) -> Path:
    """A BERT that knows the words of the target side, upper case and all."""
    from transformers import BertTokenizer

    words = [*SPECIAL, "das", "und", *translation.LEXICON.values()]
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, do_lower_case=False).save_pretrained(folder)
    return save_base(
        folder,
        "Bert",
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )


def strangers_state(model: Path) -> dict:
    from transformers import EncoderDecoderModel

    return EncoderDecoderModel.from_pretrained(model).state_dict()
