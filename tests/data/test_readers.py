"""Each format from the file to a trained model's answers: check, training, eval, predict, and ``ptm init``."""

import json

import pytest

from annotation_samples import doccano, labelstudio, prodigy
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


def spans_of(words, tags):
    """Of the words with blanks between them: (start, end, label) of each entity."""
    found, place = [], 0
    for word, tag in zip(words, tags, strict=True):
        if tag.startswith("B-"):
            found.append((place, place + len(word), tag[2:]))
        elif tag.startswith("I-"):
            found[-1] = (found[-1][0], place + len(word), tag[2:])
        place += len(word) + 1
    return found


def exported(kind, sentences=SENTENCES):
    make = {"prodigy": prodigy, "labelstudio": labelstudio, "doccano": doccano}[kind]
    records = [make(" ".join(words), spans_of(words, tags)) for words, tags in sentences]
    return json.dumps(records) if kind == "labelstudio" else "\n".join(map(json.dumps, records))


@pytest.mark.parametrize("kind", ["prodigy", "labelstudio", "doccano"])
def test_11_02_exports_of_annotation_tools(tagger, tmp_path, capsys, monkeypatch, kind):
    sentences = [(["w1", *words], ["O", *tags]) for words, tags in SENTENCES]
    path = tmp_path / "export.json"
    path.write_text(exported(kind, sentences))
    columns = f"conll:{tagger}/c/dev.conll"
    measured = [
        json.loads(ptm("eval", tagger / "run", "--data", source, "--json", capsys=capsys).out)["metrics"]
        for source in (columns, f"{kind}:{path}")
    ]
    assert measured[0] == measured[1]
    lines = ptm("predict", tagger / "run", f"{kind}:{path}", "--quiet", capsys=capsys).out.splitlines()
    assert [json.loads(line)["input"] for line in lines] == [" ".join(words) for words, _ in sentences]
    monkeypatch.chdir(tmp_path)
    path.write_text(
        exported(kind, [([*words, str(n)], [*tags, "O"]) for n in range(4) for words, tags in SENTENCES])
    )
    record = json.loads(ptm("init", path, "--output", "c.yaml", "--json", capsys=capsys).out)
    assert (record["guesses"]["source"], record["guesses"]["task"]) == (kind, "token-classification")
    checked = ptm("check", "c.yaml", "--data", "--set", "model.name=bert-base-uncased", code=6, capsys=capsys)
    assert "words by label: B-LOC" in checked.out


def test_11_01_init_knows_tagged_words(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ner.txt").write_text(conll(SENTENCES * 4))
    said = ptm("init", "ner.txt", "--json", capsys=capsys).out
    record = json.loads(said)
    assert record["guesses"]["source"] == "conll"
    assert record["guesses"]["task"] == "token-classification"
    assert "a word a line with a tag" in record["reasons"]["source"]
    ptm("check", "ner.yaml", capsys=capsys)
