"""Where each value of a config comes from."""

from pathlib import Path

from ptm.config.load import load_with_tree, parse_config
from ptm.config.origins import annotated, origins

TEXT = """\
version: 1
task: text-classification
model: {name: ./model}
data:
  source: csv:reviews
  train: train.csv
  labels: [no, "yes"]
train: {epochs: 3, learning_rate: 2e-5}
best: {metric: loss}
output: runs/r
expect: {accuracy: ">= 0.5"}
"""


def test_12_10_each_value_has_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(TEXT)
    spec, tree = load_with_tree(Path("run.yaml"), ["train.epochs=5", "runtime.threads=1"])
    places = origins(spec, tree)
    assert places["version",] == "run.yaml:1:10"
    assert places["data", "train"] == "run.yaml:6:10"
    assert places["data", "labels"] == "run.yaml:7:11"
    assert places["expect",] == "run.yaml:11:9"
    assert places["train", "epochs"] == "--set train.epochs=5"
    assert places["runtime", "threads"] == "--set runtime.threads=1"
    assert places["train", "batch_size"] == "default"
    assert places["distill",] == "default"
    # A path made absolute, and a value that follows from another one.
    assert places["data", "source"] == "run.yaml:5:11, resolved"
    assert places["output",] == "run.yaml:10:9, resolved"
    assert places["best", "mode"] == "resolved" and spec.best.mode == "min"

    text = annotated(spec, places)
    assert "  epochs: 5  # --set train.epochs=5\n" in text
    assert "image_size" not in text  # of images
    assert parse_config(text, "-", base=Path("/"), cwd=Path("/")) == spec
