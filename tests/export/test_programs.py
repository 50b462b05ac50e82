"""predict.py of an export: the same answers as ptm's, without torch and transformers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
