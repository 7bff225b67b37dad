"""Figures of a service in the form that Prometheus reads."""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class Snapshot(NamedTuple):
    """What a service counts itself, as it is now.

    Args:
        batch_sizes: How many batches there were of each number of questions.
        num_resident: How many adapters are kept in memory.
        documents: How many added documents are in each state.
    """

    batch_sizes: Mapping[int, int] = Counts()
    num_resident: int = 0
    documents: Mapping[str, int] = Counts()


class ServingMetrics:
    """Counters and histograms of one service.

    Args:
        look: Returns what the service counts itself.

    Attributes:
        requests: Requests by path, method and status.
        request_seconds: How long requests took, by path.
        answers: Answers by method and outcome: ``whole``, ``given_up`` or ``refused``.
        answer_seconds: How long answers took from the question on, by method.
        first_piece_seconds: How long it took to the first piece of an answer, by method.
        waiting: Questions that are being answered or wait.
    """

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_SnapshotCollector(look))
        self.requests = Counter(
            "prag_requests", "Requests.", ["path", "method", "status"], registry=registry
        )
        self.request_seconds = self._timing("prag_request_seconds", "Time of a request.", "path")
        self.answers = Counter("prag_answers", "Answers.", ["method", "outcome"], registry=registry)
        self.answer_seconds = self._timing(
            "prag_answer_seconds", "Time from a question to its whole answer.", "method"
        )
        self.first_piece_seconds = self._timing(
            "prag_first_piece_seconds", "Time to the first piece of an answer.", "method"
        )
        self.waiting = Gauge(
            "prag_questions_waiting", "Questions being answered or waiting.", registry=registry
        )

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _timing(self, name: str, what: str, label: str) -> Histogram:
        return Histogram(name, what, [label], buckets=_SECONDS, registry=self._registry)


class _SnapshotCollector(Collector):
    """Gives Prometheus what a service counts itself."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """Yield the figures as they are now."""
        now = self._look()
        counts = [0] * (len(_ROWS) + 1)
        for rows, times in now.batch_sizes.items():
            counts[next((n for n, most in enumerate(_ROWS) if rows <= most), len(_ROWS))] += times
        names = [*map(str, map(float, _ROWS)), "+Inf"]
        yield HistogramMetricFamily(
            "prag_batch_rows",
            "Questions that were answered together.",
            buckets=list(zip(names, accumulate(counts), strict=True)),
            sum_value=sum(rows * times for rows, times in now.batch_sizes.items()),
        )
        yield GaugeMetricFamily(
            "prag_resident_adapters", "Adapters that are kept in memory.", now.num_resident
        )
        documents = GaugeMetricFamily(
            "prag_added_documents", "Added documents by state.", labels=["state"]
        )
        for state, count in now.documents.items():
            documents.add_metric([state], count)
        yield documents
