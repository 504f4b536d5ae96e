"""What the registry says of itself; no metric carries anything of a document."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from headrace.database.rates import Rate

STAGE = "registry"
_COLLECTIONS = 50


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
        self._oldest_ms: int | None = None
        self._gauge(
            "oldest_unfinished_document_seconds",
            "Age of the document that has waited longest for its end; 0: none waits, "
            "or another process tells.",
        )().set_function(self._oldest_age_s)
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
        place = ("stage", "tenant", "collection")
        self._documents_per_second = Gauge(
            "headrace_collection_documents_per_second",
            "Documents that came to an end, in the last whole window.",
            place,
            registry=self.registry,
        )
        self._chunks_per_second = Gauge(
            "headrace_collection_chunks_per_second",
            "Chunks of these documents.",
            place,
            registry=self.registry,
        )
        self._unfinished = Gauge(
            "headrace_collection_unfinished_documents",
            "Documents that have not come to an end.",
            place,
            registry=self.registry,
        )
        self._eta_seconds = Gauge(
            "headrace_collection_eta_seconds",
            "Until they all have, at the rate of the last whole window.",
            place,
            registry=self.registry,
        )

    def show_rates(self, rates: Sequence[Rate]) -> None:
        """Tell these, and of the busiest collections only: each is a time series."""
        gauges = (
            self._documents_per_second,
            self._chunks_per_second,
            self._unfinished,
            self._eta_seconds,
        )
        for gauge in gauges:
            gauge.clear()
        busiest = sorted(
            rates, key=lambda rate: (rate.unfinished, rate.documents_per_second)
        )
        for rate in busiest[-_COLLECTIONS:]:
            values = (
                rate.documents_per_second,
                rate.chunks_per_second,
                rate.unfinished,
                rate.eta_s,
            )
            for gauge, value in zip(gauges, values, strict=True):
                if value is not None:
                    gauge.labels(STAGE, rate.tenant, rate.collection).set(value)

    def show_oldest(self, arrived_ms: int | None) -> None:
        """Tell when the oldest unfinished document's event arrived."""
        self._oldest_ms = arrived_ms

    def _oldest_age_s(self) -> float:
        if self._oldest_ms is None:
            return 0.0
        return max(0.0, time.time() - self._oldest_ms / 1000)

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
