"""``ptm serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptm.cli.options import Coverage, Offline, Quiet, RejectBelow, Set, Verbose, new_reporter
from ptm.cli.printing import echo_json


def serve(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run directory, an export, or a config whose model is trained.",
            show_default=False,
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Where to listen; others can be reached from outside."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any that is free.")
    ] = 8000,
    allow_host: Annotated[
        list[str],
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A name under which the server may be called, besides localhost and --host. Repeatable.",
        ),
    ] = [],  # noqa: B006
    max_batch: Annotated[
        int, typer.Option("--max-batch", metavar="N", min=1, help="Inputs computed together, at most.")
    ] = 32,
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait", metavar="MS", min=0, help="How long an input waits for others, in milliseconds."
        ),
    ] = 2.0,
    queue: Annotated[
        int,
        typer.Option(
            "--queue",
            metavar="N",
            min=1,
            help="Inputs that may wait; more are told to come back later (503).",
        ),
    ] = 256,
    max_body: Annotated[
        float | None,
        typer.Option(
            "--max-body",
            metavar="MB",
            min=0.001,
            max=1000,
            help="The largest body of a request (default: 1 for texts, 16 for images).",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, help="What a request may take in all."),
    ] = 30.0,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="SCORE",
            min=0,
            max=1,
            help="Detection: the least score of a box (default: 0.05).",
        ),
    ] = None,
    reject_below: RejectBelow = None,
    coverage: Coverage = None,
    set_: Set = [],  # noqa: B006
    json_: Annotated[
        bool,
        typer.Option("--json", help="Print the address as JSON as soon as it serves; what is wrong, too."),
    ] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Serve a trained model over HTTP: /predict, and a page to try it in a browser."""
    from ptm.base.extras import require_package

    for package in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
        require_package(package, "serve", where="ptm serve")
    from ptm.serve.command import serve as run
    from ptm.serve.settings import Settings

    settings = Settings(
        host=host,
        port=port,
        batch=max_batch,
        wait_ms=max_wait,
        queue=queue,
        body_mb=max_body,
        timeout=timeout,
        hosts=tuple(allow_host),
    )
    reporter = new_reporter(quiet=quiet, verbose=verbose)

    def ready(address: str, task: str) -> None:
        if json_:
            echo_json({"url": address, "task": task, "target": str(target)}, indent=None)
        reporter.say(f"serving {target} ({task}) at {address} until SIGTERM or Ctrl-C")

    run(
        target,
        settings,
        overrides=set_,
        threshold=threshold,
        reject_below=reject_below,
        coverage=coverage,
        each_request=verbose,
        ready=ready,
        reporter=reporter,
    )
