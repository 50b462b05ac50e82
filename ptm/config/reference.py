"""docs/configuration.md, made from the spec: ``python -m ptm.config.reference > docs/configuration.md``."""

from __future__ import annotations

import json
import sys
from typing import Any

from ptm import errors
from ptm.config import schema, spec

_INTRO = """\
<!-- Made from ptm/config/spec.py: python -m ptm.config.reference > docs/configuration.md -->

# Configuration

One YAML file is one experiment. `ptm check FILE…` says what is wrong with files without running them, all
problems at once, each with `file:line:column`. `ptm schema` prints a JSON Schema for editors.

## Rules

- A key has one spelling. Unknown keys are errors that name the right one, also for the names that other tools
  use (`lr`, `num_train_epochs`, …).
- No duplicate keys, anchors, aliases, merge keys, tags or second documents. UTF-8, at most 1 MiB, indented
  with spaces, nested at most 20 deep.
- Only `true` and `false` are booleans; `yes`, `no`, `on`, `off` are texts. `1e-5`, `2e-05` and `1_000` are
  numbers; `.inf` and `.nan` are not. `"3"` in quotes is a text. Texts that look like a number, or begin with
  `>`, `%`, `*`, `&` or `!`, need quotes.
- `--set a.b=c` changes a key on the command line, as often as needed: `--set train.epochs=1`,
  `--set data.labels=[no,yes]`, `--set teacher=null`. The value follows the same rules; a text needs no quotes
  but the shell's: `--set "expect.accuracy=>= 0.9"`.
- Paths in a file are relative to the file, paths in `--set` to the working directory; `output` (and
  `--output`) always to the working directory. A `~` at the start is your home directory.
- The `config.yaml` in a run directory has every default and change filled in, what the model decides (`max_length`,
  `image_size`, `mean`, …) as well, and all paths absolute: it runs
  again unchanged from anywhere.
"""

_EXAMPLES = """\
## Examples

Text classification, from a folder with two CSV files:

```yaml
version: 1
task: text-classification
model: {name: bert-base-uncased}
data:
  source: csv:reviews                # the folder beside this file
  train: train.csv
  eval: test.csv
  text: text
  label: label
  labels: [negative, positive]
  max_length: 128
train:
  epochs: 3
  batch_size: 32
  learning_rate: 2e-5
  warmup: 0.06
best: {metric: accuracy, mode: max}
output: runs/reviews
expect: {accuracy: ">= 0.9"}
```

Image classification, from a folder a class, a fifth of it held out:

```yaml
version: 1
task: image-classification
model: {name: resnet18}
data: {source: imagefolder:flowers, eval: 20%, augment: standard}
train: {epochs: 10, batch_size: 64, optimizer: sgd, learning_rate: 1e-2, scheduler: cosine}
best: {metric: accuracy, mode: max}
output: runs/flowers
```

Distillation is the same with a `teacher`, here the run directory of a larger model with the same labels:

```yaml
version: 1
task: image-classification
teacher: {name: ../runs/flowers_resnet50}
model: {name: resnet18}
distill: {method: kd, temperature: 4.0, kd_weight: 0.7, ce_weight: 0.3}
data: {source: imagefolder:flowers, eval: 20%, augment: standard}
train: {epochs: 10, batch_size: 64, optimizer: sgd, learning_rate: 1e-2, scheduler: cosine}
output: runs/flowers_distilled
```
"""

_SECTIONS: dict[str, type] = {
    "model": spec.ModelSpec,
    "teacher": spec.TeacherSpec,
    "distill": spec.DistillSpec,
    "data": spec.DataSpec,
    "train": spec.TrainSpec,
    "best": spec.BestSpec,
    "decisions": spec.DecisionsSpec,
    "generate": spec.GenerateSpec,
    "runtime": spec.RuntimeSpec,
}


_INNER: dict[str, dict[str, type]] = {"model": {"shape": spec.ShapeSpec, "adapter": spec.AdapterSpec}}


def reference_markdown() -> str:
    """The page as Markdown: rules, an example a task, a table a section, exit codes."""
    parts = [_INTRO, _EXAMPLES, "## Top level\n\n" + _table(())]
    for section, holder in _SECTIONS.items():
        parts.append(f"## `{section}`\n\n{(holder.__doc__ or '').strip()}\n\n{_table((section,))}")
        for key, inner in _INNER.get(section, {}).items():
            doc = (inner.__doc__ or "").strip()
            parts.append(f"### `{section}.{key}`\n\n{doc}\n\n{_table((section, key))}")
    return "\n".join([*parts, _exit_codes()])


def _table(path: schema.Path) -> str:
    rows = [_row((*path, key), key in schema.required(path)) for key in schema.keys_of(path)]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _row(path: schema.Path, required: bool) -> str:
    here = schema.fragment(path)
    assert here is not None
    kind = "a section, see below" if schema.keys_of(path) else schema.phrase(here)
    default = "required" if required else f"`{_written(here.get('default'))}`"
    if "default" not in here and not required:  # made by a factory: an empty section
        default = "all defaults" if schema.keys_of(path) else "`{}`"
    return f"| `{path[-1]}` | {_cell(kind)} | {default} | {_cell(here.get('description', ''))} |"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _exit_codes() -> str:
    meanings: dict[int, list[str]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.PtmError) and kind is not errors.PtmError:
            meanings.setdefault(kind.exit_code, []).append((kind.__doc__ or "").strip().replace("``", "`"))
    meanings[0] = ["Done."]
    meanings[1] = ["A bug of ptm's; please report it."]
    meanings[130] = ["Stopped at once, by a second signal or before anything was written."]
    meanings[141] = ["What read the standard output went away, as in `ptm models | head`."]
    rows = [f"| {code} | {_cell(' '.join(texts))} |" for code, texts in sorted(meanings.items())]
    return "\n".join(["## Exit codes", "", "| code | meaning |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
