"""``ptm serve``, from a run directory to a server that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ptm.base.console import Reporter
from ptm.experiment.predictor import open_predictor
from ptm.serve.app import build_app
from ptm.serve.guard import known_hosts
from ptm.serve.server import address_of, is_loopback, listen, run_server
from ptm.serve.settings import Settings


def serve(
    target: Path,
    settings: Settings,
    *,
    overrides: Sequence[str] = (),
    threshold: float | None = None,
    reject_below: float | None = None,
    coverage: float | None = None,
    each_request: bool = False,
    ready: Callable[[str, str], None],
    reporter: Reporter,
) -> None:
    """Serve a run, an export or a config whose model is trained, until a signal comes. ``ready`` is told the address
    and the task as soon as requests are accepted; ``each_request``: say a line of each. Raises a
    PtmError for what is wrong with model or address."""
    with listen(settings.host, settings.port) as place:
        loopback = is_loopback(place)
        with open_predictor(
            target,
            overrides,
            threshold=threshold,
            reject_below=reject_below,
            coverage=coverage,
            reporter=reporter,
        ) as predictor:
            if not loopback:
                reporter.say(
                    f"warning: {settings.host} can be reached from other machines: whoever can reach it can use the "
                    "model; there is no password, and nothing is encrypted"
                )
            app = build_app(
                predictor,
                settings,
                name=target.resolve().name or str(target),
                hosts=known_hosts(settings.host, settings.hosts, loopback=loopback),
                say=reporter.say,
                each=reporter.say if each_request else None,
            )
            run_server(
                app,
                place,
                timeout=settings.timeout,
                ready=lambda: ready(address_of(place), predictor.spec.task),
                say=reporter.say,
            )
