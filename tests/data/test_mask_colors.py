"""Colours that stand for classes: in a config, and in the files that data sets carry."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.guess import guess
from ptm.data.mask_colors import read_colors
from ptm.data.masks import IGNORED, load_masks
from ptm.errors import ConfigError, DataError

COLORS = {"road": "#804080", "sky": "#8080ff", "void": "#000000"}
CLASSES = np.array([[0, 0, 1, 1], [2, 0, 1, 2]], np.uint8)
PALETTE = np.array([[0x80, 0x40, 0x80], [0x80, 0x80, 0xFF], [0, 0, 0]], np.uint8)


def write(folder, count=4, palette=False):
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((2, 4, 3), 10 * i, np.uint8)).save(folder / f"images/{i}.png")
        if palette:
            mask = Image.fromarray(CLASSES)
            mask.putpalette(PALETTE.tobytes())
        else:
            mask = Image.fromarray(PALETTE[CLASSES])
        mask.save(folder / f"masks/{i}.png")
    return folder


def load(folder, **data):
    return load_masks(DataSpec(source=f"masks:{folder}", **({"eval": "25%", "mask_colors": COLORS} | data)))


@pytest.mark.parametrize("palette", [False, True])
def test_11_03_colors_become_classes_in_the_order_of_their_names(tmp_path, palette):
    data = load(write(tmp_path, palette=palette), ignore_label="void")
    mask = data.train.columns["mask"][0]
    assert data.labels == ("road", "sky") and mask.pixels == (3, 3) and mask.values == (0, 1)
    np.testing.assert_array_equal(mask.classes(), np.where(CLASSES == 2, IGNORED, CLASSES))
    turned = load(tmp_path, labels=("sky", "road"), ignore_label="void").train.columns["mask"][0]
    np.testing.assert_array_equal(turned.classes(), np.where(CLASSES == 2, IGNORED, 1 - CLASSES))
    assert load(tmp_path).labels == ("road", "sky", "void")


def test_11_03_a_palette_without_colors_counts_by_its_numbers(tmp_path):
    data = load(write(tmp_path, palette=True), mask_colors=None)
    assert data.labels == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.columns["mask"][0].classes(), CLASSES)


def test_11_03_an_unknown_color_is_refused_with_file_pixel_and_color(tmp_path):
    write(tmp_path)
    pixels = PALETTE[CLASSES]
    pixels[1, 2] = (1, 2, 3)
    Image.fromarray(pixels).save(tmp_path / "masks/2.png")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    (problem,) = caught.value.problems
    assert "x 2, y 1" in problem.what and "#010203" in problem.what and problem.where.endswith("masks/2.png")
    assert "#804080" in problem.expected
    with pytest.raises(DataError, match="holds names without a class: void"):
        load(write(tmp_path), labels=("road", "sky"))


@pytest.mark.parametrize(
    "text",
    [
        "128 64 128\troad\n128 128 255\tsky\n0 0 0\tvoid\n",  # CamVid
        "# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:128,128,255::\nvoid:0,0,0::\n",  # CVAT
        "name,r,g,b\nroad,128,64,128\nsky, 128, 128, 255\nvoid,0,0,0\n",
    ],
)
def test_11_03_files_of_colors(tmp_path, text):
    path = tmp_path / "colors.txt"
    path.write_text(text)
    assert read_colors(str(path)) == read_colors(COLORS)
    write(tmp_path / "data")
    assert load(tmp_path / "data", mask_colors=str(path)).digests == load(tmp_path / "data").digests


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("128 64 road", "is no colour"),
        ("300 1 1 road", "is no colour"),
        ("1 1 1 sky", "repeats"),
        ("1 2 3 x", "repeats"),
    ],
)
def test_11_03_lines_that_are_no_color_are_refused(tmp_path, line, what):
    path = tmp_path / "colors.txt"
    path.write_text(f"1 2 3 sky\n\n{line}\n")
    with pytest.raises(DataError, match=what) as caught:
        read_colors(str(path))
    assert caught.value.problems[0].where == f"{path}:3"


@pytest.mark.parametrize("colors", [{"a": "red"}, {"a": "#12345"}, {"a": "#000000", "b": "#000000"}])
def test_11_03_colors_of_a_config_that_are_none_are_refused(colors):
    with pytest.raises(ConfigError):
        read_colors(colors)


def test_11_03_names_that_nothing_has_are_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(ConfigError, match="nothing is called 'rode'"):
        load(tmp_path, labels=("rode", "sky"))
    with pytest.raises(ConfigError, match="nothing is called 'viod'"):
        load(tmp_path, ignore_label="viod")


def test_11_03_init_finds_colors_and_their_file(tmp_path, monkeypatch):
    write(tmp_path)
    assert guess(tmp_path).data["mask_colors"] == dict(
        zip(("class_0", "class_1", "class_2"), ("#000000", "#804080", "#8080ff"), strict=True)
    )
    (tmp_path / "label_colors.txt").write_text("128 64 128 road\n")
    expected = str(tmp_path / "label_colors.txt")
    assert guess(tmp_path).data["mask_colors"] == expected
    monkeypatch.chdir(tmp_path)  # the config may be written into another folder
    assert guess(Path()).data["mask_colors"] == expected
