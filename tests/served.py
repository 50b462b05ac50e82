"""A server in this process, with a model or with something that stands for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2

from helpers import image_spec, text_spec
from ptm.experiment.predictor import Input
from ptm.serve.app import build_app
from ptm.serve.guard import known_hosts
from ptm.serve.settings import Settings

URL = "http://127.0.0.1:8000"


class Stand:
    """In the place of a Predictor: says how long a text is, and takes ``seconds`` for each batch."""

    def __init__(self, seconds: float = 0.0, task: str = "text-classification", columns=("text",)) -> None:
        image = task == "image-classification"
        self.spec = image_spec(Path("r")) if image else text_spec(Path("m"), Path(), Path("r"))
        self.columns = self.roles = columns
        self.pipeline = SimpleNamespace(reads="texts", least_score=None)
        self.batches: list[int] = []
        self._seconds = seconds

    def read(self, values: Sequence[Any], wanted: Any = None) -> list[Input]:
        return [Input({self.roles[0]: value}, f"inputs[{n}]") for n, value in enumerate(values)]

    def predict(self, inputs: Sequence[Input], batch_size: int) -> list[dict[str, Any]]:
        time.sleep(self._seconds)
        self.batches.append(len(inputs))
        for each in inputs:
            if each.values[self.roles[0]] == "bug":
                raise RuntimeError("secret")
        return [
            {"id": n, "prediction": str(len(each.values[self.roles[0]]))} for n, each in enumerate(inputs)
        ]


def app_of(predictor: Any, said: list[str] | None = None, hosts: Any = "own", **settings: Any) -> Any:
    known = known_hosts("127.0.0.1", (), loopback=True) if hosts == "own" else hosts
    say = (said if said is not None else []).append
    return build_app(predictor, Settings(**settings), name="reviews", hosts=known, say=say)


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server that has been started, and is stopped in the end."""
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answered: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan"}, told.get, answered.put))
    await told.put({"type": "lifespan.startup"})
    assert (await answered.get())["type"] == "lifespan.startup.complete"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=URL) as client:
        yield client
    await told.put({"type": "lifespan.shutdown"})
    assert (await answered.get())["type"] == "lifespan.shutdown.complete"
    await running


def ask(app: Any, *requests: dict[str, Any]) -> list[httpx2.Response]:
    """The answers to requests that are sent at once; ``{"json": …}`` and the like go to POST /predict."""

    async def all_answers() -> list[httpx2.Response]:
        async with client_of(app) as client:
            sent = [client.request(**{"method": "POST", "url": "/predict", **each}) for each in requests]
            return await asyncio.gather(*sent)

    return asyncio.run(all_answers())


def problems_of(response: httpx2.Response) -> list[dict[str, str]]:
    return response.json()["error"]["problems"]
