"""Each format from the file to a trained model's answers: check, training, eval, predict, and ``ptm init``."""

import json

import pytest

from ptm.cli.app import run
from tiny import prepare

SENTENCES = [
    (["the", "film", "by", "Anna", "Berg", "was", "good"], ["O", "O", "O", "B-PER", "I-PER", "O", "O"]),
    (["Rome", "is", "old"], ["B-LOC", "O", "O"]),
    (["see", "Anna", "in", "Rome"], ["O", "B-PER", "O", "B-LOC"]),
]


def conll(sentences=SENTENCES):
    return "\n\n".join("\n".join(map("\t".join, zip(*s, strict=True))) for s in sentences) + "\n"


def ptm(*arguments, code=0, capsys):
    capsys.readouterr()
    assert run(list(map(str, arguments))) == code
    return capsys.readouterr()


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A run trained on CoNLL columns, with splits of its own, and its folder."""
    folder = tmp_path_factory.mktemp("tagger")
    config = prepare("token-classification", folder)
    (folder / "c").mkdir()
    for n, split in enumerate(("train", "dev", "test")):
        tagged = [([f"w{n}", *words], ["O", *tags]) for words, tags in SENTENCES]
        (folder / "c" / f"{split}.conll").write_text(conll(tagged))
    source = [f"data.source=conll:{folder}/c", "data.train=train.conll", "data.eval=dev.conll"]
    changes = [
        *source,
        "data.test=test.conll",
        "train.epochs=1",
        f"output={folder}/run",
        "expect={}",
        "data.label=null",
    ]
    arguments = ["finetune", str(config), "--quiet"]
    for change in changes:
        arguments += ["--set", change]
    assert run(arguments) == 0
    return folder


def test_11_01_a_tagger_learns_from_conll_columns_and_reads_them(tagger, capsys):
    results = json.loads((tagger / "run" / "results.json").read_text())
    assert results["labels"] == ["B-LOC", "B-PER", "I-PER", "O"]
    config = tagger / "run" / "config.yaml"
    assert "3 examples" in ptm("check", config, "--data", capsys=capsys).out
    path = tagger / "c" / "dev.conll"
    own = json.loads(ptm("eval", tagger / "run", "--split", "dev.conll", "--json", capsys=capsys).out)
    other = json.loads(ptm("eval", tagger / "run", "--data", f"conll:{path}", "--json", capsys=capsys).out)
    assert own["metrics"] == other["metrics"]
    lines = ptm("predict", tagger / "run", path, "--quiet", capsys=capsys).out.splitlines()
    assert [json.loads(line)["input"] for line in lines] == [["w1", *words] for words, _ in SENTENCES]
    assert json.loads(lines[1])["where"] == f"{path}:10"


def test_11_01_a_line_that_is_wrong_is_refused_by_every_command(tagger, tmp_path, capsys):
    bad = tmp_path / "bad.txt"
    bad.write_text("a O\nb\n")
    for command in (("eval", tagger / "run", "--data"), ("predict", tagger / "run")):
        said = ptm(*command, f"conll:{bad}", code=3, capsys=capsys).err
        assert f"{bad}:2: 1 fields, the first line has 2" in said
        assert "to fix: correct the line" in said


def test_11_01_init_knows_tagged_words(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ner.txt").write_text(conll(SENTENCES * 4))
    said = ptm("init", "ner.txt", "--json", capsys=capsys).out
    record = json.loads(said)
    assert record["guesses"]["source"] == "conll"
    assert record["guesses"]["task"] == "token-classification"
    assert "a word a line with a tag" in record["reasons"]["source"]
    ptm("check", "ner.yaml", capsys=capsys)
