"""Libraries find nothing in the working directory while they are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", ["torch", "matplotlib"])
def test_15_02_a_library_is_imported_elsewhere_and_looks_as_ever_afterwards(
    tmp_path: Path, name: str
) -> None:
    """A library of that name that says where it is imported."""
    package = tmp_path / "packages" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os\nplace = os.getcwd()\nfrom . import part\n")
    (package / "part.py").write_text("import os\nplace = os.getcwd()\n")
    code = (
        f"import ptm, os, {name} as library\n"
        "from importlib.machinery import SourceFileLoader\n"
        "assert type(library.__loader__) is type(library.__spec__.loader) is SourceFileLoader\n"
        "print(library.place, library.part.place, os.getcwd(), sep='\\n')"
    )
    said = python(code, tmp_path, PYTHONPATH=f"{ROOT}:{package.parent}")
    assert said.stdout.splitlines() == ["/", "/", str(tmp_path)], said.stderr


def test_15_02_an_import_that_fails_comes_back(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('no')")
    code = (
        "import ptm, os\ntry:\n    import torch\nexcept ImportError as error:\n    print(error, os.getcwd())"
    )
    said = python(code, tmp_path, PYTHONPATH=f"{ROOT}:{package.parent}")
    assert said.stdout == f"no {tmp_path}\n", said.stderr


def test_15_02_settings_of_plots_in_the_working_directory_are_not_read(tmp_path: Path) -> None:
    """A pipe would be waited for, and what is no text ended a finished training with a traceback."""
    os.mkfifo(tmp_path / "matplotlibrc")
    said = python("import ptm, matplotlib; print(matplotlib.rcParams['savefig.dpi'])", tmp_path)
    assert said.returncode == 0 and said.stderr == "", said.stderr


@pytest.mark.slow
def test_15_02_the_system_looks_for_no_library_in_the_working_directory(tmp_path: Path) -> None:
    """It says what it tries: a name without a folder is one in the working directory."""
    said = python("import ptm.training.runtime", tmp_path, LD_DEBUG="libs")
    tried = [
        line.split("trying file=")[1].strip() for line in said.stderr.splitlines() if "trying file=" in line
    ]
    assert said.returncode == 0 and tried
    # What it tries in "/", where torch is imported, reads like what it tries here: no file of that name is here to run.
    (tmp_path / "libcuda.so.1").write_text("not a library")
    beside = python("import ptm.training.runtime", tmp_path, LD_DEBUG="libs,files")
    assert beside.returncode == 0 and "invalid ELF header" not in beside.stderr
