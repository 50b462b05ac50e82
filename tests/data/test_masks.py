"""``masks:`` sources: what is found, what a value means, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.masks import IGNORED, load_masks
from ptm.errors import ConfigError, DataError

MASK = np.array([[0, 0, 7, 7], [0, 9, 9, 7]], np.uint8)


def write(
    folder: Path, masks: dict[str, np.ndarray | Image.Image], names: tuple[str, str] = ("image", "label")
):
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem, mask in masks.items():
        mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        Image.new("RGB", mask.size, "grey").save(folder / names[0] / f"{stem}.jpg")
        mask.save(folder / names[1] / f"{stem}.png")
    return folder


def spec(folder: Path, **data) -> DataSpec:
    return DataSpec(source=f"masks:{folder}", **({"eval": "25%"} | data))


def refusal(data: DataSpec, kind=DataError, **how):
    with pytest.raises(kind) as caught:
        load_masks(data, **how)
    return caught.value.problems


@pytest.fixture
def eight(tmp_path):
    return write(tmp_path, {f"{i}": MASK for i in range(8)})


@pytest.mark.parametrize(
    "names", [("image", "label"), ("image", "mask"), ("images", "labels"), ("images", "masks")]
)
def test_folders_may_be_called(tmp_path, names):
    write(tmp_path / "train", {"a": MASK, "b": MASK}, names)
    write(tmp_path / "val", {"c": MASK}, names)
    data = load_masks(spec(tmp_path, train="train", eval="val"))
    assert [p.name for p in data.train.columns["image"]] == ["a.jpg", "b.jpg"]
    assert [m.stored.path.name for m in data.eval.columns["mask"]] == ["c.png"]
    assert data.eval.where(0) == str(tmp_path / "val" / names[0] / "c.jpg")
    assert set(data.digests) == {"train", "eval"}


def test_found_values_are_the_classes(eight):
    data = load_masks(spec(eight))
    assert data.labels == ("0", "7", "9")
    mask = data.train.columns["mask"][0]
    assert mask.values == (0, 7, 9) and mask.pixels == (3, 3, 2)
    assert mask.classes().tolist() == [[0, 0, 1, 1], [0, 2, 2, 1]]


def test_names_values_and_ignored_pixels(eight):
    data = load_masks(spec(eight, labels=("cell", "edge"), mask_values=(9, 0), ignore_value=7))
    assert data.labels == ("cell", "edge")
    mask = data.eval.columns["mask"][0]
    assert mask.classes().tolist() == [[1, 1, IGNORED, IGNORED], [1, 0, 0, IGNORED]]
    assert mask.pixels == (2, 3)


def test_a_trained_models_labels_give_the_values_where_they_are_numbers(eight):
    assert load_masks(spec(eight), labels=("0", "7", "9")).labels == ("0", "7", "9")
    named = load_masks(spec(eight, mask_values=(0, 7, 9)), labels=("a", "b", "c"))
    assert named.labels == ("a", "b", "c")
    both = load_masks(spec(eight, labels=("b", "a", "c"), mask_values=(7, 0, 9)), labels=("a", "b", "c"))
    assert both.labels == ("b", "a", "c") and both.eval.columns["mask"][0].values == (7, 0, 9)


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_kinds_of_masks(tmp_path, mode):
    if mode == "I;16":
        mask = Image.fromarray(MASK.astype(np.uint16))
    else:
        mask = Image.fromarray(MASK)
        if mode == "P":
            mask.putpalette(list(range(255, -1, -1)) * 3)
    assert mask.mode == mode
    data = load_masks(spec(write(tmp_path, dict.fromkeys("abcd", mask))))
    assert data.labels == ("0", "7", "9")


def test_a_share_is_always_the_same_images(eight):
    first, again = (load_masks(spec(eight)) for _ in range(2))
    names = [path.name for path in first.eval.columns["image"]]
    assert len(names) == 2 and names == [path.name for path in again.eval.columns["image"]]
    assert {p.name for p in first.train.columns["image"]}.isdisjoint(names)
    limited = load_masks(spec(eight, max_train_examples=3, max_eval_examples=1))
    assert (len(limited.train), len(limited.eval)) == (3, 1)
    assert load_masks(spec(eight), train=False).train is None


def test_the_digest_covers_every_byte(eight):
    before = load_masks(spec(eight)).digests
    Image.fromarray(MASK[:, ::-1].copy()).save(eight / "label" / "3.png")
    assert load_masks(spec(eight)).digests != before


def test_images_and_masks_without_the_other_are_refused(eight):
    (eight / "label" / "2.png").unlink()
    (eight / "image" / "5.jpg").unlink()
    first, second = refusal(spec(eight))
    assert (first.where, first.what) == (str(eight / "image" / "2.jpg"), "has no mask")
    assert (second.where, second.what) == (str(eight / "label" / "5.png"), "has no image")


def test_a_value_without_a_class_is_counted(eight):
    odd = MASK.copy()
    odd[0, :3] = 8
    Image.fromarray(odd).save(eight / "label" / "4.png")
    (problem,) = refusal(spec(eight, mask_values=(0, 7, 9)))
    assert problem.where == str(eight / "label" / "4.png")
    assert problem.what == "holds values without a class: 8 (3 pixels)"
    assert "data.mask_values" in problem.cure


def test_sizes_must_be_the_same(eight):
    Image.fromarray(MASK[:, :3].copy()).save(eight / "label" / "1.png")
    (problem,) = refusal(spec(eight))
    assert problem.what == "is 3x2, its image 4x2"


def test_colour_masks_are_refused_with_a_cure(eight):
    Image.fromarray(MASK).convert("RGB").save(eight / "label" / "1.png")
    colour = Image.new("RGB", (4, 2), "red")
    colour.save(eight / "label" / "2.png")
    grey, red = refusal(spec(eight))
    assert grey.what == "has the channels RGB" and "getchannel(0)" in grey.cure
    assert "data.mask_colors" in red.cure


def test_lossy_masks_are_refused(eight):
    (eight / "label" / "1.png").unlink()
    Image.fromarray(MASK).save(eight / "label" / "1.jpg")
    (problem,) = refusal(spec(eight))
    assert problem.what == "is a JPEG" and "PNG" in problem.expected


def test_unreadable_files_are_named(eight):
    (eight / "label" / "1.png").write_bytes(b"nothing")
    (eight / "label" / "2.png").write_bytes((eight / "label" / "3.png").read_bytes()[:-30])
    (eight / "image" / "4.jpg").write_bytes(b"")
    assert [(Path(p.where).name, p.what.split(":")[0]) for p in refusal(spec(eight))] == [
        ("1.png", "is not an image"),
        ("2.png", "cannot be decoded"),
        ("4.jpg", "is empty"),
    ]


def test_an_image_that_is_stored_turned_is_refused(eight):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(eight / "image" / "1.jpg", exif=exif)
    (problem,) = refusal(spec(eight))
    assert "orientation" in problem.what and "auto-orient" in problem.cure


def test_two_files_of_one_stem_are_refused(eight):
    Image.new("RGB", (4, 2)).save(eight / "image" / "1.png")
    assert {Path(p.where).name for p in refusal(spec(eight))} == {"1.jpg", "1.png"}


def test_a_picture_is_no_mask(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (problem,) = refusal(spec(write(tmp_path, dict.fromkeys("abcd", ramp))))
    assert problem.what == "these masks hold 256 different values"


def test_values_and_labels_must_belong_together(eight):
    (problem,) = refusal(spec(eight, labels=("a", "b"), mask_values=(0, 7, 9)), ConfigError)
    assert problem.where == "data.mask_values" and "3 mask values for 2 labels" in problem.what
    for changes in ({"mask_values": (0, 7, 7)}, {"mask_values": (0, 7), "ignore_value": 7}):
        (problem,) = refusal(spec(eight, **changes), ConfigError)
        assert problem.where == "data.mask_values"


def test_classes_that_are_never_there_and_single_ones_are_refused(eight):
    warning, *_ = load_masks(spec(eight, labels=("a", "b", "c", "d"), mask_values=(0, 7, 9, 1))).warnings
    assert "no training example has the label d" in warning.what
    (problem,) = refusal(spec(eight, mask_values=(0,)))
    assert "at least two classes" in problem.expected
    Image.fromarray(np.full((2, 4), 9, np.uint8)).save(eight / "label" / "1.png")
    (problem,) = refusal(spec(eight, ignore_value=9))
    assert problem.what == "every pixel of it is ignored"


def test_folders_that_are_not_there(tmp_path, eight):
    (problem,) = refusal(spec(tmp_path / "nowhere"))
    assert problem.what == "there is no such folder"
    problem, other = refusal(spec(eight, train="train", eval="val"))
    assert problem.what == "no split 'train'" and "image/, label/" in problem.cure
    assert other.what == "no split 'val'"
    (tmp_path / "empty" / "image").mkdir(parents=True)
    (tmp_path / "empty" / "label").mkdir()
    (problem,) = refusal(spec(tmp_path / "empty"))
    assert problem.what == "no image in it"
    assert refusal(spec(eight, eval=None), ConfigError)[0].what == "data.eval is missing"


def test_11_02_masks_and_images_with_pages_are_read_at_the_same_one(tmp_path):
    from PIL import Image

    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, size in (("a", (8, 6)), ("b", (8, 6))):
        # The first page is a thumbnail of another size.
        pages = [Image.new("RGB", (4, 4)), Image.new("RGB", size, "red")]
        pages[0].save(tmp_path / f"images/{name}.tif", save_all=True, append_images=pages[1:])
        values = np.zeros((6, 8), dtype=np.uint8)
        values[:, 4:] = 1
        mask = Image.fromarray(values)
        if name == "a":  # a mask of one page is it
            mask.save(tmp_path / "masks/a.png")
        else:
            Image.new("L", (4, 4), 9).save(tmp_path / "masks/b.tif", save_all=True, append_images=[mask])
    source = {"source": f"masks:{tmp_path}", "labels": ("x", "y")}
    data = load_masks(DataSpec(**source, page=1), train=False)
    assert [mask.size for mask in data.eval.columns["mask"]] == [(8, 6), (8, 6)]
    for mask in data.eval.columns["mask"]:
        assert mask.classes().tolist() == [[0] * 4 + [1] * 4] * 6
    with pytest.raises(DataError, match="is 8x6, its image 4x4"):
        load_masks(DataSpec(**source, page=0), train=False)
