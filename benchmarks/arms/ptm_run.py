"""ptm itself, as its command would run: training, evaluations, checkpoints, report."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import finish, settings, spec_of


def main() -> None:
    from ptm.base.allocator import keep_freed_memory
    from ptm.base.light_imports import import_lightly

    import_lightly()  # as the command does
    keep_freed_memory()
    from ptm.base.console import Silent
    from ptm.experiment.train import run_training

    options = settings()
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_of(options, Path(folder))
        results = run_training(spec, mode="new", reporter=Silent()).as_dict()
        # A frozen backbone says once what it has to say, before the first step.
        finish(
            loop_seconds=results["train"]["seconds"] + (results["backbone"] or {"seconds": 0.0})["seconds"],
            examples=results["train"]["examples"],
            accuracy=results["metrics"]["accuracy"],
            eval_seconds=results["eval"]["seconds"],
            eval_examples=results["eval"]["examples"],
        )


if __name__ == "__main__":
    main()
