"""Tables that name image files: where these are looked for, what they add to the digest, which are missing."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from helpers import run
from ptm.config.load import parse_config
from ptm.config.spec import DataSpec
from ptm.data.file_column import Files
from ptm.data.image_files import left_out, leftovers, read_imagefolder
from ptm.data.tabular import load_dataset
from ptm.errors import DataError
from tiny.samples import write_parquet


@pytest.fixture
def listed(tmp_path) -> Path:
    """``data/train.csv`` names images in ``data/pictures/``, two colours; the working directory is another."""
    pictures = tmp_path / "data" / "pictures"
    pictures.mkdir(parents=True)
    rows = ["image,label"]
    for index in range(16):
        label = ("dark", "light")[index % 2]
        Image.new("RGB", (16, 16), (250 * (index % 2), 9 * index, 30)).save(pictures / f"{index}.png")
        rows.append(f"pictures/{index}.png,{label}")
    (tmp_path / "data" / "train.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def load(folder, **changes):
    data = DataSpec(source=f"csv:{folder / 'data' / 'train.csv'}", eval="25%", **changes)
    return load_dataset(data, {"image": "image"})


@pytest.mark.slow
def test_paths_in_a_table_are_relative_to_the_table(listed, monkeypatch):
    monkeypatch.chdir("/")
    spec = parse_config(
        f"""
version: 1
task: image-classification
model: {{name: resnet8, width: 2, weights: none}}
data: {{source: "csv:data/train.csv", eval: 25%, image_size: 16}}
train: {{epochs: 6, batch_size: 4, learning_rate: 0.05}}
runtime: {{device: cpu, threads: 1}}
output: {listed}/r
""",
        "run.yaml",
        base=listed,
        cwd=Path.cwd(),
    )
    assert run(spec)["metrics"]["accuracy"] == 1.0


def test_the_digest_covers_what_the_images_show(listed):
    before = load(listed).digests["train"]
    assert load(listed).digests["train"] == before
    Image.new("RGB", (16, 16), "red").save(listed / "data" / "pictures" / "3.png")
    assert load(listed).digests["train"] != before


def test_missing_files_are_named_with_their_rows(listed):
    for index in range(7):
        (listed / "data" / "pictures" / f"{index}.png").unlink()
    with pytest.raises(DataError) as caught:
        load(listed)
    first, *_, last = caught.value.problems
    assert len(caught.value.problems) == 6
    assert (first.what, first.where) == ("there is no image 'pictures/0.png'", f"{listed}/data/train.csv:2")
    assert first.expected == f"a file relative to {listed}/data, or an absolute path"
    assert last.what == "and 2 more rows like these"


def test_a_cell_without_a_name_is_refused_and_absolute_paths_are_taken(listed):
    table = listed / "data" / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], f"{listed}/data/{lines[1]}", *lines[2:]]) + "\n")
    assert str(load(listed).train.columns["image"][0]).startswith(str(listed / "data" / "pictures"))
    table.write_text("\n".join([lines[0], ",dark", *lines[2:]]) + "\n")
    with pytest.raises(DataError, match="no image is named"):
        load(listed)


def test_images_within_a_table_stay_as_they_are(listed):
    pictures = [(listed / "data" / "pictures" / f"{index}.png").read_bytes() for index in range(4)]
    named = [
        {"bytes": None, "path": "pictures/1.png"},
        *({"bytes": b, "path": "gone.png"} for b in pictures[1:]),
    ]
    write_parquet(listed / "data" / "t.parquet", image=named, label=["a", "b", "a", "b"])
    data = DataSpec(source=f"parquet:{listed / 'data' / 't.parquet'}", eval="25%")
    loaded = load_dataset(data, {"image": "image"})
    images = [*loaded.train.columns["image"], *loaded.eval.columns["image"]]
    assert sum(isinstance(image, Path) for image in images) == 1
    assert sum(isinstance(image, dict) for image in images) == 3


def test_a_folder_that_is_no_class_is_named_once(image_folder):
    data = DataSpec(source=f"imagefolder:{image_folder}", train="train", eval="val", labels=("disc", "red"))
    with pytest.raises(DataError) as caught:
        load_dataset(data, {"image": "image"})
    frame, stripes = caught.value.problems
    assert (frame.where, stripes.where) == tuple(
        str(image_folder / "train" / n) for n in ("frame", "stripes")
    )
    assert frame.what == "the folder is not one of the 2 labels"
    assert frame.expected == "one of disc, red"
    assert "folder" in frame.cure


def test_11_06_what_an_operating_system_leaves_is_skipped_and_counted(tmp_path):
    for name in ("a/1.png", "a/._1.png", "b/2.png", "__MACOSX/a/._1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    for name in ("a/.DS_Store", "a/Thumbs.db", "b/desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in read_imagefolder(tmp_path, None, "").columns["image"]] == ["1.png", "2.png"]
    told = leftovers(tmp_path)
    assert told is not None and told.what == (
        "5 files that an operating system left behind are skipped: "
        "1 .DS_Store, 1 ._*, 1 Thumbs.db, 1 __MACOSX, 1 desktop.ini"
    )
    assert left_out(tmp_path) is None and leftovers(tmp_path / "none") is None


def test_13_06_a_table_that_names_files_has_the_digest_of_their_bytes(listed):
    table = load(listed)
    rows = hashlib.sha256((listed / "data" / "train.csv").read_bytes()).hexdigest()
    sha = hashlib.sha256(rows.encode())
    for index in range(16):
        path = listed / "data" / "pictures" / f"{index}.png"
        sha.update(hashlib.sha256(path.read_bytes()).digest())
    assert table.digests["train"] == sha.hexdigest()
    assert isinstance(table.train.columns["image"], Files)
    there = {*table.train.columns["image"], *table.eval.columns["image"]}
    assert there == {listed / "data" / "pictures" / f"{index}.png" for index in range(16)}
    assert table.train.where(0) == f"{listed / 'data' / 'train.csv'}:2"


def test_13_06_a_folder_that_is_named_as_an_image_is_none(listed):
    (listed / "data" / "pictures" / "3.png").unlink()
    (listed / "data" / "pictures" / "3.png").mkdir()
    with pytest.raises(DataError, match=r"there is no image 'pictures/3\.png'"):
        load(listed)
