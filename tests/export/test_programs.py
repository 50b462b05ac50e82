"""predict.py of an export: the same answers as ptm's, without torch and transformers."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ptm.api import predict

ROOT = Path(__file__).parents[2] / "ptm" / "export" / "programs"
WITHOUT_TORCH = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "transformers", "ptm", "datasets", "safetensors"):
            raise ImportError(name + " is not to be imported")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def answers(export: Path, *words: object) -> list[dict]:
    command = [sys.executable, "-c", WITHOUT_TORCH, export / "predict.py", *words]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.processes
def test_14_01_texts(exported_reviews):
    texts = ["the film was good", "the soup was " + "really " * 90 + "awful"]
    for own, ptms in zip(
        answers(exported_reviews, *texts), predict(exported_reviews, texts=texts), strict=True
    ):
        assert own["prediction"] == ptms["prediction"]
        assert own["scores"] == pytest.approx(ptms["scores"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.processes
def test_14_01_images(exported_digits, tmp_path):
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    paths = [tmp_path / "rgba.png", tmp_path / "grey.png"]
    Image.fromarray(pixels).save(paths[0])
    Image.fromarray(pixels[..., 0]).save(paths[1])
    for own, ptms in zip(answers(exported_digits, *paths), predict(exported_digits, paths), strict=True):
        assert own["prediction"] == ptms["prediction"]
        for name, score in ptms["scores"].items():
            assert own["scores"][name] == pytest.approx(score, abs=1e-3)


def test_14_01_no_program_is_longer_than_60_lines_nor_imports_torch():
    for path in ROOT.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60, path
        assert "torch" not in text.replace("onnxruntime", "") and "import ptm" not in text


def test_15_06_masks_of_a_segmenter_replace_no_image(tmp_path, monkeypatch):
    """An export's own program, where its masks would come beside the images that it reads, or two get one name."""
    settings = {
        "image_size": 32, "whole": True, "mean": [0, 0, 0], "std": [1, 1, 1], "page": 0,
        "labels": ["a", "b"], "mask_values": [0, 255],
    }  # fmt: skip
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    program = tmp_path / "predict.py"
    program.write_bytes((ROOT / "semantic_segmentation.py").read_bytes())
    session = SimpleNamespace(run=lambda names, given: [np.zeros((1, 2, 32, 32), np.float32)])
    stub = SimpleNamespace(InferenceSession=lambda *given, **how: session)
    monkeypatch.setitem(sys.modules, "onnxruntime", stub)
    image = tmp_path / "x.png"
    Image.new("RGB", (32, 32), "red").save(image)
    before = image.read_bytes()
    for folder, images in ((tmp_path, [image]), (tmp_path / "new", [image, image])):
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["predict.py", "--masks", str(folder), *map(str, images)])
        with pytest.raises(FileExistsError, match=r"x\.png"):
            runpy.run_path(str(program), run_name="__main__")
    assert image.read_bytes() == before
    monkeypatch.setattr(sys, "argv", ["predict.py", "--masks", str(tmp_path / "new"), str(image)])
    (tmp_path / "new" / "x.png").unlink(missing_ok=True)
    runpy.run_path(str(program), run_name="__main__")
    assert (tmp_path / "new" / "x.png").exists()
