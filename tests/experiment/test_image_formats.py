"""Formats of image data through every command: check, finetune with a test split, eval, predict."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.cli.app import run

BASE = {
    "object-detection": "model: {name: fcos, backbone: resnet18, weights: none}\n",
    "semantic-segmentation": "model: {name: lraspp_mobilenet_v3_large, weights: none}\n",
    "image-classification": "model: {name: resnet8, width: 4, weights: none}\n",
}


def through_all_commands(folder, task, data, inputs, capsys, *, train="steps: 1, batch_size: 2", more=""):
    """Results of a run of one step, of its evaluation, the lines of its predictions, and what was said in check."""
    config = folder / "run.yaml"
    config.write_text(
        f"version: 1\ntask: {task}\n{BASE[task]}"
        f"data: {json.dumps({'image_size': 32, **data})}\n"
        f"train: {{{train}, learning_rate: 1e-3}}\n{more}"
        f"runtime: {{device: cpu, threads: 1}}\noutput: {folder / 'r'}\n"
    )

    def call(*words):
        code = run([*map(str, words)])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said

    checked = call("check", config, "--data", "--json")
    call("finetune", config)
    evaluated = json.loads(call("eval", folder / "r", "--json").out)
    tested = json.loads(call("eval", folder / "r", "--split", "test", "--json").out)
    predicted = call("predict", folder / "r", inputs, "--output", folder / "predictions.jsonl")
    left = "files that an operating system left behind are skipped"
    assert (left in predicted.err) == any(inputs.rglob(".DS_Store")), predicted.err
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    results = json.loads((folder / "r/results.json").read_text())
    assert results["test"]["metrics"] == tested["metrics"]
    return results, evaluated, rows, json.loads(checked.out)


def noise(path: Path, size=(32, 32), seed=0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.slow
def test_11_01_yolo_through_every_command(tmp_path, capsys):
    folder = tmp_path / "data"
    for seed, stem in enumerate(("train/a", "train/b", "train/c", "val/d", "test/e")):
        noise(folder / f"images/{stem}.png", seed=seed)
        label = folder / f"labels/{stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"{seed % 2} 0.5 0.5 0.5 0.5\n")
    (folder / "labels/train/c.txt").unlink()
    (folder / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames: {0: cat, 1: dog}\n"
    )
    data = {"source": "yolo:data/data.yaml", "train": "train", "eval": "val", "test": "test"}
    results, _, rows, checked = through_all_commands(
        tmp_path, "object-detection", data, folder / "images/val", capsys
    )
    assert results["status"] == "done" and results["test"]["examples"] == 1
    assert len(rows) == 1 and "boxes" in rows[0]
    assert "1 of 3 images have no file of labels" in json.dumps(checked)


@pytest.mark.slow
def test_11_03_masks_in_colors_through_every_command(tmp_path, capsys):
    folder = tmp_path / "data"
    for split in ("train", "val", "test"):
        for seed in range(2):
            noise(folder / f"{split}/images/{seed}.png", seed=seed)
            mask = np.zeros((32, 32, 3), np.uint8)
            mask[:, 16:], mask[30:] = (128, 64, 128), (1, 1, 1)
            (folder / f"{split}/masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(folder / f"{split}/masks/{seed}.png")
    (folder / "label_colors.txt").write_text("0 0 0\tsky\n128 64 128\troad\n1 1 1\tvoid\n")
    data = {
        "source": "masks:data",
        "train": "train",
        "eval": "val",
        "test": "test",
        "mask_colors": "data/label_colors.txt",
        "ignore_label": "void",
    }
    results, _, rows, _ = through_all_commands(
        tmp_path, "semantic-segmentation", data, folder / "val/images", capsys
    )
    assert set(results["metrics"]) >= {"iou/sky", "iou/road"} and len(rows) == 2


def write_pages(folder: Path, kind: str) -> None:
    """Two classes of 12-bit pictures: page 1 of TIFFs whose page 0 is noise, or (``png``) the same alone in 8 bits."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for name, bright in (("dark", 900), ("light", 3000)):
            for index in range(count):
                place = folder / split / name
                place.mkdir(parents=True, exist_ok=True)
                first, second = rng.integers(0, 4096, (2, 16, 16))
                page = Image.fromarray((second // 4 + bright).clip(0, 4095).astype(np.uint16))
                if kind == "tif":
                    other = Image.fromarray(first.astype(np.uint16))
                    other.save(place / f"{index}.tif", save_all=True, append_images=[page])
                else:
                    levels = np.floor(np.asarray(page, dtype=np.float64) * 255 / 4095 + 0.5).astype(np.uint8)
                    Image.fromarray(levels).save(place / f"{index}.png")


@pytest.mark.slow
def test_11_02_a_page_of_12_bits_gives_the_numbers_of_the_same_picture_in_8_bits(
    tmp_path, capsys, monkeypatch
):
    found = {}
    for kind, more in (("tif", {"page": 1, "image_range": [0, 4095]}), ("png", {})):
        folder = tmp_path / kind
        write_pages(folder / "data", kind)
        data = {
            "source": "imagefolder:data",
            "train": "train",
            "eval": "val",
            "test": "test",
            "image_size": 16,
        }
        results, evaluated, rows, _ = through_all_commands(
            folder, "image-classification", data | more, folder / "data/test", capsys
        )
        scores = [[row["prediction"], row["scores"]] for row in rows]
        found[kind] = (results["metrics"], evaluated["metrics"], results["test"]["metrics"], scores)
    assert found["tif"] == found["png"]
    assert run(["export", str(tmp_path / "tif/r"), "--output", str(tmp_path / "x"), "--no-measure"]) == 0
    image = tmp_path / "tif/data/test/dark/0.tif"
    monkeypatch.setattr("sys.argv", ["predict.py", str(image)])
    capsys.readouterr()
    runpy.run_path(str(tmp_path / "x/predict.py"), run_name="__main__")
    assert json.loads(capsys.readouterr().out)["scores"] == pytest.approx(found["tif"][3][0][1], abs=1e-5)
    # A config without the keys is refused before the first step, and so are values outside.
    config = tmp_path / "tif/run.yaml"
    for change, message in (("page=null", "holds 2 pages"), ("image_range=[0,2000]", "its values go from")):
        assert run(["finetune", str(config), "--set", f"data.{change}", "--output", str(tmp_path / "n")]) == 3
        assert message in capsys.readouterr().err
    assert run(["check", str(config), "--set", "data.image_range=[5]"]) == 2
    assert "image_range has 1 number" in capsys.readouterr().err
    assert run(["check", str(config), "--set", "data.image_range=[5, 5]"]) == 2
    assert "5 is not below 5" in capsys.readouterr().err


def write_shapes(folder: Path, kind: str) -> None:
    """Two images a split, of which the right half is a road: as LabelMe or COCO has it, or as masks of 7 and 9."""
    corners = [[16, 0], [32, 0], [32, 32], [16, 32]]
    for split in ("train", "val", "test"):
        images, annotations = [], []
        for seed in range(2):
            name = f"{seed}.png"
            inner = {"masks": f"{split}/images"}.get(kind, split)
            noise(folder / inner / name, seed=seed)
            if kind == "labelme":
                shape = {"label": "road", "points": corners, "shape_type": "polygon", "flags": {}}
                content = {"imagePath": name, "imageData": None, "shapes": [shape], "version": "5.4.1"}
                (folder / split / f"{seed}.json").write_text(json.dumps(content))
            elif kind == "masks":
                values = np.full((32, 32), 7, np.uint8)
                values[:, 16:] = 9
                (folder / split / "masks").mkdir(exist_ok=True)
                Image.fromarray(values).save(folder / split / "masks" / name)
            images.append({"id": seed, "file_name": name, "width": 32, "height": 32})
            flat = [value for corner in corners for value in corner]
            annotations.append(
                {"id": seed, "image_id": seed, "category_id": 1, "segmentation": [flat], "iscrowd": 0}
            )
        for name in ("._0.png", ".DS_Store", "Thumbs.db"):
            (folder / inner / name).write_bytes(b"x")
        if kind == "coco":
            content = {
                "images": images,
                "annotations": annotations,
                "categories": [{"id": 1, "name": "road"}],
            }
            (folder / f"{split}.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_11_06_shapes_of_labelme_and_coco_and_masks_are_one_data_set_to_every_command(tmp_path, capsys):
    splits = {"train": "train", "eval": "val", "test": "test"}
    labels = ["background", "road"]
    found = {}
    for kind, more in (
        ("labelme", {}),
        ("coco", {}),
        ("masks", {"mask_values": [7, 9], "ignore_value": 255}),
    ):
        folder = tmp_path / kind
        write_shapes(folder / "data", kind)
        data = {"source": f"{kind}:data", **splits, "labels": labels} | more
        inputs = folder / "data" / ("test/images" if kind == "masks" else "test")
        results, evaluated, rows, checked = through_all_commands(
            folder, "semantic-segmentation", data, inputs, capsys
        )
        assert "files that an operating system left behind are skipped" in json.dumps(checked)
        shares = [row["shares"] for row in rows]
        found[kind] = (results["metrics"], evaluated["metrics"], results["test"]["metrics"], shares)
    assert found["labelme"] == found["coco"] == found["masks"]
    assert run(["compare", str(tmp_path / "labelme/r"), str(tmp_path / "coco/r"), "--json"]) == 0
    assert run(["report", str(tmp_path / "labelme/r")]) == 0
    capsys.readouterr()
    # A run of one kind is measured on the others without a word about the keys of its own kind.
    for trained in found:
        for kind in found:
            words = ["--data", f"{kind}:{tmp_path / kind / 'data'}", "--split", "val", "--json"]
            if kind == "masks" and trained != "masks":  # nobody else can know which value is which class
                words += ["--set", "data.mask_values=[7, 9]"]
            assert run(["eval", str(tmp_path / trained / "r"), *words]) == 0, (trained, kind)
            assert json.loads(capsys.readouterr().out)["metrics"] == found[trained][1]
