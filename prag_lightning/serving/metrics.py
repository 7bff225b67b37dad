"""Figures of a service in the form that Prometheus reads."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class ServingMetrics:
    """Counters and histograms of one service.

    Attributes:
        requests: Requests by path, method and status.
        request_seconds: How long requests took, by path.
        answers: Answers by method and outcome: ``whole``, ``given_up`` or ``refused``.
        answer_seconds: How long answers took from the question on, by method.
        first_piece_seconds: How long it took to the first piece of an answer, by method.
        waiting: Questions that are being answered or wait.
        batch_rows: Questions that were answered together.
        resident_adapters: Adapters that are kept in memory.
        documents: Added documents by state.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "prag_requests", "Requests.", ["path", "method", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "prag_request_seconds",
            "Seconds a request took.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.answers = Counter("prag_answers", "Answers.", ["method", "outcome"], registry=registry)
        self.answer_seconds = Histogram(
            "prag_answer_seconds",
            "Seconds from a question to its whole answer.",
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_piece_seconds = Histogram(
            "prag_first_piece_seconds",
            "Seconds from a question to the first piece of its answer.",
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "prag_questions_waiting",
            "Questions that are being answered or wait.",
            registry=registry,
        )
        self.batch_rows = Histogram(
            "prag_batch_rows",
            "Questions that were answered together.",
            buckets=_ROWS,
            registry=registry,
        )
        self.resident_adapters = Gauge(
            "prag_resident_adapters", "Adapters that are kept in memory.", registry=registry
        )
        self.documents = Gauge(
            "prag_added_documents", "Added documents by state.", ["state"], registry=registry
        )

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)
