"""Labels in the names of files: classes and numbers, of images as of texts."""

from pathlib import Path

import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.path_labels import labels_of_paths
from ptm.data.tabular import load_dataset
from ptm.errors import DataError, Gathered


def write(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / name)
    return folder


def load(folder: Path, **options):
    return load_dataset(DataSpec(source=f"imagefolder:{folder}", **options), {"image": "image"})


def test_11_05_the_first_group_is_the_label_and_a_file_without_one_is_named(tmp_path):
    files = [tmp_path / "cat_1.png", tmp_path / "sub/dog_2.png"]
    gathered = Gathered()
    found = labels_of_paths([*files, tmp_path / "x.png"], tmp_path, r"([a-z]+)_\d+", gathered)
    assert found == {0: "cat", 1: "dog"}
    with pytest.raises(DataError, match=r"finds nothing in its name") as caught:
        gathered.refuse()
    assert "x.png" in str(caught.value)


def test_11_05_the_label_of_an_image_can_stand_in_its_name(tmp_path):
    write(
        tmp_path, *(f"{split}/{name}_{n}.png" for split in "tv" for name in ("cat", "dog") for n in range(2))
    )
    data = load(tmp_path, train="t", eval="v", label=r"([a-z]+)_\d+\.png$")
    assert data.labels == ("cat", "dog")
    assert data.train.targets.tolist() == [0, 0, 1, 1] and not data.warnings


def test_11_05_the_number_of_an_image_can_stand_in_its_name(tmp_path):
    write(tmp_path, *(f"{split}/{age}_0_{n}.png" for split in "tv" for age in (5, 31) for n in range(2)))
    data = load(tmp_path, train="t", eval="v", label=r"(\d+)_\d_\d\.png$", label_type="number")
    assert data.labels == () and data.train.targets.tolist() == [31, 31, 5, 5]


def test_11_05_class_folders_are_the_first_level_and_read_with_all_below(tmp_path):
    write(
        tmp_path,
        *(f"{split}/{name}/{sub}a.png" for split in "tv" for name in "xy" for sub in ("", "s/", "s/u/")),
    )
    data = load(tmp_path, train="t", eval="v")
    assert data.labels == ("x", "y") and data.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    # torchvision's ImageFolder, whose rule it is.
    from torchvision.datasets import ImageFolder

    theirs = ImageFolder(str(tmp_path / "t"))
    assert sorted((str(path), label) for path, label in theirs.samples) == sorted(
        (str(path), label)
        for path, label in zip(data.train.columns["image"], data.train.targets.tolist(), strict=True)
    )
    write(tmp_path / "t", "beside.png")
    warnings = [warning.what for warning in load(tmp_path, train="t", eval="v").warnings]
    assert "1 images beside the folders of the classes are left out" in warnings
