"""``ptm eval``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptm.cli.options import Json, Locked, Offline, Quiet, Set, Verbose, new_reporter
from ptm.cli.piped import piped_source
from ptm.cli.show import show_results

if TYPE_CHECKING:
    from ptm.run.lockfile import Pins
    from ptm.run.results import Judged


def evaluate(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run directory, an export, or a config (- for standard input) whose model is evaluated as it is.",
            show_default=False,
        ),
    ],
    set_: Set = [],  # noqa: B006
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Another source: csv:FILE, csv:FOLDER, imagefolder:FOLDER, …; csv:- (tsv:-, json:-, text:-) is "
            "standard input.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME",
            help="eval or test of the config alone; or another split, a file under the source.",
        ),
    ] = None,
    expect: Annotated[
        list[str], typer.Option("--expect", metavar="BOUND", help='Exit with 4 if missed: "accuracy>=0.9".')
    ] = [],  # noqa: B006
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="FILE", help="Write a line an example to this .jsonl file."),
    ] = None,
    json_: Json = False,
    locked: Locked = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a trained model."""
    from ptm.config.expect import parse_bound, require_met

    bounds = [parse_bound(text) for text in expect]
    from ptm.experiment.evaluate import run_evaluation
    from ptm.export.directory import is_export
    from ptm.run.opening import require_run

    if target.is_dir() and not is_export(target):
        require_run(target, "a run directory, an export or a config file")
    reporter = new_reporter(quiet=quiet, verbose=verbose)
    own: Judged | None = None
    if split in ("eval", "test") and not data and _has_test(target, set_):
        own, split = ("eval" if split == "eval" else "test"), None
    with piped_source(data, target) as source:
        results = run_evaluation(
            target,
            overrides=_overrides(target, source, split, set_),
            expect=bounds,
            predictions=predictions,
            split=own,
            pins=_pins(target) if locked else None,
            reporter=reporter,
        )
    show_results(results, as_json=json_)
    require_met({"": results.expect}, results.positive_label)


def _overrides(target: Path, data: str | None, split: str | None, changes: Sequence[str]) -> list[str]:
    """All changes to the config, those of ``--set`` last."""
    if data and not split and not any(change.partition("=")[0].strip() == "data.eval" for change in changes):
        data, split = _as_folder(data)
    # What is named here is measured whole: neither the run's share nor its limit or split are those of other data.
    other = ["data.train=null", "data.eval=null", "data.max_eval_examples=null"]
    overrides = [f"data.source={json.dumps(data)}", *other, *_as_written(target, data)] if data else []
    overrides += [f"data.eval={json.dumps(split)}"] if split else []
    if data or split:
        # Nothing is held out of these, and the bounds of the config are for its own data.
        overrides += ["data.test=null", "data.split_by=null", "data.stratify=null", "expect={}"]
    return [*overrides, *changes]


def _has_test(target: Path, changes: list[str]) -> bool:
    """Whether ``test`` and ``eval`` are names of splits of the config, not of its source."""
    from ptm.config.load import load_config
    from ptm.errors import ConfigError

    try:
        spec = load_config(target / "config.yaml" if target.is_dir() else target, changes)
    except ConfigError:  # whoever evaluates says what is wrong
        return False
    return spec.data.test is not None


def _as_written(target: Path, data: str) -> list[str]:
    """How files of another kind than those of the config are written is not what the config says."""
    from ptm.config.load import load_config
    from ptm.errors import ConfigError

    config = target / "config.yaml" if target.is_dir() else target
    try:
        spec = load_config(config).data
    except ConfigError:  # it may be whole with --set only; whoever evaluates says what is wrong
        return []
    before, after = spec.source.partition(":")[0], data.partition(":")[0]
    if before == after:
        return []
    keys = ["delimiter", "quoting", "encoding", "header", "columns", "sheet", "mask_colors"]
    if after in ("labelme", "coco"):  # where classes have names
        keys += ["mask_values", "ignore_value"]
    elif after == "masks" and spec.mask_colors is None:
        keys += ["ignore_label"]
    if {before, after} & {"imagefolder", "textfolder"}:  # a column, and an expression for paths
        keys += ["label"]
    return [f"data.{key}=null" for key in keys if getattr(spec, key) is not None]


def _pins(target: Path) -> Pins:
    from ptm.errors import ConfigError
    from ptm.run.lockfile import lock_path, read_lock

    config = target / "config.yaml" if target.is_dir() else target
    if target.is_dir() and not lock_path(config).is_file():
        raise ConfigError(
            "this run was not started with --locked, so nothing says what it should be held against",
            where=target,
            cure="ptm lock the config that it was started from, and name that config instead of the run",
        )
    return read_lock(config)


def _as_folder(data: str) -> tuple[str, str | None]:
    """A source that is one file, as the folder it is in and itself as the split; another as it is."""
    from ptm.config.tasks import ROW_SOURCES

    kind, _, place = data.partition(":")
    file = Path(place.strip())
    there = Path(os.path.expanduser(file))  # noqa: PTH111 - leaves an unknown ~user as it is
    if kind in ROW_SOURCES and there.is_file():
        return f"{kind}:{file.parent}", file.name
    return data, None
