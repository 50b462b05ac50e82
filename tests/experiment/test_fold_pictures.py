"""The pictures on the page of a cross-validation."""

import base64
import io

from PIL import Image

from ptm.config.load import load_config
from ptm.experiment.fold_pictures import pictures_of


def test_11_05_pictures_of_doubted_examples_are_found_where_they_stand(tmp_path):
    """By folder, as other sources too: whatever holds the images is read once more."""
    for name, red in (("a", 250), ("b", 5)):
        for number in range(4):
            path = tmp_path / "images" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (200, 100), (red, number, 0)).save(path)
    config = tmp_path / "c.yaml"
    config.write_text(
        f"""
version: 1
task: image-classification
model: {{name: resnet8, weights: none}}
data: {{source: "imagefolder:{tmp_path}", train: images, eval: 25%}}
train: {{epochs: 1, learning_rate: 0.1}}
output: {tmp_path / "r"}
"""
    )
    place = str(tmp_path / "images" / "b" / "2.png")
    found = pictures_of(load_config(config), 2, {place, "gone"})
    assert list(found) == [place]
    content = base64.b64decode(found[place].removeprefix("data:image/png;base64,"))
    shown = Image.open(io.BytesIO(content))
    assert shown.size == (96, 48) and shown.getpixel((5, 5)) == (5, 2, 0)
    assert pictures_of(load_config(config), 2, ()) == {}
