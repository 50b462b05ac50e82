"""``ptm runs``: the runs below a folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ptm.errors import RunDirectoryError
from ptm.run.directory import RunDirectory
from ptm.run.ownership import is_run


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """All runs below a folder, the newest first: where, status, task, metric, when, of which config and commit.

    Raises RunDirectoryError where there is no such folder.
    """
    if not folder.is_dir():
        raise RunDirectoryError(
            "there is no such folder", where=folder, cure="name the folder that holds your runs"
        )
    rows = [_listed(RunDirectory(path)) for path in _runs_below(folder)]
    return sorted(rows, key=lambda row: row["created"] or "", reverse=True)


def _runs_below(folder: Path) -> list[Path]:
    """Run directories below, not through links; a run holds no other run."""
    runs: list[Path] = []
    folders = [folder]
    while folders:
        path = folders.pop()
        if is_run(path):
            runs.append(path)
            continue
        with suppress(OSError):
            folders += [entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink()]
    return runs


def _listed(run: RunDirectory) -> dict[str, Any]:
    results, manifest = run.read_results(), run.read_manifest()
    status = results.status if results else "unfinished"
    task = results.task if results else manifest.task if manifest else None
    name = value = None
    if results is not None and results.judged:
        best = results.best.metric if results.best else None
        name = best or next((n for n in results.judged if n != "loss"), "loss")
        value = results.judged.get(name)
    git = manifest.git if manifest else None
    return {
        "run": str(run.path),
        "status": status,
        "task": task,
        "metric": name,
        "positive_label": results.positive_label if results else None,
        "value": value,
        "split": results.judged_split if results and results.judged else None,
        "created": manifest.created if manifest else None,
        "command": manifest.command if manifest else None,
        "commit": (git or {}).get("commit"),
        "expectations_missed": [e.metric for e in results.expect if not e.met] if results else [],
    }
