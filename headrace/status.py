"""Tells the status topic what became of a document at a stage."""

from __future__ import annotations

from headrace.errors import Unreadable
from headrace.handler import Record
from headrace.headers import CONTENT_TYPE, content_type
from headrace.messages import Heartbeat, StatusEvent
from headrace.metrics import Metrics
from headrace.producer import KafkaProducer
from headrace.topology import Topology
from headrace.wire import decode_status, encode_heartbeat, encode_status


class StatusTopic:
    """See ``handler.StatusReporter``.

    The topic is compacted by document, revision and stage, but partitioned by document:
    all facts about one are in order.
    """

    def __init__(
        self, producer: KafkaProducer, *, topology: Topology, metrics: Metrics
    ) -> None:
        self._producer = producer
        self._topology = topology
        self._metrics = metrics

    async def report(self, event: StatusEvent) -> None:
        """See ``handler.StatusReporter``."""
        await self._producer.send(
            self._topology.status,
            key=status_key(event),
            value=encode_status(event),
            spread_by=event.key.record_key,
            headers=[(CONTENT_TYPE, content_type("StatusEvent"))],
        )
        self._metrics.documents(event.state).inc()

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Say that a document is being worked on. Raises as ``Producer.send``."""
        await self._producer.send(
            self._topology.heartbeats,
            key=heartbeat.key.record_key,
            value=encode_heartbeat(heartbeat),
            headers=[(CONTENT_TYPE, content_type("Heartbeat"))],
        )


def status_key(event: StatusEvent) -> bytes:
    """Document, revision or (where there is none) arrival, and stage."""
    which = str(event.revision) if event.revision else str(event.arrival)
    return b"%s#%s#%s" % (
        event.key.record_key,
        which.encode(),
        event.stage.value.encode(),
    )


def status_of(record: Record) -> StatusEvent | None:
    """The status event of a record; ``None`` for a tombstone or what we cannot read."""
    if record.value is None:
        return None
    try:
        return decode_status(record.value)
    except Unreadable:
        return None
