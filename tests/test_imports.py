"""Imports point downwards, and nothing heavy is loaded before a command needs it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ptm"
HEAVY = {
    "torch",
    "torchvision",
    "transformers",
    "datasets",
    "sklearn",
    "matplotlib",
    "numpy",
    "pyarrow",
    "pydantic",
    "rich",
}


def modules_imported(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(names: set[str], *prefixes: str) -> set[str]:
    return {name for name in names if name.startswith(tuple(f"{p}." for p in prefixes)) or name in prefixes}


def test_text_and_vision_know_neither_each_other_nor_the_engine():
    above = ("ptm.engine", "ptm.experiment", "ptm.cli", "ptm.objective", "ptm.checkpoint", "ptm.rundir")
    for package, other in (("text", "ptm.vision"), ("vision", "ptm.text"), ("data", "ptm.text")):
        for path in (ROOT / package).glob("*.py"):
            assert not within(modules_imported(path, top_level_only=False), other, *above), path


def test_the_engine_knows_no_task():
    for name in ("engine", "objective", "checkpoint", "optim", "order", "runtime"):
        found = modules_imported(ROOT / f"{name}.py", top_level_only=False)
        assert not within(found, "ptm.text", "ptm.vision", "ptm.tasks", "ptm.experiment", "ptm.cli"), name


def test_only_the_runtime_knows_torch_distributed():
    users = [
        p
        for p in ROOT.rglob("*.py")
        if within(modules_imported(p, top_level_only=False), "torch.distributed")
    ]
    assert [path.name for path in users] == ["runtime.py"]


def test_the_command_line_imports_nothing_heavy():
    found = {name.split(".")[0] for name in modules_imported(ROOT / "cli.py", top_level_only=True)}
    assert not found & HEAVY
    code = "import sys, ptm.cli; print(sorted(set(sys.modules) & {'torch', 'numpy', 'pydantic', 'transformers'}))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    "module", ["ptm.config", "ptm.spec", "ptm.expect", "ptm.errors", "ptm.rundir", "ptm.lock"]
)
def test_configs_are_read_without_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules or 'numpy' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
