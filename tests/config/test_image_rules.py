"""Keys of images and masks that do not go together."""

import pytest

from ptm.config.load import check_files, load_config

BASE = """\
version: 1
task: semantic-segmentation
model: {{name: lraspp_mobilenet_v3_large}}
data: {{source: "{source}", train: train, eval: 10%, {data}}}
train: {{epochs: 1, learning_rate: 1e-3}}
output: out
"""


@pytest.mark.parametrize(
    ("source", "data", "what"),
    [
        ("masks:.", "mask_colors: c.txt, mask_values: [0, 1]", "mask_values is for masks of numbers"),
        ("labelme:.", "ignore_value: 255", "ignore_value is for masks of numbers"),
        ("masks:.", "ignore_label: void", "ignore_label is for classes with names"),
        ("coco:.", "mask_colors: c.txt", "coco: has shapes, not colours"),
        ("masks:.", "mask_colors: c.txt, ignore_label: void", None),
        ("labelme:.", "ignore_label: void", None),
    ],
)
def test_11_03_keys_of_masks_that_mean_nothing(tmp_path, source, data, what):
    path = tmp_path / "run.yaml"
    path.write_text(BASE.format(source=source, data=data))
    found = [problem.what for problem in check_files([path], [])]
    assert found == [] if what is None else len(found) == 1 and what in found[0]


def test_11_03_a_file_of_colors_is_relative_to_the_config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(BASE.format(source="masks:.", data="mask_colors: c.txt"))
    assert load_config(path).data.mask_colors == str(tmp_path / "c.txt")
