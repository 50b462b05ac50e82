"""How commands explain themselves: arguments and options without the types of Python, examples, exit codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand

from ptm.cli.usage import require_names

# What each exit code means, in a line; docs/configuration.md says more.
CODES: Mapping[int, str] = {
    0: "done",
    1: "a bug of ptm's: please report it",
    2: "the config or the command line is wrong",
    3: "data, a model or files cannot be used",
    4: "a bound was missed: expect:, --expect, --fail-if-worse; or not reproduced",
    5: "out of memory, or of threads",
    6: "something to download is missing, and there is no network; or a hub refuses",
    7: "a loss or metric is not finite",
    75: "stopped by a signal; the same command with --resume goes on",
    137: "a process of several was killed; --resume goes on",
}
_TRAINING = (0, 2, 3, 4, 5, 6, 7, 75, 137)
_COMPUTING = (0, 2, 3, 4, 5, 6, 7)
_READING = (0, 2, 3)


@dataclass(frozen=True)
class Page:
    """What the help of a command says besides its options."""

    examples: tuple[str, ...]
    codes: tuple[int, ...]


PAGES: Mapping[str, Page] = {
    "finetune": Page(
        (
            "ptm finetune reviews.yaml",
            "ptm finetune reviews.yaml --set train.epochs=5 --output runs/longer",
            "ptm finetune reviews.yaml --resume",
            "ptm finetune reviews.yaml --print-config",
            "sed s/bert/roberta/ reviews.yaml | ptm finetune -",
        ),
        _TRAINING,
    ),
    "pretrain": Page(
        ("ptm pretrain mlm.yaml", "ptm pretrain mlm.yaml --nproc auto --set train.micro_batch_size=8"),
        _TRAINING,
    ),
    "distill": Page(
        ("ptm distill student.yaml", "ptm distill student.yaml --control --seeds 1,2,3"), _TRAINING
    ),
    "batch": Page(
        (
            "ptm batch a.yaml b.yaml --seeds 1,2,3 --junit junit.xml",
            "ptm batch a.yaml --grid train.learning_rate=1e-5,3e-5 --jobs 2",
            "ptm batch a.yaml --search train.learning_rate=1e-5..1e-3:log --trials 20",
        ),
        _TRAINING,
    ),
    "eval": Page(
        (
            "ptm eval runs/reviews",
            'ptm eval runs/reviews --data csv:new.csv --expect "accuracy>=0.9"',
            "zcat new.csv.gz | ptm eval runs/reviews --data csv:-",
        ),
        _COMPUTING,
    ),
    "predict": Page(
        (
            'ptm predict runs/reviews --text "worth every cent"',
            "ptm predict runs/reviews new.csv --output predictions.csv",
            "cat texts.txt | ptm predict runs/reviews -",
        ),
        (0, 2, 3, 5, 6, 7),
    ),
    "compare": Page(
        ("ptm compare runs/a runs/b", "ptm compare runs/a runs/b --fail-if-worse significant"), (0, 2, 3, 4)
    ),
    "runs": Page(("ptm runs", "ptm runs /data/runs --json"), _READING),
    "export": Page(
        ("ptm export runs/reviews", "ptm export runs/reviews --quantize int8 --output reviews-int8"),
        _COMPUTING,
    ),
    "serve": Page(
        (
            "ptm serve runs/reviews",
            "ptm serve reviews-int8 --port 9000 --max-batch 64",
            "ptm serve runs/reviews --host 0.0.0.0 --allow-host models.example.org",
        ),
        (0, 2, 3, 5, 6),
    ),
    "models": Page(
        ("ptm models --task image-classification", "ptm models --names resnet18,resnet50 --measure"),
        (0, 2, 3, 5, 6),
    ),
    "init": Page(
        (
            "ptm init reviews.csv",
            "ptm init photos/ --output flowers.yaml",
            "ptm init --example quickstart",
            "ptm init --list",
        ),
        _READING,
    ),
    "check": Page(("ptm check a.yaml b.yaml", "ptm check a.yaml --data"), (0, 2, 3, 5, 6)),
    "bench": Page(
        ("ptm bench reviews.yaml", "ptm bench reviews.yaml --steps 10 --set runtime.threads=1"), _COMPUTING
    ),
    "fetch": Page(
        (
            "ptm fetch a.yaml b.yaml",
            "ptm fetch a.yaml --list",
            "ptm fetch a.yaml && ptm finetune a.yaml --offline",
        ),
        (0, 2, 3, 6),
    ),
    "lock": Page(("ptm lock reviews.yaml",), (0, 2, 3, 5, 6)),
    "schema": Page(("ptm schema > ptm.schema.json",), (0,)),
    "reproduce": Page(
        ("ptm reproduce runs/reviews", "ptm reproduce runs/reviews --output runs/again"), _TRAINING
    ),
    "report": Page(("ptm report runs/reviews",), (0, 2, 3, 5, 6)),
    "track": Page(("ptm track runs/reviews --to tensorboard",), _READING),
    "card": Page(("ptm card runs/reviews", "ptm card runs/reviews --check"), (0, 2, 3, 4, 5)),
    "push": Page(
        (
            "ptm push runs/reviews --to me/reviews --dry-run",
            "ptm push runs/reviews --to me/reviews --licence mit",
            "ptm push runs/reviews-onnx --to me/reviews-onnx --public",
        ),
        (0, 2, 3, 6),
    ),
    "env": Page(("ptm env", "ptm env --json"), (0,)),
    "completion": Page(("ptm completion bash >> ~/.bashrc", "ptm completion zsh >> ~/.zshrc"), (0, 2)),
    "cache list": Page(("ptm cache list",), _READING),
    "cache verify": Page(("ptm cache verify",), _READING),
    "cache prune": Page(("ptm cache prune --to 5", "ptm cache prune --all"), _READING),
}


class Command(TyperCommand):
    """A command whose help ends with its examples and exit codes, and that takes no empty names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # The words as they are: of "" a path is made that is the working directory.
        written, *_ = self.make_parser(ctx).parse_args(args=list(args))
        require_names(self.get_params(ctx), written)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments, options = [], []
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                arguments.append(_argument_row(parameter))
            elif (record := parameter.get_help_record(ctx)) is not None:
                options.append(record)
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        page = PAGES.get(_words(ctx))
        if page is None:
            return
        with formatter.section("Examples"):
            for example in page.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), CODES[code]) for code in (*page.codes, *_always(page.codes))])


def _always(codes: Sequence[int]) -> list[int]:
    return [] if 1 in codes else [1]


def _words(ctx: Any) -> str:
    """``cache list``: the names of the command and its family, without that of the program."""
    names: list[str] = []
    while ctx.parent is not None:
        names.insert(0, ctx.info_name)
        ctx = ctx.parent
    return " ".join(names)


def _argument_row(parameter: Any) -> tuple[str, str]:
    name = parameter.metavar or parameter.name.upper()
    default = parameter.default
    has_default = (
        parameter.show_default and default is not None and not callable(default) and default not in ((), [])
    )
    extra = [f"default: {default}"] if has_default else []
    extra += ["required"] if parameter.required else []
    notes = f"  [{'; '.join(extra)}]" if extra else ""
    return name, f"{parameter.help or ''}{notes}"
