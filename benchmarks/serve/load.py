"""Load on a server of ptm: requests a second, latency, and the memory of its process as requests go by.

    ptm serve runs/reviews --port 8000 --json &
    python benchmarks/serve/load.py http://127.0.0.1:8000 --pid $! --requests 100000 --connections 32

Each connection sends one text, waits for the answer, and sends the next; texts have 2 to 40 words. A line of JSON is
printed at 1,000, 10,000, 50,000 and 100,000 requests, as far as there are so many, and at the end. The client is one
process of plain asyncio, and takes a share of the machine, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

WORDS = ("a", "fine", "film", "dull", "plot", "thin", "late", "wonderful", "worth", "every", "cent", "slow")
MARKS = (1_000, 10_000, 50_000, 100_000)
READY = b"HTTP/1.1 200"


def request(host: str, seed: int) -> bytes:
    draw = random.Random(seed)
    text = " ".join(draw.choices(WORDS, k=draw.randint(2, 40)))
    body = json.dumps({"inputs": [text]}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The status line, once all of an answer is read."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return head.partition(b"\r\n")[0]


def megabytes(pid: int | None) -> float | None:
    if pid is None:
        return None
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024, 1)


def quantile(values: Sequence[float], share: float) -> float:
    return round(1000 * sorted(values)[int(share * (len(values) - 1))], 2)


async def load(url: str, requests: int, connections: int, pid: int | None) -> None:
    place = urlsplit(url)
    texts = [request(place.netloc, seed) for seed in range(1000)]
    times: list[float] = []
    refused = 0
    begun = time.perf_counter()

    def told(since: int) -> None:
        recent = times[since:]
        seconds = time.perf_counter() - begun
        line = {
            "requests": len(times),
            "seconds": round(seconds, 1),
            "a_second": round(len(times) / seconds, 1),
        }
        quantiles = {f"p{round(100 * share)}_ms": quantile(recent, share) for share in (0.5, 0.99)}
        print(json.dumps({**line, **quantiles, "refused": refused, "server_mb": megabytes(pid)}), flush=True)

    async def connection(first: int) -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for number in range(first, requests, connections):
            sent = time.perf_counter()
            writer.write(texts[number % len(texts)])
            status = await answer(reader)
            times.append(time.perf_counter() - sent)
            refused += not status.startswith(READY)
            if len(times) in MARKS and len(times) < requests:
                told(0)
        writer.close()

    await asyncio.gather(*(connection(first) for first in range(connections)))
    told(0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--pid", type=int, help="of the server, for its memory")
    options = parser.parse_args()
    asyncio.run(load(options.url, options.requests, options.connections, options.pid))


if __name__ == "__main__":
    main()
