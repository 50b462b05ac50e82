"""Issue 15, line 15: a small file does not take all memory, and what was too large is named."""

import io
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from detection_samples import spec_of
from helpers import run
from ptm.cli.app import app
from ptm.config.load import dump_config
from ptm.config.spec import DataSpec, ModelSpec, RunSpec, RuntimeSpec, TrainSpec
from tiny.object_detection import write_annotation, write_voc

ROOM = 2 << 30  # bytes that a test may take besides what the process has


@pytest.fixture(autouse=True)
def _little_memory():
    """Another 2 GiB of addresses: what would take 13 is a MemoryError, and does not hurt the machine."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def strip(path, width=1, height=60_000):
    Image.new("L", (width, height)).save(path)
    assert path.stat().st_size < 1000
    return path


def ptm(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    code = getattr(done.exception, "exit_code", done.exit_code)
    return code, f"{done.output}\n{done.stderr}\n{done.exception}"


def classifier_spec(folder, size, **changes):
    data = {"source": f"imagefolder:{folder}", "train": "train", "eval": "eval", "image_size": size}
    return RunSpec(
        version=1,
        task="image-classification",
        model=ModelSpec(name="resnet18", weights="none"),
        data=DataSpec(**data, **changes),
        train=TrainSpec(steps=1, batch_size=2, learning_rate=1e-3),
        runtime=RuntimeSpec(device="cpu", threads=1),
        output=str(folder / "r"),
    )


@pytest.fixture
def photos(tmp_path):
    for split in ("train", "eval"):
        for label in ("cat", "dog"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for n in range(2):
                pixels = np.full((120, 130, 3), 60 * n + (label == "cat"), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / label / f"{n}.png")
    return tmp_path / "data"


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "standard"])
@pytest.mark.parametrize(("width", "height"), [(1, 60_000), (60_000, 1), (2, 30_000_000)])
@pytest.mark.parametrize("split", ["train", "eval"])
def test_15_15_a_strip_is_refused_by_name(photos, tmp_path, augment, width, height, split):
    if split == "train" and augment == "standard" and (width, height) != (1, 60_000):
        pytest.skip("one of them is enough")
    name = photos / split / "cat" / "strip.png"
    Image.new("L", (width, height)).save(name)
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(classifier_spec(photos, 112, augment=augment)))
    for words in (["check", "--data", config], ["finetune", config, "--output", tmp_path / "r"]):
        code, said = ptm(*words)
        assert code == 3, said
        assert f"{name}: resized to 128 pixels, its shorter side, it has " in said
        assert "or leave it out" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_15_15_small_images_take_strips_of_any_length(photos, tmp_path):
    """Both sides are resized then, to a square."""
    strip(photos / "eval" / "cat" / "strip.png")
    run(classifier_spec(photos, 32))


@pytest.mark.slow
def test_15_15_a_strip_is_neither_evaluated_nor_predicted(photos, tmp_path):
    run(classifier_spec(photos, 112))
    name = strip(photos / "eval" / "dog" / "strip.png")
    code, said = ptm("eval", photos / "r")
    assert (code, str(name) in said) == (3, True), said
    code, said = ptm("predict", photos / "r", name)
    assert (code, str(name) in said) == (3, True), said
    code, said = ptm("predict", photos / "r", photos / "eval" / "dog", "--skip-bad")
    assert code == 0, said
    assert f"left out: {name}: resized to 128 pixels" in said
    assert said.count('"prediction"') == 2


@pytest.mark.slow
def test_15_15_strips_in_a_table_are_named_by_row(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    def encoded(width, height):
        buffer = io.BytesIO()
        Image.new("L", (width, height)).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    rows = {"image": [encoded(120, 120)] * 3 + [encoded(1, 60_000)], "label": ["a", "b", "a", "b"]}
    for split in ("train", "eval"):
        parquet.write_table(pa.table(rows), tmp_path / f"{split}.parquet")
    spec = classifier_spec(tmp_path, 112)
    config = tmp_path / "run.yaml"
    text = dump_config(spec).replace(f"imagefolder:{tmp_path}", f"parquet:{tmp_path}")
    config.write_text(
        text.replace("train: train\n", "train: train.parquet\n").replace(
            "eval: eval\n", "eval: eval.parquet\n"
        )
    )
    for words in (["check", "--data", config], ["finetune", config]):
        code, said = ptm(*words)
        assert code == 3, said
        assert "train.parquet, row 3: resized to 128 pixels" in said, said


@pytest.mark.slow
@pytest.mark.parametrize("family", ["retinanet", "fasterrcnn", "ssdlite", "yolox"])
def test_15_15_a_strip_of_which_a_detector_would_see_nothing_is_refused(tmp_path, family):
    if family == "yolox":
        pytest.importorskip("libreyolo")
    write_voc(tmp_path / "voc", train=3, val=2)
    size = (60_000, 1)
    name = tmp_path / "voc" / "JPEGImages" / "strip.png"
    strip(name, *size)
    write_annotation(tmp_path / "voc" / "Annotations" / "strip.xml", size, [("disc", (0, 0, 30_000, 1))])
    for split in ("train", "val"):
        with (tmp_path / "voc" / "ImageSets/Main" / f"{split}.txt").open("a") as file:
            file.write("strip\n")
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(spec_of(tmp_path / "voc", family)))
    for words in (["check", "--data", config], ["finetune", config, "--output", tmp_path / "r"]):
        code, said = ptm(*words)
        if family in ("ssdlite", "yolox"):  # they resize to a square, or leave a pixel
            assert code == 0, said
        else:
            assert code == 3, said
            assert f"{name}: with no side longer than 53 pixels it has 53x0 pixels" in said


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_15_15_a_strip_is_segmented_as_it_is(tmp_path, whole):
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for name, size in (("a", (40, 40)), ("b", (60, 40)), ("strip", (1, 20_000))):
            pixels = np.zeros(size, dtype=np.uint8)
            pixels[: size[0] // 2, : size[1] // 2] = 1
            Image.fromarray(pixels * 99).save(tmp_path / "data" / split / "images" / f"{name}.png")
            Image.fromarray(pixels if pixels.any() else pixels + 1).save(
                tmp_path / "data" / split / "masks" / f"{name}.png"
            )
    spec = RunSpec(
        version=1,
        task="semantic-segmentation",
        model=ModelSpec(name="lraspp_mobilenet_v3_large", weights="none"),
        data=DataSpec(
            source=f"masks:{tmp_path / 'data'}", train="train", eval="val", image_size=64,
            augment="none" if whole else "crop",
        ),
        train=TrainSpec(steps=1, batch_size=2, learning_rate=1e-3),
        runtime=RuntimeSpec(device="cpu", threads=1),
        output=str(tmp_path / "r"),
    )  # fmt: skip
    run(spec)


@pytest.mark.slow
def test_15_15_images_that_are_too_large_for_the_memory_are_named(photos, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(classifier_spec(photos, 3000)))
    code, said = ptm("finetune", config, "--output", tmp_path / "r")
    assert code == 5, said
    assert "out of memory: a batch of 2 does not fit" in said
    assert "most of it is for images of 3000 x 3000 pixels" in said
    assert "train.micro_batch_size=1 (the batch stays the same), or a smaller data.image_size" in said
    run(classifier_spec(photos, 100))
    code, said = ptm("eval", photos / "r", "--set", "data.image_size=5000")
    assert code == 5, said
    assert "images of 5000 x 5000 pixels" in said and "train.eval_batch_size=" in said
