"""``ptm init``: a config from data of each kind, which passes the check; examples; nothing is overwritten."""

import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.cli.app import run
from ptm.config.examples import examples_folder
from ptm.config.load import load_config
from ptm.config.spec import DataSpec
from ptm.data.guess import guess
from ptm.data.tabular import load_dataset

WORDS = ("good", "fine", "bad", "poor")


def lines(folder, name, rows):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


def picture(path, shade, size=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(shade).integers(0, 40, (size, size, 3))
    Image.fromarray((noise + shade).astype(np.uint8)).save(path)


def a_csv(folder):
    lines(
        folder,
        "reviews.csv",
        ["id;review;mood"] + [f'{i};"a film, so {WORDS[i % 4]} {i}";{"ab"[i % 2]}' for i in range(40)],
    )
    return (
        folder / "reviews.csv",
        "text-classification",
        {"delimiter": ";", "text": "review", "label": "mood", "eval": "20%", "labels": ["a", "b"]},
    )


def tsv_files(folder):
    for split, count in (("train", 24), ("dev", 8), ("test", 8)):
        rows = [f"{WORDS[i % 4]} {split} {i}\tso {i}\t{i % 2}" for i in range(count)]
        lines(folder, f"{split}.tsv", ["sentence1\tsentence2\tlabel", *rows])
    return (
        folder,
        "text-classification",
        {
            "train": "train.tsv",
            "eval": "dev.tsv",
            "test": "test.tsv",
            "text": "sentence1",
            "text_pair": "sentence2",
        },
    )


def several_labels(folder):
    rows = [
        {"text": f"{WORDS[i % 4]} {i}", "labels": [["x"], ["x", "y"], [], ["y"]][i % 4]} for i in range(40)
    ]
    lines(folder, "all.jsonl", map(json.dumps, rows))
    return (
        folder / "all.jsonl",
        "text-classification",
        {"label": "labels", "label_type": "classes", "labels": ["x", "y"]},
    )


def numbers(folder):
    lines(folder, "stars.csv", ["text,score"] + [f"{WORDS[i % 4]} {i},{i / 7:.2f}" for i in range(40)])
    return folder / "stars.csv", "text-classification", {"label": "score", "label_type": "number"}


def tags(folder):
    rows = [{"tokens": ["see", "Rome", str(i)], "tags": ["O", "B-LOC", "O"]} for i in range(30)]
    lines(folder, "tags.jsonl", map(json.dumps, rows))
    return folder / "tags.jsonl", "token-classification", {"text": "tokens", "labels": ["O", "B-LOC"]}


def questions(folder):
    rows = [
        {"question": "who?", "context": f"Ada {i} wrote", "answers": {"text": ["Ada"], "answer_start": [0]}}
        for i in range(30)
    ]
    lines(folder, "all.jsonl", map(json.dumps, rows))
    return folder / "all.jsonl", "question-answering", {"eval": "20%"}


def texts(folder):
    lines(folder, "train.txt", [f"a line of {WORDS[i % 4]} words, number {i}" for i in range(60)])
    lines(folder, "valid.txt", [f"other lines are {WORDS[i % 4]}, {i}" for i in range(20)])
    return folder, "masked-lm", {"train": "train.txt", "eval": "valid.txt"}


def translations(folder):
    rows = [f"the {WORDS[i % 4]} house {i},das Haus {i}" for i in range(60)]
    lines(folder, "pairs.csv", ["en,de", *rows])
    return folder / "pairs.csv", "translation", {"text": "en", "target_text": "de"}


def image_folder(folder):
    for split, count in (("train", 6), ("val", 2)):
        for i in range(count):
            for name, shade in (("dark", 10), ("light", 180)):
                picture(folder / split / name / f"{i}.png", shade + i)
    return folder, "image-classification", {"train": "train", "eval": "val"}


def table_of_images(folder):
    for i in range(12):
        picture(folder / f"p/{i}.png", 20 * i)
    lines(
        folder, "train.csv", ["file,class"] + [f"p/{i}.png,{'low' if i < 6 else 'high'}" for i in range(12)]
    )
    return (
        folder / "train.csv",
        "image-classification",
        {"image": "file", "label": "class", "labels": ["high", "low"]},
    )


def coco(folder):
    for split, count in (("train", 4), ("val", 2)):
        images, boxes = [], []
        for i in range(count):
            picture(folder / f"{split}2017/{i}.png", 30 * i + len(split), 64)
            images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 64})
            boxes.append(
                {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0}
            )
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    return folder, "object-detection", {"train": "instances_train2017.json", "eval": "instances_val2017.json"}


def voc(folder):
    from tiny.object_detection import write_annotation

    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for i in range(6):
        picture(folder / f"JPEGImages/{i}.png", 30 * i, 64)
        write_annotation(folder / f"Annotations/{i}.xml", (64, 64), [("cat", (5, 5, 30, 30))])
    (folder / "ImageSets/Main/train.txt").write_text("0\n1\n2\n3\n")
    (folder / "ImageSets/Main/val.txt").write_text("4\n5\n")
    return folder, "object-detection", {"train": "train", "eval": "val"}


def masks(folder):
    for i in range(6):
        picture(folder / f"images/{i}.png", 30 * i, 64)
        mask = np.zeros((64, 64), np.uint8)
        mask[:20], mask[40:, :30], mask[:3, :3] = 1, 2, 255
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / f"masks/{i}.png")
    return folder, "semantic-segmentation", {"mask_values": [0, 1, 2], "ignore_value": 255, "eval": "20%"}


MAKERS = (
    a_csv,
    tsv_files,
    several_labels,
    numbers,
    tags,
    questions,
    texts,
    translations,
    image_folder,
    table_of_images,
    coco,
    voc,
    masks,
)


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_12_08_data_of_each_kind_make_a_config_that_passes_the_check(make, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PTM_OFFLINE", "1")
    data, task, guesses = make(tmp_path / "data")
    assert run(["init", str(data), "--output", "run.yaml", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["guesses"]["task"] == task
    assert {key: record["guesses"].get(key) for key in guesses} == guesses
    assert set(guesses) <= set(record["reasons"])  # each with what led to it
    text = Path("run.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=ptm.schema.json\n")
    assert json.loads(Path("ptm.schema.json").read_text())["title"] == "A run of ptm"
    spec = load_config(Path("run.yaml"))
    assert spec.data.source == f"{record['guesses']['source']}:{data}"
    assert run(["check", "run.yaml", "--data"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_12_08_a_written_config_is_trained_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTM_OFFLINE", "1")
    data, _, _ = texts(tmp_path / "data")
    lines(data, "test.txt", [f"others again, {WORDS[i % 4]} ones: {i}" for i in range(25)])
    assert run(["init", str(data), "--output", "run.yaml"]) == 0
    assert "  test: test.txt  # measured once" in Path("run.yaml").read_text()
    assert run(["pretrain", "run.yaml"]) == 0, capsys.readouterr().err
    results = json.loads(Path("runs/run/results.json").read_text())
    assert results["status"] == "done" and results["test"]["split"] == "test.txt"
    assert Path("runs/run/model/model.safetensors").is_file()


HEAD, ROWS = "text,label", ["good one,a", "fine one,a", "bad one,b", "poor one,b"] * 4


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ([HEAD, *ROWS], None),
        (["text", "good one", "bad one"], "it has no column label"),
        ([HEAD, "good one,a", "bad one,-1"], "label is '-1', which no example of train has (test.csv:3)"),
        ([HEAD], "no rows below the header"),
    ],
)
def test_12_08_a_test_split_is_guessed_where_it_can_be_measured(tmp_path, test, reason):
    for split in ("train", "valid"):
        lines(tmp_path, f"{split}.csv", [HEAD, *ROWS])
    lines(tmp_path, "test.csv", test)
    found = guess(tmp_path)
    assert (found.data["train"], found.data["eval"]) == ("train.csv", "valid.csv")
    assert found.data.get("test") == ("test.csv" if reason is None else None)
    assert reason is None or found.reasons["test"] == f"test.csv is left out: {reason}"


def test_12_08_a_test_folder_without_classes_is_left_out(tmp_path):
    data, _, _ = image_folder(tmp_path / "data")
    for i in range(2):
        picture(data / "test/unknown" / f"{i}.png", 90)
    found = guess(data)
    assert "test" not in found.data and "not the classes of train" in found.reasons["test"]
    (data / "test/unknown").rename(data / "test/dark")
    assert guess(data).data["test"] == "test"


def test_12_08_the_rows_that_led_to_a_guess_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data, _, _ = a_csv(tmp_path / "d")
    assert run(["init", str(data)]) == 0
    out = capsys.readouterr().out
    assert (
        "text: review  (reviews.csv:2: 'a film, so good 0')\n" in out
        and "next: ptm check reviews.yaml --data" in out
    )
    assert "  label: mood  # reviews.csv:2: 'a'\n" in Path("reviews.yaml").read_text()


def test_12_08_nothing_is_overwritten_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data, _, _ = a_csv(tmp_path / "d")
    Path("reviews.yaml").write_text("task: translation")
    Path("ptm.schema.json").write_text("mine, too")
    assert run(["init", str(data)]) == 2 and "--overwrite" in capsys.readouterr().err
    assert Path("reviews.yaml").read_text() == "task: translation"
    assert run(["init", str(data), "--overwrite"]) == 0
    assert (
        Path("reviews.yaml").read_text() != "task: translation"
        and Path("ptm.schema.json").read_text() == "mine, too"
    )


def test_12_08_a_task_that_is_said_wins_and_must_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data, _, _ = a_csv(tmp_path / "d")
    assert run(["init", str(data), "--task", "causal-lm"]) == 0
    spec = load_config(Path("reviews.yaml"))
    assert (spec.task, spec.data.text, spec.model.name) == ("causal-lm", "review", "new:gpt2")
    assert run(["init", str(data), "--task", "object-detection", "--overwrite"]) == 2
    assert "does not read csv: data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["x", "--list"], ["nowhere"], ["--example", "quickstrat"], ["x", "--task", "y"]]
)
def test_12_08_what_cannot_be_made_a_config_is_told(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    assert run(["init", *words, "--json"]) in (2, 3)
    assert json.loads(capsys.readouterr().out)["error"]["problems"][0]["where"]
    assert not list(tmp_path.glob("*.yaml"))


def test_12_08_examples_are_listed_and_copied_with_their_samples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--list", "--json"]) == 0
    examples = json.loads(capsys.readouterr().out)["examples"]
    assert {e["name"] for e in examples} == {file.stem for file in examples_folder().glob("*.yaml")}
    assert all(e["about"] for e in examples)
    assert run(["init", "--example", "quickstart"]) == 0
    assert (tmp_path / "quickstart.yaml").read_bytes() == (examples_folder() / "quickstart.yaml").read_bytes()
    assert (tmp_path / "samples/reviews_train.csv").is_file()
    assert load_config(tmp_path / "quickstart.yaml").data.source == f"csv:{tmp_path}/samples"
    assert run(["init", "--example", "quickstart"]) == 2
    assert run(["init", "--example", "digits_resnet.yaml", "--output", "deep/mine.yaml"]) == 0
    shutil.rmtree("deep")


def test_12_08_the_examples_travel_in_the_wheel():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"configs": "ptm/examples"}


def twenty_reviews(folder, name="reviews.csv"):
    lines(folder, name, ["text,label", *(f"a film number {i},{'ab'[i % 2]}" for i in range(20))])
    return folder / name


@pytest.mark.parametrize("folder", ["x\nruntime: {device: cpu}\n#", "x\rseed: 1\r#", "x\u2028y"])
def test_15_02_a_name_of_data_puts_no_key_into_the_config(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(["init", str(twenty_reviews(tmp_path / folder))])
    capsys.readouterr()
    for config in tmp_path.glob("*.yaml"):
        keys = {line.partition(":")[0] for line in config.read_text().splitlines() if line[:1].isalpha()}
        assert keys == {"version", "task", "model", "data", "train", "best", "output"}
        assert load_config(config).runtime.device == "auto"


@pytest.mark.parametrize("name", ["x; touch PWNED;", "$(touch PWNED)", "-rf", "a b", "a'b"])
def test_15_02_the_command_that_is_proposed_is_one_command(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    twenty_reviews(tmp_path, f"{name}.csv")
    assert run(["init", f"./{name}.csv", "--json"]) == 0
    (_, check, config, data) = shlex.split(json.loads(capsys.readouterr().out)["next"])
    assert (check, data) == ("check", "--data") and Path(config) == Path(f"{name}.yaml")
    assert not config.startswith("-")
    assert run(["init", f"./{name}.csv", "--overwrite"]) == 0
    proposed = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    assert shlex.split(proposed) == ["ptm", "check", config, "--data"]


def test_15_04_overwrite_replaces_configs_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = twenty_reviews(tmp_path / "data", "train.csv")
    mine = {
        "notes.txt": "two years of work\n",
        "diary.md": "# of two years\n# of work\n",
        "todo.yaml": "task: buy milk\n",
        "folds.json": '{"task": "text-classification", "over_folds": {}}',
        "list.yaml": "- task\n",
    }
    for name, content in mine.items():
        Path(name).write_text(content)
    for output in ("data/train.csv", *mine):
        before = Path(output).read_bytes()
        assert run(["init", "data", "--output", output, "--overwrite"]) == 2
        assert "holds what is no config" in capsys.readouterr().err
        assert Path(output).read_bytes() == before
    assert table.exists() and not Path("data/ptm.schema.json").exists()
    Path("mine.yaml").write_text("task: text-classification  # my own\n")
    Path("empty.yaml").write_text("\n")
    for output in ("mine.yaml", "empty.yaml", "empty.yaml"):
        assert run(["init", "data", "--output", output, "--overwrite"]) == 0


@pytest.mark.slow
def test_15_06_nothing_is_written_into_a_run(tmp_path, monkeypatch, capsys, finished):
    table = twenty_reviews(tmp_path)
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    for words in (
        ["--output", str(finished / "config.yaml"), "--overwrite"],
        ["--output", str(finished / "model/x.yaml")],
    ):
        assert run(["init", str(table), *words]) == 2
        assert "would lie in" in capsys.readouterr().err
    monkeypatch.chdir(finished)
    assert run(["init", str(table)]) == 2 and run(["init", "--example", "quickstart"]) == 2
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_15_06_nothing_is_written_into_an_export(tmp_path, monkeypatch, capsys):
    table, place = twenty_reviews(tmp_path), tmp_path / "reviews-onnx"
    (place / "model").mkdir(parents=True)
    (place / "config.yaml").write_text("task: text-classification\n")
    (place / "manifest.json").write_text('{"files": {"export.json": {}, "config.yaml": {}}}')
    for name in ("config.yaml", "new.yaml", "model/new.yaml"):
        assert run(["init", str(table), "--output", str(place / name), "--overwrite"]) == 2
        assert "would lie in an export" in capsys.readouterr().err
    assert (place / "config.yaml").read_text() == "task: text-classification\n"


def test_15_16_a_label_that_is_a_book_is_not_printed_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"a film,{'x' * 9000}\na soup,{'y' * 9000}\n" for _ in range(10))
    (tmp_path / "t.csv").write_text("text,label\n" + rows)
    assert run(["init", "t.csv"]) == 0
    assert len(capsys.readouterr().out) < 5000


def test_15_01_samples_are_not_written_through_a_link(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("elsewhere").mkdir()
    Path("samples").symlink_to("elsewhere")
    assert run(["init", "--example", "quickstart"]) == 3
    assert "is a symbolic link" in capsys.readouterr().err
    Path("samples").unlink()
    Path("samples").mkdir()
    Path("samples/reviews_train.csv").symlink_to("../elsewhere/new")
    assert run(["init", "--example", "quickstart"]) == 3
    assert "is a symbolic link" in capsys.readouterr().err
    assert not list(Path("elsewhere").iterdir()) and not Path("quickstart.yaml").exists()
    assert len(list(Path("samples").iterdir())) == 1, "what is refused leaves nothing"


@pytest.mark.parametrize("stray", ["pipe", "device"])
def test_15_17_no_pipe_or_device_is_read_for_a_guess(stray, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    twenty_reviews(tmp_path / "data", "train.csv")
    if stray == "pipe":
        os.mkfifo("data/a.json")
    else:
        Path("data/a.json").symlink_to("/dev/zero")
    assert run(["init", "data"]) == 0
    os.mkfifo("p.csv")
    assert run(["init", "p.csv"]) == 3
    assert "is a named pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        (
            "a.csv",
            b"text,label\n" + b"".join(b"film %d,%s\n" % (i, b"9" * (i % 2 * 4999 + 1)) for i in range(20)),
            0,
        ),
        ("a.csv", b"text,label\n" + b"x" * 200_000 + b",a\ny,b\n", 0),
        ("a.csv", b"text,label\n" + b"x" * 10_000_001 + b",a\ny,b\n", 3),
        ("a.parquet", b"PAR1 and no more", 3),
        ("masks/images/m.png", b"", 3),
    ],
    ids=["digits", "long-field", "longer-field", "parquet", "masks"],
)
def test_15_17_damaged_data_are_told_by_init(name, content, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    if name.startswith("masks"):
        Path("masks/masks").mkdir()
        Path("masks/masks/m.png").write_bytes(b"no image")
        Path("masks/masks/Thumbs.db").write_bytes(b"no image")
        assert run(["init", "masks"]) == 0  # check --data says what is wrong with them
    else:
        assert run(["init", name]) == code
    assert "bug" not in capsys.readouterr().err


def test_11_01_files_of_conll_2003_and_fasttext_go_by_their_endings(tmp_path):
    sentences = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nsaid VBD I-VP O\n\nPeter NNP I-NP I-PER\n\n"
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / name).write_text(sentences)
    about = guess(tmp_path)
    assert (about.kind, about.task) == ("conll", "token-classification")
    assert [about.data[split] for split in ("train", "eval", "test")] == [
        "eng.train",
        "eng.testa",
        "eng.testb",
    ]
    for name in ("cooking.train", "cooking.valid"):
        (tmp_path / "cooking").mkdir(exist_ok=True)
        (tmp_path / "cooking" / name).write_text("__label__a __label__b how\n__label__a what\n")
    about = guess(tmp_path / "cooking")
    assert [about.data[split] for split in ("train", "eval")] == ["cooking.train", "cooking.valid"]


def test_11_01_the_words_of_conllu_are_not_their_numbers(tmp_path):
    words = (
        "# a\n1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_\n2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\tSpaceAfter=No\n\n"
    )
    (tmp_path / "a.conllu").write_text(words)
    about = guess(tmp_path / "a.conllu")
    assert (about.data["text"], about.data["label"]) == ("1", "3")
    assert "'I' has the tag 'PRON'" in about.reasons["task"]


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-16", "utf-16"), ("cp1252", "windows-1252"), ("utf-8", None)]
)
def test_11_01_an_encoding_is_guessed_and_said(encoding, said, tmp_path):
    (tmp_path / "a.tsv").write_bytes("text\tlabel\nschön – gut\tja\nübel\tnein\n".encode(encoding))
    about = guess(tmp_path / "a.tsv")
    assert about.data.get("encoding") == said
    assert about.task == "text-classification" and about.data["labels"] == ["ja", "nein"]


def test_11_01_columns_of_flags_are_labels_and_no_texts(tmp_path):
    rows = "id,comment_text,toxic,threat\n1,you,1,True\n2,fine,0,False\n3,hm,,FALSE\n4,x,1.0,true\n"
    (tmp_path / "a.csv").write_text(rows)
    about = guess(tmp_path / "a.csv")
    assert about.task == "text-classification"
    assert (about.data["text"], about.data["labels_from"]) == ("comment_text", ["toxic", "threat"])
    assert guess(tmp_path / "a.csv", "masked-lm").data["text"] == "comment_text"


def test_11_01_a_line_for_excel_is_no_header_of_a_guess(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("sep=,\ntext,label\nfine,good\nnot,bad\n")
    assert run(["init", str(tmp_path / "a.csv"), "--output", str(tmp_path / "c.yaml")]) == 3
    assert "'sep=,' is a line for Excel" in capsys.readouterr().err


def init(capsys, path, code=0):
    target = path.parent / "c.yaml"
    assert run(["init", str(path), "--output", str(target), "--overwrite"]) == code
    said = capsys.readouterr()
    return target.read_text() if code == 0 else said.err


def test_11_01_classes_of_words_are_measured_by_their_accuracy(tmp_path, capsys):
    rows = "1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_\n2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_\n\n"
    (tmp_path / "a.conllu").write_text(rows)
    assert "best: {metric: accuracy}" in init(capsys, tmp_path / "a.conllu")
    lines(tmp_path, "pos.jsonl", ['{"tokens": ["I", "do"], "tags": ["PRON", "AUX"]}'])
    assert "best: {metric: accuracy}" in init(capsys, tmp_path / "pos.jsonl")
    lines(tmp_path, "ner.jsonl", ['{"tokens": ["I", "do"], "tags": ["B-PER", "O"]}'])
    assert "best: {metric: f1}" in init(capsys, tmp_path / "ner.jsonl")


def test_11_01_a_mark_of_a_document_hides_no_columns(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("-DOCSTART- -X- O\n\nAnna -X- _ B-PER\ncame -X- _ O\n\nso -X- _ O\n")
    assert "source: conll:" in init(capsys, tmp_path / "a.txt")


SPANS = [{"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]}]


@pytest.mark.parametrize("cell", [SPANS, {"choices": ["PER", "LOC"]}], ids=["spans", "choices"])
def test_11_01_what_annotation_tools_write_into_a_table_is_no_label(cell, tmp_path, capsys):
    written = json.dumps(cell).replace('"', '""')
    lines(tmp_path, "a.csv", ["text,label", "Bo is,", f'Anna is,"{written}"', f'Anna was,"{written}"'])
    said = init(capsys, tmp_path / "a.csv", 3)
    assert "a.csv:3: label holds no name of a label but" in said
    assert "export as JSON" in said
    for kind in ("class", "classes"):
        config = f"""version: 1
task: text-classification
model: {{name: bert-base-uncased}}
data: {{source: "csv:{tmp_path}/a.csv", eval: 50%, label_type: {kind}}}
train: {{epochs: 1, batch_size: 2, learning_rate: 1e-3}}
output: r
"""
        (tmp_path / "c.yaml").write_text(config)
        assert run(["check", str(tmp_path / "c.yaml"), "--data"]) == 3
        said = capsys.readouterr().err
        assert "a.csv:3: " in said and "export as JSON" in said


def test_11_01_cvats_own_file_and_marks_in_json_min_are_told(tmp_path, capsys):
    (tmp_path / "annotations.xml").write_text(
        '<?xml version="1.0"?>\n<annotations><version>1.1</version></annotations>'
    )
    assert "CVAT for images" in init(capsys, tmp_path / "annotations.xml", 3)
    box = {"x": 1, "y": 1, "width": 9, "height": 9, "original_width": 40, "rectanglelabels": ["cat"]}
    (tmp_path / "min.json").write_text(
        json.dumps([{"image": "/data/a.jpg"}, {"image": "/data/b.jpg", "label": [box]}])
    )
    assert "of images" in init(capsys, tmp_path / "min.json", 3)


def test_11_02_the_task_that_is_said_decides_which_labels_are_shown(tmp_path):
    choice = {"from_name": "mood", "type": "choices", "value": {"choices": ["good"]}}
    span = {"from_name": "ner", "type": "labels", "value": SPANS[0]}
    task = {"data": {"text": "Anna is"}, "annotations": [{"result": [span, choice]}]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    assert "B-PER" in guess(tmp_path / "a.json").reasons["labels read"]
    assert "good 1" in guess(tmp_path / "a.json", "text-classification").reasons["labels read"]
    overlap = {**span, "value": {**SPANS[0], "labels": ["X"]}}
    task["annotations"][0]["result"] = [span, overlap]
    (tmp_path / "a.json").write_text(json.dumps([task]))
    assert run(["init", str(tmp_path / "a.json"), "--output", str(tmp_path / "c.yaml")]) == 3


KINDS_OF_TEXT = {
    "a.conll": ("café B-X\nb O\n\nso O\n", "conll"),
    "a.txt": ("__label__x café\n__label__y b\n", "fasttext"),
    "b.txt": ("un café __label__x\nb __label__y\n", "fasttext"),
    "c.txt": ("un café\nbon\n", "text"),
    "a.jsonl": ('{"text": "un café", "accept": ["x"], "answer": "accept"}\n', "prodigy"),
    "b.json": ('[{"text": "Café", "label": []}, {"text": "Café", "label": [[0, 4, "X"]]}]', "doccano"),
}


@pytest.mark.parametrize("name", KINDS_OF_TEXT)
@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-16", "utf-16"), ("cp1252", "windows-1252"), ("utf-8", None)]
)
def test_11_01_kinds_of_texts_are_known_in_any_encoding(name, encoding, said, tmp_path):
    content, kind = KINDS_OF_TEXT[name]
    (tmp_path / name).write_bytes(content.encode(encoding))
    about = guess(tmp_path / name)
    assert (about.kind, about.data.get("encoding")) == (kind, said)


def test_11_01_the_encoding_of_texts_in_folders_is_said(tmp_path):
    for name in ("x/1.txt", "y/1.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes("un café".encode("cp1252") if name[0] == "y" else b"tea")
    assert guess(tmp_path).data["encoding"] == "windows-1252"


@pytest.mark.parametrize("column", ["text", "image"])
def test_11_01_flags_of_which_any_number_apply_are_classes(column, tmp_path):
    cells = [f"{WORDS[i]} {i}" if column == "text" else f"{i}.png" for i in range(4)]
    rows = [f"{cell},{i % 2},{i // 2}" for i, cell in enumerate(cells)]
    lines(tmp_path, "several.csv", [f"{column},cat,dog", *rows])
    about = guess(tmp_path / "several.csv")
    assert (about.data["labels_from"], about.data["label_type"]) == (["cat", "dog"], "classes")
    assert about.task == ("text-classification" if column == "text" else "image-classification")
    assert about.reasons["label_type"] == "0 of them are 1 in several.csv:2"
    lines(
        tmp_path, "one.csv", [f"{column},cat,dog", *(f"{c},{i % 2},{1 - i % 2}" for i, c in enumerate(cells))]
    )
    assert "label_type" not in guess(tmp_path / "one.csv").data


def test_11_03_rows_that_cannot_be_read_hide_no_label_in_silence(tmp_path, capsys):
    lines(tmp_path, "a.csv", ["text,label", "a,x", '"b,y', "c,x", "d,y"])
    assert "a.csv:2: every row that can be read has the label 'x'" in init(capsys, tmp_path / "a.csv", 3)


def test_11_06_names_of_images_may_hold_classes(tmp_path, capsys):
    (tmp_path / "d").mkdir()
    picture(tmp_path / "d" / "cat_1.png", 3)
    assert "data.label" in init(capsys, tmp_path / "d", 3)


def test_11_04_the_schema_beside_a_config_is_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines(
        tmp_path, "a.jsonl", [json.dumps({"text": f"{WORDS[i % 4]} {i}", "label": i % 2}) for i in range(8)]
    )
    (tmp_path / "ptm.schema.json").write_text("{\n}")
    assert guess(tmp_path).data["train"] == "a.jsonl"
    for source in ("json:.", "json:*.json*", "json:*"):
        assert len(load_dataset(DataSpec(source=source, eval="50%"), {"text": "text"}).train) == 4
