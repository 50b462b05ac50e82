"""What is not imported, in processes of their own; and that nothing is lost by it."""

import json
import os
import subprocess
import sys

import pytest

# Seconds of every start, and nothing that a run over texts computes with.
SPARED = (
    "torchvision",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "accelerate",
    "torch._inductor",
    "torch._dynamo.symbolic_convert",
    "torch.distributed.tensor",
)
REPORT = (
    "import atexit, json, sys; atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))"
)


def modules_of(code: str, *words: object, env: dict[str, str] | None = None) -> set[str]:
    """The modules that a process has at its end. ``code`` runs with these words as its arguments."""
    command = [sys.executable, "-c", f"{REPORT}\n{code}", *map(str, words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **(env or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[:2000]
    return set(json.loads(done.stderr.splitlines()[-1]))


MAIN = "from ptm.cli.app import main; main()"


@pytest.mark.slow
@pytest.mark.processes
def test_13_03_a_run_over_texts_and_its_prediction_import_what_they_compute_with(
    tiny_bert, reviews, tmp_path, write_config
):
    config = write_config(
        tmp_path,
        f"""
version: 1
task: text-classification
model: {{name: {tiny_bert}}}
data: {{source: "csv:{reviews}", train: train.csv, eval: eval.csv}}
train: {{steps: 1, batch_size: 4, learning_rate: 1e-3}}
runtime: {{device: cpu, threads: 1}}
output: {tmp_path / "r"}
""",
    )
    trained = modules_of(MAIN, "finetune", config)
    assert (tmp_path / "r" / "results.json").is_file()
    assert (trained & set(SPARED)) == set()
    told = modules_of(MAIN, "predict", tmp_path / "r", "--text", "good")
    assert (told & {*SPARED, "matplotlib"}) == set()
    assert len(told) < 2800  # 4,400 before


COMPILED = """
from ptm.base.light_imports import import_lightly
import_lightly()
import torch
import torch._dynamo
stand_in = sys.modules["torch._dynamo"]
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
assert sys.modules["torch._dynamo"] is stand_in
assert torch._dynamo.allow_in_graph(torch.sin) is torch.sin
doubled = torch.compile(lambda x: 2 * x, backend="eager", fullgraph=True)
assert doubled(torch.ones(2)).tolist() == [2.0, 2.0]
assert sys.modules["torch._dynamo"] is not stand_in
assert torch._dynamo is sys.modules["torch._dynamo"]
assert stand_in.config is torch._dynamo.config
assert torch._dynamo.is_compiling() is False
"""


@pytest.mark.slow
@pytest.mark.processes
def test_13_03_the_compiler_is_there_as_soon_as_it_is_used():
    assert "torch._dynamo.symbolic_convert" in modules_of(COMPILED)


PARTS = """
from ptm.base.light_imports import import_lightly
import_lightly()
import torch
from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
stand_in = sys.modules["torch._dynamo"]
assert "torch._dynamo.utils" not in sys.modules
from torch._dynamo.utils import is_compile_supported
assert sys.modules["torch._dynamo"] is torch._dynamo is not stand_in
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert torch._dynamo.utils.is_compile_supported is is_compile_supported
assert torch._dynamo.utils.__spec__.origin.endswith("_dynamo/utils.py")
"""


@pytest.mark.slow
@pytest.mark.processes
def test_13_03_a_part_of_the_compiler_is_imported_once_and_brings_it_along():
    assert "torch._dynamo.symbolic_convert" in modules_of(PARTS)


TOLD = """
from ptm.base.light_imports import import_lightly
import_lightly()
from transformers import utils
from transformers.utils import import_utils
assert not utils.is_sklearn_available()
assert import_utils.PACKAGE_DISTRIBUTION_MAPPING.get("torch") == ["torch"]
assert "pillow" in import_utils.PACKAGE_DISTRIBUTION_MAPPING.get("PIL")
assert import_utils.PACKAGE_DISTRIBUTION_MAPPING.get("no_such_package", []) == []
assert utils.is_torch_available() and utils.is_tokenizers_available()
"""


@pytest.mark.processes
def test_13_03_transformers_is_told_of_what_is_used_alone():
    assert "transformers.utils.import_utils" in modules_of(TOLD)


def test_13_03_other_processes_than_those_of_the_command_are_left_alone():
    code = "import ptm.api; assert not any('ptm.base.light' in type(f).__module__ for f in sys.meta_path)"
    assert "torch._dynamo" not in modules_of(code)
