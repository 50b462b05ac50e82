"""What ``/metrics`` shows, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Figures:
    """The counts of one server. ``paths``: those that are counted by name; all others are one."""

    def __init__(self, paths: tuple[str, ...], about: dict[str, str]) -> None:
        self._paths = paths
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("ptm", "What is served.", registry=self._registry).info(about)
        self._requests = Counter(
            "ptm_requests", "Requests, by path and status.", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "ptm_request_seconds",
            "From the headers of a request to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "ptm_batch_inputs", "Inputs computed together.", buckets=_SIZES, registry=self._registry
        )
        self._predictions = Counter("ptm_predictions", "Inputs predicted.", registry=self._registry)
        self._waiting = Gauge(
            "ptm_waiting_inputs", "Inputs that wait for the model.", registry=self._registry
        )

    def watch(self, waiting: Callable[[], float]) -> None:
        self._waiting.set_function(waiting)

    def answered(self, path: str, status: int, seconds: float) -> None:
        name = path if path in self._paths else "other"
        self._requests.labels(name, str(status)).inc()
        self._seconds.labels(name).observe(seconds)

    def batch(self, size: int) -> None:
        self._batches.observe(size)

    def predicted(self, count: int) -> None:
        self._predictions.inc(count)

    def text(self) -> bytes:
        return generate_latest(self._registry)
