"""What the registry says of itself; no metric carries anything of a document."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge

STAGE = "registry"


class RegistryMetrics:
    """What a process of the registry has beside ``headrace.metrics.Metrics``.

    Attributes:
        registry: what ``/metrics`` shows.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.merged_records = self._counter(
            "merged_records_total",
            "Records merged into SQL: status, tombstone, heartbeat; or unreadable, "
            "refused by SQL.",
            "outcome",
        )
        self.database_retries = self._counter(
            "database_retries_total",
            "Transactions tried again, by why the last try failed.",
            "reason",
        )
        self.unmerged_records = self._gauge(
            "unmerged_records", "Records taken from Kafka and not yet in SQL."
        )()
        self.oldest_unfinished_seconds = self._gauge(
            "oldest_unfinished_document_seconds",
            "Age of the document that has waited longest for its end; 0: none waits.",
        )()
        self.lease_held = self._gauge(
            "lease_held", "1 where this process may act for all, by lease.", "lease"
        )
        self.reconciliations = self._counter(
            "reconciliations_total", "Looks for stale documents.", "outcome"
        )
        self.reconciled_documents = self._counter(
            "reconciled_documents_total",
            "Documents that nobody worked on any more, by what was done: requeued, "
            "failed.",
            "action",
        )
        self.documents_per_second = self._gauge(
            "collection_documents_per_second",
            "Documents that came to an end, in the last whole window.",
            "collection",
        )
        self.chunks_per_second = self._gauge(
            "collection_chunks_per_second",
            "Chunks of these documents.",
            "collection",
        )
        self.eta_seconds = self._gauge(
            "collection_eta_seconds",
            "What is unfinished, at the rate of the last whole window.",
            "collection",
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Callable[..., Gauge]:
        gauge = Gauge(
            f"headrace_{name}", text, ("stage", *labels), registry=self.registry
        )
        return cache(partial(gauge.labels, STAGE))

    def _counter(self, name: str, text: str, *labels: str) -> Callable[..., Counter]:
        counter = Counter(
            f"headrace_{name}", text, ("stage", *labels), registry=self.registry
        )
        return cache(partial(counter.labels, STAGE))
