"""Tells the status topic what became of a document at a stage."""

from __future__ import annotations

from headrace.handler import Headers
from headrace.headers import CONTENT_TYPE, content_type
from headrace.messages import Heartbeat, StatusEvent
from headrace.metrics import Metrics
from headrace.producer import KafkaProducer, partition_of
from headrace.topology import Topology
from headrace.wire import encode_heartbeat, encode_status


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
        topic = self._topology.status
        await self._send(
            topic,
            document=event.key.record_key,
            key=status_key(event),
            value=encode_status(event),
            headers=[(CONTENT_TYPE, content_type("StatusEvent"))],
        )
        self._metrics.documents(event.state).inc()

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Say that a document is being worked on. Raises as ``Producer.send``."""
        key = heartbeat.key.record_key
        await self._send(
            self._topology.heartbeats,
            document=key,
            key=key,
            value=encode_heartbeat(heartbeat),
            headers=[(CONTENT_TYPE, content_type("Heartbeat"))],
        )

    async def _send(
        self, topic: str, *, document: bytes, key: bytes, value: bytes, headers: Headers
    ) -> None:
        count = await self._producer.partitions(topic)
        await self._producer.send(
            topic,
            key=key,
            value=value,
            partition=partition_of(document, count),
            headers=headers,
        )


def status_key(event: StatusEvent) -> bytes:
    """Document, revision or (where there is none) arrival, and stage."""
    which = str(event.revision) if event.revision else str(event.arrival)
    return b"%s#%s#%s" % (
        event.key.record_key,
        which.encode(),
        event.stage.value.encode(),
    )
