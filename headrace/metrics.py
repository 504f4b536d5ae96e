"""Every metric of every stage: the only place that knows names, labels and help.

All carry the label ``stage``; none carries anything of a document. Instruments without
a further label are attributes (``metrics.embedding_tokens.inc(5)``); those with further
labels are called with them first (``metrics.retries("timeout").inc()``).
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from headrace.messages import Stage

M = TypeVar("M", Counter, Gauge, Histogram)

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WAITING = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_BATCH_SECONDS = (1, 5, 10, 30, 60, 120)
_ITEMS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_BYTES = tuple(1024 * 4**power for power in range(8))
_HELD = (0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.25, 1)


class Metrics:
    """The instruments of one process.

    Attributes:
        registry: what ``/metrics`` shows.
    """

    def __init__(
        self, stage: Stage | str, *, registry: CollectorRegistry | None = None
    ) -> None:
        self.stage = str(stage)
        self.registry = registry or CollectorRegistry()
        self._process()
        self._records()
        self._backpressure()
        self._work()
        self._provider()

    def _process(self) -> None:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._by(Gauge, "build_info", "Always 1; says the version.", "version")(
            version("headrace")
        ).set(1)
        peak = self._one(
            Gauge, "process_peak_memory_bytes", "Highest resident memory so far."
        )
        peak.set_function(
            lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        self.event_loop_held_seconds = self._one(
            Histogram,
            "event_loop_held_seconds",
            "CPU seconds for which the event loop was held at a stretch, from 5 ms, "
            "since the start was over.",
            buckets=_HELD,
        )
        self.event_loop_held_seconds_max = self._one(
            Gauge,
            "event_loop_held_seconds_max",
            "Longest CPU seconds for which the event loop was held at a stretch, since "
            "the start was over.",
        )
        self.last_progress_timestamp_seconds = self._one(
            Gauge,
            "last_progress_timestamp_seconds",
            "When a record was last finished, seconds since 1970.",
        )

        self.doubtful_partitions = self._one(
            Gauge,
            "doubtful_partitions",
            "Partitions of which few records are worked on at a time, or one, for "
            "their last owners died.",
        )
        self.unmoved_seconds = self._by(
            Gauge,
            "partition_unmoved_seconds",
            "Longest time that a partition with work has not moved, held ones aside.",
            "lane",
        )

    def _records(self) -> None:
        self.received_records = self._by(
            Counter, "received_records_total", "Records read.", "lane"
        )
        self.received_bytes = self._one(
            Counter, "received_bytes_total", "Bytes of keys and values read."
        )
        self.received_chunks = self._one(
            Counter, "received_chunks_total", "Chunks in the records read."
        )
        self.received_tokens = self._one(
            Counter, "received_tokens_total", "Tokens in the records read."
        )
        self.sent_records = self._by(
            Counter, "sent_records_total", "Records the broker confirmed.", "topic"
        )
        self.sent_bytes = self._by(
            Counter, "sent_bytes_total", "Bytes the broker confirmed.", "topic"
        )
        self.processed_records = self._by(
            Counter,
            "processed_records_total",
            "Records finished: done, dead_letter.",
            "outcome",
        )
        self.documents = self._by(
            Counter, "documents_total", "Documents reported, by state.", "state"
        )
        self.dead_letters = self._by(
            Counter, "dead_letters_total", "Dead letters written.", "reason"
        )
        self.retries = self._by(
            Counter, "retries_total", "Further tries at a record.", "reason"
        )
        self.processing_seconds = self._one(
            Histogram,
            "processing_seconds",
            "From the start of a record's work to its end, further tries included.",
            buckets=_SECONDS,
        )
        self.waiting_seconds = self._one(
            Histogram,
            "waiting_seconds",
            "From a record's append to the start of its work.",
            buckets=_WAITING,
        )
        self.in_flight_records = self._one(
            Gauge, "in_flight_records", "Records read and not finished."
        )
        self.in_flight_bytes = self._one(
            Gauge, "in_flight_bytes", "Bytes of records read and not finished."
        )
        self.assigned_partitions = self._one(
            Gauge, "assigned_partitions", "Partitions this process reads."
        )
        self.unread_records_lost = self._one(
            Counter,
            "unread_records_lost_total",
            "Records that were removed from a topic before they were read: alert.",
        )
        self.commit_failures = self._by(
            Counter, "commit_failures_total", "Commits that failed.", "reason"
        )

    def _backpressure(self) -> None:
        self.backpressure_paused_seconds = self._by(
            Counter,
            "backpressure_paused_seconds_total",
            "Partition seconds not read although there may be work.",
            "reason",
        )
        self.paused_partitions = self._by(
            Gauge, "paused_partitions", "Partitions not read at the moment.", "reason"
        )

    def _work(self) -> None:
        self.batches = self._by(
            Counter, "batches_total", "Batches by outcome.", "outcome"
        )
        self.batch_items = self._one(
            Histogram, "batch_items", "Items in a batch.", buckets=_ITEMS
        )
        self.batch_bytes = self._one(
            Histogram, "batch_bytes", "Bytes in a batch.", buckets=_BYTES
        )
        self.batch_seconds = self._one(
            Histogram,
            "batch_seconds",
            "From a batch's start to its end.",
            buckets=_BATCH_SECONDS,
        )
        self.batch_limit_items = self._one(
            Gauge, "batch_limit_items", "Items a batch may hold at the moment."
        )
        self.fetch_seconds = self._by(
            Histogram,
            "fetch_seconds",
            "Time to fetch a document's bytes.",
            "scheme",
            buckets=_SECONDS,
        )
        self.parse_seconds = self._by(
            Histogram,
            "parse_seconds",
            "Time to extract a document's text.",
            "parser",
            buckets=_SECONDS,
        )
        self.store_seconds = self._by(
            Histogram,
            "store_seconds",
            "Time of a call to the vector store.",
            "operation",
            buckets=_SECONDS,
        )
        self.chunks = self._by(
            Counter, "chunks_total", "Chunks finished by the stage.", "outcome"
        )

    def _provider(self) -> None:
        self.provider_wait_seconds = self._one(
            Histogram,
            "provider_wait_seconds",
            "Time a batch waited for limiter and connection.",
            buckets=_SECONDS,
        )
        self.provider_api_seconds = self._one(
            Histogram,
            "provider_api_seconds",
            "Time of a call in the embeddings API.",
            buckets=_SECONDS,
        )
        self.provider_requests = self._by(
            Counter,
            "provider_requests_total",
            "Calls to the embeddings API.",
            "outcome",
        )
        self.provider_calls = self._one(
            Gauge, "provider_calls", "Calls to the embeddings API in flight."
        )
        self.embedding_tokens = self._one(
            Counter, "embedding_tokens_total", "Tokens embedded."
        )
        self.embedding_cache_hits = self._one(
            Counter, "embedding_cache_hits_total", "Chunks found in the cache."
        )
        self.embedding_cache_misses = self._one(
            Counter, "embedding_cache_misses_total", "Chunks not in the cache."
        )
        self.breaker_state = self._one(
            Gauge, "breaker_state", "0 closed, 1 half-open, 2 open."
        )

    def _one(self, kind: type[M], name: str, text: str, **options: Any) -> M:
        return self._by(kind, name, text, **options)()

    def _by(
        self, kind: type[M], name: str, text: str, *labels: str, **options: Any
    ) -> Callable[..., M]:
        instrument = kind(
            f"headrace_{name}",
            text,
            ("stage", *labels),
            registry=self.registry,
            **options,
        )
        stage = self.stage

        @cache
        def child(*values: object) -> M:
            return instrument.labels(stage, *values)

        return child


class LagMetrics:
    """What the lag exporter says of each stage, called with the stage first."""

    def __init__(self, *, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        place = ("topic", "partition")
        self.consumer_lag_records = self._gauge(
            "consumer_lag_records",
            "Records the stage's group has not committed.",
            *place,
        )
        self.consumer_lag_seconds = self._gauge(
            "consumer_lag_seconds",
            "Age of the oldest record not committed, by the broker's time.",
            *place,
        )
        self.consumer_lag_chunks = self._gauge(
            "consumer_lag_chunks",
            "Estimate: lag times the recent mean of chunks a record.",
            *place,
        )
        self.consumer_lag_tokens = self._gauge(
            "consumer_lag_tokens",
            "Estimate: lag times the recent mean of tokens a record.",
            *place,
        )
        self.topic_partitions = self._gauge(
            "topic_partitions", "Partitions of a topic.", "topic"
        )
        self.members = self._gauge("group_members", "Members of the stage's group.")
        self.wanted_replicas = self._gauge(
            "stage_wanted_replicas", "Replicas the stage should have."
        )
        self.last_reading = self._gauge(
            "lag_reading_timestamp_seconds",
            "When the lag was last read, seconds since 1970.",
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Callable[..., Gauge]:
        gauge = Gauge(
            f"headrace_{name}", text, ("stage", *labels), registry=self.registry
        )
        return cache(gauge.labels)


class GatewayMetrics:
    """What the gateway says of its requests, beside ``Metrics`` in one registry."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        request = ("method", "route")
        self.requests = cache(
            Counter(
                "headrace_http_requests_total",
                "Requests answered, by the route's pattern.",
                (*request, "status"),
                registry=registry,
            ).labels
        )
        self.request_seconds = cache(
            Histogram(
                "headrace_http_request_seconds",
                "From a request's head to the end of its answer.",
                request,
                buckets=_SECONDS,
                registry=registry,
            ).labels
        )
        self.refused = cache(
            Counter(
                "headrace_refused_requests_total",
                "Requests told to come later.",
                ("reason",),
                registry=registry,
            ).labels
        )
        self.accepting = Gauge(
            "headrace_accepting_documents",
            "Documents being accepted at this moment.",
            registry=registry,
        )
        self.outbox_age_seconds = Gauge(
            "headrace_outbox_age_seconds",
            "How long the oldest accepted event has not reached Kafka; -1: unknown.",
            registry=registry,
        )
        self.ahead_age_seconds = Gauge(
            "headrace_ahead_age_seconds",
            "How long the oldest event waits that the loader has not read.",
            registry=registry,
        )
        self.orphans = cache(
            Counter(
                "headrace_orphans_total",
                "Found by the sweeper: bytes without a record, records without bytes.",
                ("kind",),
                registry=registry,
            ).labels
        )
