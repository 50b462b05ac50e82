"""Imports point downwards: every arrow between packages is checked, and nothing heavy is loaded before it is needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ptm"
# From the bottom up; what stands in one line does not import each other. docs/architecture.md shows the same order.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("base",),
    ("config",),
    ("data",),
    ("models",),
    ("pipeline",),
    ("metrics",),
    ("training",),
    ("text", "vision"),
    ("quality",),
    ("objective",),
    ("run",),
    ("engine",),
    ("distill", "export"),
    ("report",),
    ("experiment",),
    ("serve",),
    ("cli", "api"),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
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
    "starlette",
    "uvicorn",
    "prometheus_client",
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


def part_of(path: Path) -> str:
    """The package or module directly below ``ptm`` that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def arrows() -> Iterator[tuple[Path, str]]:
    """(file, part of ptm it imports) for every import, those inside functions and under TYPE_CHECKING too."""
    parts = {entry.name.removesuffix(".py") for entry in ROOT.iterdir()}
    for path in sorted(ROOT.rglob("*.py")):
        for name in modules_imported(path, top_level_only=False):
            package, _, rest = name.partition(".")
            part = rest.partition(".")[0]
            if package == "ptm" and part in parts:
                yield path, part


def test_every_part_of_ptm_has_a_layer():
    parts = {entry.name.removesuffix(".py") for entry in ROOT.iterdir() if entry.suffix in (".py", "")}
    assert parts - {"__init__", "__pycache__"} == set(LEVEL)


def test_imports_point_downwards():
    upwards = [
        f"{path.relative_to(ROOT)} imports ptm.{part}"
        for path, part in arrows()
        if path.name != "__init__.py" or path.parent != ROOT
        if part != part_of(path) and LEVEL[part] >= LEVEL[part_of(path)]
    ]
    assert upwards == []


def test_the_modules_of_a_package_do_not_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        graph[module] = {n for n in modules_imported(path, top_level_only=True) if n != module}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        if module in done or module not in graph:
            return
        for other in graph[module]:
            visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_only_three_modules_know_torch_distributed():
    users = [
        p
        for p in ROOT.rglob("*.py")
        if within(modules_imported(p, top_level_only=False), "torch.distributed")
    ]
    assert sorted(path.name for path in users) == ["runtime.py", "sharded.py", "shared_loss.py"]


def test_the_command_line_imports_nothing_heavy():
    for path in (ROOT / "cli").glob("*.py"):
        found = {name.split(".")[0] for name in modules_imported(path, top_level_only=True)}
        assert not found & HEAVY, path
    code = "import sys, ptm.cli.app; print(sorted(set(sys.modules) & {'torch', 'numpy', 'pydantic', 'transformers'}))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    "module",
    [
        "ptm.config.load",
        "ptm.config.spec",
        "ptm.config.expect",
        "ptm.config.tasks",
        "ptm.errors",
        "ptm.run.directory",
        "ptm.run.opening",
        "ptm.run.lockfile",
    ],
)
def test_configs_are_read_without_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules or 'numpy' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
