"""Two processes fill one store together and learn from it what one process learns."""

import json

import pytest

from helpers import history, image_spec, run

pytestmark = pytest.mark.processes

CONFIG = """
version: 1
task: image-classification
teacher: {{name: {teacher}}}
model: {{name: resnet8, width: 2, weights: none}}
distill: {{audit: "off", store: {store}, features: hidden}}
data: {{source: "builtin:digits", train: train, eval: test, image_size: 16, augment: crop,
  max_train_examples: 160, max_eval_examples: 32}}
train: {{steps: 12, batch_size: 16, micro_batch_size: 4, eval_batch_size: 16, learning_rate: 0.02, log_every_steps: 1}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""


def test_two_processes_equal_one(run_cli, tmp_path):
    run(image_spec(tmp_path / "teacher", epochs=1))
    for name, words in (("one", ()), ("two", ("--nproc", "2"))):
        config = tmp_path / f"{name}.yaml"
        store = tmp_path / f"store_{name}"
        config.write_text(CONFIG.format(teacher=tmp_path / "teacher", store=store, output=tmp_path / name))
        done = run_cli("distill", config, *words)
        assert done.returncode == 0, done.stderr
        results = json.loads((tmp_path / name / "results.json").read_text())
        assert results["distill"]["store"]["used"]
    for a, b in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    stores = [sorted((tmp_path / f"store_{n}").rglob("*.bin")) for n in ("one", "two")]
    assert [p.read_bytes() for p in stores[0]] == [p.read_bytes() for p in stores[1]]
