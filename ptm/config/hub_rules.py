"""What must hold of the names that a hub is asked for. No torch in here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from ptm.config.spec import RunSpec


def check_revisions(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Revisions that are paths: (key path, what, cure). The client of the hub keeps the commit of a revision in a file
    of that name in its cache, which then would be any file of the user's."""
    sections = {"model": spec.model, "teacher": spec.teacher}
    for name, section in sections.items():
        revision = None if section is None else section.revision
        if revision is None:
            continue
        if not revision or revision.startswith("/") or ".." in PurePath(revision).parts or "\0" in revision:
            what = f"{revision[:80]!r} is no branch, tag or commit: git has none of such a name"
            yield (name, "revision"), what, "name one of those of the model, or remove it"
