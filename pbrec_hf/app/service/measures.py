"""What the service counts, for Prometheus; each service has a registry of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """
    Args:
        inside: tells how many requests are being read, wait or are answered.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, inside: Callable[[], float]):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time and open files, where the system tells them
        self._requests = Counter(
            "pbrec_requests", "Requests, by way in and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "pbrec_request_seconds",
            "From the first byte to the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._expressions = Counter("pbrec_expressions", "Expressions that were answered.", registry=registry)
        self._sizes = Histogram(
            "pbrec_batch_size", "Photographs that were answered together.", buckets=_SIZES, registry=registry
        )
        self._batches = Histogram(
            "pbrec_batch_seconds", "Time that a batch took.", buckets=_SECONDS, registry=registry
        )
        Gauge(
            "pbrec_requests_inside", "Requests that are being read, wait or are answered.", registry=registry
        ).set_function(inside)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that ended."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """Count a batch that was answered."""
        self._sizes.observe(size)
        self._batches.observe(seconds)

    def expressions(self, count: int) -> None:
        """Count expressions that were answered."""
        self._expressions.inc(count)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


__all__ = ["Measures"]
