"""Photos of telephones: read where the extra is installed, refused with its command where not."""

import base64
import json

import numpy as np
from PIL import Image

from ptm.cli.app import run
from ptm.data import heif
from ptm.vision.images import decode

# 24 x 16 pixels, red on the left and blue on the right, written by pillow-heif 1.8.1 (x265, quality 50).
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAE4AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNs"
    "eAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAGAAAAAEAAAAQAAAAAf///9gAAAAC////0AAAAAIAAAAQcGl4"
    "aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAVm1kYXQAAABKKAGvEyGqHGjlNVP8wZeCAFyHqTALPGmzRotkJm0f"
    "VhUKlCq0+HW5wakgv/W/tPJvXH4d9ONj/1JtD/Tk70F9VfKgPutNu4R834A="
)


def test_11_04_a_heic_is_known_by_its_first_bytes_and_an_avif_is_none(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.avif")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert heif.is_heif(HEIC)
    assert not heif.is_heif((tmp_path / "a.avif").read_bytes())
    assert not heif.is_heif((tmp_path / "a.png").read_bytes()) and not heif.is_heif(b"")


def test_11_04_a_heic_shows_what_was_written(tmp_path):
    (tmp_path / "a.heic").write_bytes(HEIC)
    for item in (tmp_path / "a.heic", HEIC, {"bytes": HEIC, "path": None}):
        pixels = np.array(decode(item, "x")).astype(int)
        assert pixels.shape == (16, 24, 3)
        assert abs(pixels[8, 3] - (220, 40, 40)).max() < 8 and abs(pixels[8, 20] - (40, 40, 220)).max() < 8


def test_11_04_a_heic_is_refused_with_the_command_that_installs_its_reader(tmp_path, capsys, monkeypatch):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / f"d/{split}/{name}").mkdir(parents=True)
            (tmp_path / f"d/{split}/{name}/a.heic").write_bytes(HEIC)
    (tmp_path / "c.yaml").write_text(
        "version: 1\ntask: image-classification\nmodel: {name: resnet8, width: 4, weights: none}\n"
        "data: {source: 'imagefolder:d', train: train, eval: val, image_size: 16, slices: [size]}\n"
        "train: {steps: 1, batch_size: 2, learning_rate: 1e-3}\noutput: r\n"
    )
    assert run(["check", str(tmp_path / "c.yaml"), "--data", "--json"]) == 0
    assert "4 images" not in json.dumps(json.loads(capsys.readouterr().out)["warnings"])
    monkeypatch.delitem(Image.OPEN, heif.FORMAT)
    monkeypatch.setattr(heif, "find_spec", lambda name: None)
    assert run(["check", str(tmp_path / "c.yaml"), "--data"]) == 3
    error = capsys.readouterr().err
    assert "is a HEIC image, and no package is installed that reads it" in error
    assert "pip install 'pi-heif>=1.1'" in error
