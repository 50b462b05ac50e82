"""``--help`` of every command: complete, quick, and what README, docs, configs and messages say of it."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from ptm.cli.app import app
from ptm.cli.help import PAGES

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMAND = re.compile(r"\bptm ([a-z]+(?:\|[a-z]+)*)\b")


def options_of(command) -> set[str]:
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("--")} | {"--help"}


def leaves(group, words=()):
    """("cache", "list") → command, for every command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(leaves(typer.main.get_command(app)))
NAMES = {words[0] for words in COMMANDS}
# Those of a family together: documents name its commands side by side.
OPTIONS = {
    name: set().union(*(options_of(command) for words, command in COMMANDS.items() if words[0] == name))
    for name in NAMES
}
ANY = set().union(*OPTIONS.values())
OF_GIT = {
    "--verify",
    "--get-regexp",
    "--ignore-submodules",
    "--includes",
    "--no-optional-locks",
    "--porcelain",
    "--show-scope",
}
OF_DOCKER = {"--build-arg"}
OF_SCRIPTS = {
    option
    for script in (ROOT / "benchmarks").rglob("*.py")
    for option in re.findall(r'"(--[a-z][a-z-]*)"', script.read_text(encoding="utf-8"))
}


PRINT_HELP = """
import json, sys
from typer.testing import CliRunner
printed = {" ".join(words): CliRunner().invoke(app, [*words, "--help"]).output for words in COMMANDS}
packages = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
print(json.dumps([printed, sorted(name for name in packages if name[0] != "_")]))
"""
# Two commands with an argument and the kinds of options that ptm has.
PLAIN = """
from pathlib import Path
from typing import Annotated
import typer
app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
def plain(path: Path, number: Annotated[int, typer.Option(min=1)] = 1, names: list[str] = [], on: bool = False): ...
app.command()(plain)
app.command("other")(plain)
"""


def help_texts(app: str, commands) -> tuple[dict[str, str], set[str]]:
    """Of a typer app: what ``--help`` of each command prints, and the packages that are loaded by then."""
    code = f"{app}\nCOMMANDS = {commands!r}\n{PRINT_HELP}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    printed, packages = json.loads(done.stdout)
    return printed, set(packages)


def test_help_is_complete_and_loads_no_more_than_typer_itself():
    """So it answers as fast as typer does: 0.2 s of processor time, where importing torch takes seconds."""
    printed, packages = help_texts("from ptm.cli.app import app", list(COMMANDS))
    for words, command in COMMANDS.items():
        assert options_of(command) <= set(OPTION.findall(printed[" ".join(words)])), words
        assert command.help.split("\n")[0][:40] in printed[" ".join(words)], words
    assert packages - {"ptm"} <= help_texts(PLAIN, [("plain",)])[1]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_12_10_each_command_says_how_it_is_used(words):
    """In words for people, with examples that are right, and what its exit codes mean."""
    text, long = (CliRunner().invoke(app, [*words, option]).stdout for option in ("-h", "--help"))
    assert text == long
    assert not re.search(r"\b(TEXT|INTEGER|FLOAT|PATH\]|list\[)|<[a-z]+", text), text
    page = PAGES[" ".join(words)]
    assert [wrong for example in page.examples for wrong in wrong_commands(example)] == []
    for example in page.examples:
        assert f"ptm {' '.join(words)}" in example and f"  {example}\n" in text
    assert {0, 1} <= set(map(int, re.findall(r"^  (\d+) ", text.partition("Exit codes:")[2], re.M)))


def test_12_10_a_page_of_help_is_there_for_each_command_and_for_no_other():
    assert set(PAGES) == {" ".join(words) for words in COMMANDS}


def code_in(document: Path):
    """The lines of code blocks for a shell, a continued line as one, and what stands between backticks."""
    text = document.read_text(encoding="utf-8")
    for block in re.findall(r"^```(?!python).*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`([^`]+)`", prose)


def wrong_commands(line: str):
    """Commands and options in a line of code that ptm does not have."""
    line = re.sub(r"\s#.*", "", line)
    starts = [*COMMAND.finditer(line)]
    ends = [start.start() for start in starts[1:]] + [len(line)] * bool(starts)
    for start, end in zip(starts, ends, strict=True):
        names = start[1].split("|")
        yield from (f"ptm {name}" for name in names if name not in NAMES)
        part = line[start.end() : end]
        known = set().union(*(OPTIONS.get(name, set()) for name in names))
        yield from (f"ptm {start[1]} {option}" for option in OPTION.findall(part) if option not in known)
    if not starts and line.startswith("--"):
        yield from (option for option in OPTION.findall(line) if option not in ANY | OF_SCRIPTS | OF_DOCKER)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_commands_and_options_that_exist(document):
    assert [wrong for line in code_in(document) for wrong in wrong_commands(line)] == []


def test_headers_of_configs_name_commands_and_options_that_exist():
    for config in (ROOT / "configs").rglob("*.yaml"):
        comments = [line[1:] for line in config.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
        starts = [
            line[line.index("ptm ") :] for line in comments if re.match(r"\s*ptm [a-z]+ \S*configs/", line)
        ]
        assert [wrong for line in starts for wrong in wrong_commands(line)] == [], config


def messages(module: Path):
    """String constants that are no docstrings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.slow
def test_messages_name_commands_and_options_that_exist():
    for module in (ROOT / "ptm").rglob("*.py"):
        if module.parent.name == "programs":  # of exports, with options of their own
            continue
        for message in messages(module):
            unknown = set(OPTION.findall(message)) - ANY - OF_GIT - {"--version"}
            assert not unknown, (module, message)
            # What follows tells a command from a sentence about ptm.
            for name in re.findall(r"\bptm ([a-z]+) (?:--|…|\{|[A-Z]{2}|[a-z]+\.yaml)", message):
                assert name in NAMES, (module, message)


def test_every_command_and_every_option_is_documented():
    code = [line for document in DOCUMENTS for line in code_in(document)]
    for words, command in COMMANDS.items():
        lines = [line for line in code if re.search(rf"\bptm {words[0]}\b|ptm [a-z|]*\b{words[0]}\b", line)]
        assert any(words[-1] in line for line in lines), words
        mentioned = {option for line in code for option in OPTION.findall(line)}
        assert options_of(command) - {"--help"} <= mentioned, words
