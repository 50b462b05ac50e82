"""Inputs that come at once are computed together."""

import asyncio
import threading

import pytest

from ptm.errors import DataError, Problem
from ptm.experiment.predictor import Input
from ptm.serve.batching import Batcher, QueueFull


def inputs(*texts):
    return [Input({"text": text}, f"inputs[{n}]") for n, text in enumerate(texts)]


def run(scenario, compute, **settings):
    async def all_of_it():
        batcher = Batcher(compute, **{"most": 4, "wait": 0.05, "room": 10, **settings})
        worker = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(scenario(batcher), 10)
        finally:
            worker.cancel()

    return asyncio.run(all_of_it())


class Lengths:
    def __init__(self):
        self.sizes, self.threads = [], set()

    def __call__(self, batch):
        self.sizes.append(len(batch))
        self.threads.add(threading.get_ident())
        if any(each.values["text"] == "bad" for each in batch):
            raise DataError([Problem("bad", each.where) for each in batch if each.values["text"] == "bad"])
        return [{"id": n, "prediction": len(each.values["text"])} for n, each in enumerate(batch)]


def test_14_05_each_request_gets_its_own_answers_in_order():
    compute = Lengths()

    async def scenario(batcher):
        return await asyncio.gather(*(batcher.predict(inputs("x" * n, "x" * (n + 1))) for n in range(5)))

    answers = run(scenario, compute)
    assert [[row["prediction"] for row in rows] for rows in answers] == [[n, n + 1] for n in range(5)]
    assert compute.sizes == [4, 4, 2] and len(compute.threads) == 1


def test_14_05_an_input_alone_waits_no_longer_than_it_is_told():
    compute = Lengths()

    async def scenario(batcher):
        begun = asyncio.get_running_loop().time()
        await batcher.predict(inputs("a"))
        return asyncio.get_running_loop().time() - begun

    assert 0.04 < run(scenario, compute) < 1 and run(scenario, compute, wait=0) < 1
    assert run(scenario, compute, wait=60, most=1) < 1


def test_14_05_one_that_cannot_be_used_fails_alone_and_all_of_a_request_are_told():
    compute = Lengths()

    async def scenario(batcher):
        requests = [inputs("a"), inputs("bad", "a", "bad")]
        return await asyncio.gather(*map(batcher.predict, requests), return_exceptions=True)

    fine, error = run(scenario, compute)
    assert fine[0]["prediction"] == 1
    assert [problem.where for problem in error.problems] == ["inputs[0]", "inputs[2]"]


def test_14_05_more_than_may_wait_are_not_taken():
    async def scenario(batcher):
        waiting = [asyncio.create_task(batcher.predict(inputs("a"))) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await batcher.predict(inputs("a"))
        assert batcher.waiting == 10
        await asyncio.gather(*waiting)
        return batcher.waiting

    assert run(scenario, Lengths(), most=20) == 0
