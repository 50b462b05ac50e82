"""The application: which path does what. ``/predict`` reads a body, waits its turn, and answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from ptm import __version__
from ptm.base.printable import json_text
from ptm.errors import DataError, Problem
from ptm.experiment.prediction_table import row_json
from ptm.experiment.predictor import Input, Predictor
from ptm.serve import openapi, requests
from ptm.serve.answers import Refused, busy, hung_up, json_response
from ptm.serve.batching import Batcher, QueueFull
from ptm.serve.figures import Figures
from ptm.serve.guard import Guard
from ptm.serve.page import Page, about_page, try_page
from ptm.serve.settings import Settings

Made = TypeVar("Made")

_PATHS = ("/", "/predict", "/healthz", "/metrics", "/openapi.json", "/docs")
_BODIES = 16  # of the largest size, held at once
_AT_ONCE = 65_536  # bytes of a text's body that are read in the event loop: a thread of its own costs more


@dataclass
class Service:
    """What the endpoints share."""

    predictor: Predictor
    settings: Settings
    batcher: Batcher
    figures: Figures
    room: requests.Room
    readers: ThreadPoolExecutor
    images: bool

    async def predict(self, request: Request) -> Response:
        """One or several inputs."""
        kind = requests.kind_of(request.headers, images=self.images)
        most = self.settings.body_bytes(images=self.images)
        requests.refuse_announced(request.headers, most)
        with self.room.share() as hold:
            stage, gone = "body", threading.Event()
            try:
                async with asyncio.timeout(self.settings.timeout):
                    body = await requests.read_body(request, most, hold)
                    stage = "inputs"
                    inputs = await self._inputs(request, kind, body, gone)
                    predictions = await self.batcher.predict(inputs)
            except TimeoutError:
                raise self._late(stage) from None
            except QueueFull:
                raise busy("too many inputs wait already") from None
            finally:
                gone.set()  # a thread that reads for it has nobody to read for
        rows = [
            row_json({**prediction, "id": index}, {"where": inputs[index].where})
            for index, prediction in enumerate(predictions)
        ]
        self.figures.predicted(len(rows))
        return json_response(f'{{"predictions": [{", ".join(rows)}]}}')

    def _late(self, stage: str) -> Refused:
        seconds = f"{self.settings.timeout:g} s"
        if stage == "body":
            problem = Problem(f"the body did not come within {seconds}", "body", cure="send it faster")
            return hung_up(408, problem)
        return busy(f"not predicted within {seconds}")

    async def _inputs(
        self, request: Request, kind: requests.Kind, body: bytes, gone: threading.Event
    ) -> list[Input]:
        read = self.predictor.read
        if kind == "image":
            values: list[Any] = [body]
        elif kind == "form":
            values = await requests.form_files(request.headers, body, self.settings.queue)
        elif not self.images and len(body) <= _AT_ONCE:
            return read(self._counted(requests.json_values(body, images=False)))
        else:
            values = await self._aside(partial(requests.json_values, body, images=self.images))
        return await self._aside(partial(read, self._counted(values), lambda: not gone.is_set()))

    async def _aside(self, work: Callable[[], Made]) -> Made:
        return await asyncio.get_running_loop().run_in_executor(self.readers, work)

    def _counted(self, values: Sequence[Any]) -> Sequence[Any]:
        if len(values) > self.settings.queue:
            raise Refused(
                422,
                Problem(
                    f"{len(values):,} inputs in one request",
                    "inputs",
                    f"at most {self.settings.queue}",
                    "send them in several requests, or use ptm predict",
                ),
                exit_code=DataError.exit_code,
            )
        return values

    async def healthz(self, request: Request) -> Response:
        about = {"status": "ok", "task": self.predictor.spec.task, "ptm": __version__}
        return json_response(json_text(about, None))

    async def metrics(self, request: Request) -> Response:
        return Response(self.figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def build_app(
    predictor: Predictor,
    settings: Settings,
    *,
    name: str,
    hosts: frozenset[str] | None,
    say: Callable[[str], None],
    each: Callable[[str], None] | None = None,
) -> ASGIApp:
    """The ASGI application for a model. ``name``: what it is called; ``hosts``: as :class:`Guard` takes them; ``each``
    is told a line of each request."""
    spec = predictor.spec
    figures = Figures(_PATHS, {"task": spec.task, "model": name, "version": __version__})
    images = spec.descriptor.modality == "image"
    batcher = Batcher(
        lambda inputs: predictor.predict(inputs, settings.batch),
        most=settings.batch,
        wait=settings.wait_ms / 1000,
        room=settings.queue,
        observe=figures.batch,
    )
    figures.watch(lambda: batcher.waiting)
    readers = ThreadPoolExecutor(1, "read")  # one: large images are decoded one after the other
    room = requests.Room(_BODIES * settings.body_bytes(images=images))
    service = Service(predictor, settings, batcher, figures, room, readers, images)
    columns = predictor.columns
    sets = predictor.pipeline.least_score is not None
    api = openapi.document(spec, columns, name, predictor.pipeline.reads, with_sets=sets)
    pages = {"/": try_page(spec, columns, name), "/docs": about_page(api)}
    api_text = json_text(api, 2)

    async def describe(request: Request) -> Response:
        return json_response(api_text)

    async def show(request: Request) -> Response:
        page: Page = pages[request.url.path]
        return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})

    @asynccontextmanager
    async def lifespan(app: Router) -> AsyncIterator[None]:
        worker = asyncio.create_task(batcher.run())
        try:
            yield
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
            readers.shutdown()

    routes = [
        Route("/predict", service.predict, methods=["POST"]),
        Route("/healthz", service.healthz),
        Route("/metrics", service.metrics),
        Route("/openapi.json", describe),
        *(Route(path, show) for path in pages),
    ]

    def answered(path: str, status: int, seconds: float) -> None:
        figures.answered(path, status, seconds)
        if each is not None:
            each(f"{status} {path[:200]} in {1000 * seconds:.1f} ms")

    router = Router(routes, redirect_slashes=False, lifespan=lifespan)
    return Guard(router, hosts=hosts, answered=answered, say=say)
