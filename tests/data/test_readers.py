"""Each format from the file to a trained model's answers: check, training, eval, predict, and ``ptm init``."""

import gzip
import json
import shutil

import pytest

from annotation_samples import chosen, doccano, labelstudio, prodigy, task
from ptm.cli.app import run
from tiny import prepare
from workbook_samples import write_workbook

pytestmark = pytest.mark.slow

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


REVIEWS = [
    (f"a {word} film {n}", label) for n in range(4) for word, label in (("good", "pos"), ("bad", "neg"))
]


def written(kind, folder):
    """The same reviews in a format; what ``--data`` says of it."""
    texts = [text for text, _ in REVIEWS]
    if kind == "textfolder":
        for n, (text, label) in enumerate(REVIEWS):
            (folder / label).mkdir(exist_ok=True)
            (folder / label / f"{n}.txt").write_text(text + "\n")
        return f"textfolder:{folder}"
    if kind == "xlsx":
        return f"xlsx:{write_workbook(folder / 'a.xlsx', {'S': [['text', 'label'], *map(list, REVIEWS)]})}"
    if kind == "csv":
        lines = "\n".join(["label;text", *(f"{label};{text}" for text, label in REVIEWS)])
        (folder / "a.csv.gz").write_bytes(gzip.compress(lines.encode()))
        return f"csv:{folder}/a.csv.gz"
    records = {
        "fasttext": [f"__label__{label} {text}" for text, label in REVIEWS],
        "doccano": [json.dumps({"text": text, "label": [label]}) for text, label in REVIEWS],
        "labelstudio": [json.dumps([task(chosen(label), text=text) for text, label in REVIEWS])],
        "prodigy": [
            json.dumps({"text": text, "accept": [label], "answer": "accept"}) for text, label in REVIEWS
        ],
    }[kind]
    assert len(texts) == len(records) or kind == "labelstudio"
    name = "a.txt" if kind == "fasttext" else "a.json"
    (folder / name).write_text("\n".join(records) + "\n")
    return f"{kind}:{folder}/{name}"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A run trained on texts in folders, with a test split."""
    folder = tmp_path_factory.mktemp("classifier")
    config = prepare("text-classification", folder)
    for split in ("train", "dev", "test"):
        (folder / "t" / split).mkdir(parents=True)
        written("textfolder", folder / "t" / split)
        for file in (folder / "t" / split).rglob("*.txt"):
            file.write_text(f"{split} {file.read_text()}")
    source = [f"data.source=textfolder:{folder}/t", "data.train=train", "data.eval=dev", "data.test=test"]
    changes = [*source, "train.epochs=1", f"output={folder}/run", "expect={}", "data.labels=[neg, pos]"]
    arguments = ["finetune", str(config), "--quiet"]
    for change in changes:
        arguments += ["--set", change]
    assert run(arguments) == 0
    return folder / "run"


FORMATS = ["textfolder", "fasttext", "xlsx", "csv", "doccano", "labelstudio", "prodigy"]


def test_11_06_the_same_texts_are_the_same_in_every_format(classifier, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    measured, predicted = [], []
    for kind in FORMATS:
        folder = tmp_path / kind
        folder.mkdir()
        source = written(kind, folder)
        results = json.loads(ptm("eval", classifier, "--data", source, "--json", capsys=capsys).out)
        measured.append(results["metrics"])
        said = ptm("predict", classifier, source, capsys=capsys)
        predicted.append(sorted(json.loads(line)["input"] for line in said.out.splitlines()))
        assert ('between ";"' in said.err) == (kind == "csv")
        record = json.loads(
            ptm("init", source.partition(":")[2], "--output", f"{kind}.yaml", "--json", capsys=capsys).out
        )
        assert (record["guesses"]["source"], record["guesses"]["task"]) == (
            "json" if kind == "doccano" else kind,  # its labels of whole texts are plain JSON
            "text-classification",
        )
        ptm("check", f"{kind}.yaml", capsys=capsys)
    assert all(metrics == pytest.approx(measured[0]) for metrics in measured)
    assert predicted == [sorted(text for text, _ in REVIEWS)] * len(FORMATS)


def test_11_06_a_change_of_a_text_is_seen_by_a_lock(classifier, capsys):
    config, file = classifier.parent / "locked.yaml", classifier.parent / "t" / "train" / "pos" / "0.txt"
    shutil.copy(classifier / "config.yaml", config)
    before = file.read_text()
    ptm("lock", config, capsys=capsys)
    file.write_text("other")
    other = classifier.parent / "other"
    said = ptm("finetune", config, "--locked", "--output", other, "--quiet", code=2, capsys=capsys).err
    file.write_text(before)
    assert "data.train" in said
