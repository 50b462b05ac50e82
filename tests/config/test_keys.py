"""For which tasks a key is: one place says so, and the schema, the reference and the messages read it there."""

import json

import pytest

from ptm.config import schema
from ptm.config.load import parse_config
from ptm.config.reference import reference_markdown
from ptm.config.tasks import TASKS
from ptm.errors import ConfigError

KEYS = {path: fragment for path in schema.all_keys() if "x-tasks" in (fragment := schema.fragment(path))}
VALUES = {"string": "x", "number": 0.5, "integer": 100, "boolean": False, "object": {}, "array": [0, 1]}


def value_of(path):
    """Something that may stand there and is not the default."""
    here = KEYS[path]
    words = [word for word in schema.choices(here) if word != here.get("default")]
    if path[-1] == "labels_from":  # texts, unlike all other lists
        return ["x", "y"]
    if here.get("default") is False:
        return True
    return words[0] if words else next(VALUES[kind] for kind in VALUES if schema.accepts(here, kind))


def config(task, path):
    descriptor = TASKS[task]
    content = {
        "version": 1,
        "task": task,
        "model": {"name": "m"},
        "data": {"source": f"{descriptor.sources[0]}:d"},
        "train": {"epochs": 1, "learning_rate": 0.1},
        "output": "r",
    }
    content |= {"teacher": {"name": "t"}} if path[0] == "teacher" else {}
    *section, key = path
    inner = content.setdefault(section[0], {}) if section else content
    inner[key] = value_of(path)
    return json.dumps(content)


def problems(task, path, tmp_path):
    try:
        parse_config(config(task, path), "c", base=tmp_path, cwd=tmp_path)
    except ConfigError as error:
        return [problem.what for problem in error.problems]
    return []


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_a_key_is_refused_for_all_tasks_but_those_that_the_schema_names(path, tmp_path):
    dotted, tasks = ".".join(path), KEYS[path]["x-tasks"]
    assert tasks
    for task in TASKS:
        foreign = [what for what in problems(task, path, tmp_path) if what.startswith(f"{dotted} is for ")]
        assert bool(foreign) == (task not in tasks), task
        for what in foreign:
            words = what.removeprefix(f"{dotted} is for ").removesuffix(f", this is {task}")
            assert f"| Only for {words}. " in row(path)


def row(path):
    page = reference_markdown()
    heading = "## Top level" if len(path) == 1 else f"## `{path[0]}`"
    return next(
        line for line in page.partition(heading)[2].splitlines() if line.startswith(f"| `{path[-1]}`")
    )


def test_a_key_without_such_a_note_is_for_every_task():
    assert schema.is_for(("train", "seed"), "translation")
    assert schema.is_for(("generate",), "translation")
    assert not schema.is_for(("generate",), "causal-lm")
    assert not schema.is_for(("nothing",), "causal-lm")
