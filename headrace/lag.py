"""How far a stage's consumer group is behind, by topic and partition."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupLoadInProgressError, for_code

from headrace.backpressure import ahead_of
from headrace.kafka import client_options
from headrace.kafka_clients import stop_consumer
from headrace.messages import Lane, Stage
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_PATIENCE_S = 10.0
_LOUD_AFTER = 10
"""Failed readings in a row before somebody is told: one may fail at any time."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process in a consumer group, as the broker knows it."""

    client_id: str
    host: str
    """The address from which the broker is reached."""
    partitions: int


class GroupOffsets:
    """Reads committed and end offsets of groups; two connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._options = client_options(settings)
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._coordinators: dict[str, int] = {}

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: no broker answers; may be called again.
        """
        if self._admin is None:
            admin = AIOKafkaAdminClient(**self._options)
            await _started(admin, admin.close)
            self._admin = admin
        if self._consumer is None:
            consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False)
            await _started(consumer, lambda: stop_consumer(consumer))
            self._consumer = consumer

    async def stop(self) -> None:
        """Disconnect."""
        if self._admin is not None:
            await self._admin.close()
        if self._consumer is not None:
            await stop_consumer(self._consumer)

    @property
    def clients(self) -> tuple[Any, Any]:
        """Admin client and a consumer without group."""
        if self._admin is None or self._consumer is None:
            raise RuntimeError("not started")
        return self._admin, self._consumer

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; it must exist."""
        _, consumer = self.clients
        found = await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  nothing public waits for it
        return len(found)

    async def read(
        self, group: str, topics: list[str]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Committed (from 0 where nothing was) and end offset of each partition.

        Raises:
            KafkaError: the broker does not answer or a topic is missing.
        """
        await self.start()
        admin, consumer = self.clients
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in range(await self.partitions(topic))
        ]
        # The end is read after it: it may only be ahead of what was committed.
        committed = await self._committed(admin, group, partitions)
        end = await consumer.end_offsets(partitions)
        # What retention took away is not lag; only where there is some can it matter.
        behind = [p for p in partitions if end[p] > committed[p]]
        begin = await consumer.beginning_offsets(behind) if behind else {}
        offsets: dict[TopicPartition, tuple[int, int]] = {}
        for partition in partitions:
            at = max(committed[partition], begin.get(partition, 0))
            offsets[partition] = (at, end[partition])
        return offsets

    async def members(self, group: str) -> list[Member]:
        """Who is in a group at this moment.

        Raises:
            KafkaError: the broker does not answer, or does not know it yet.
        """
        await self.start()
        admin, _ = self.clients
        (answer,) = await admin.describe_consumer_groups([group])
        (found,) = answer.to_object()["groups"]
        if found["error_code"]:
            # Else nobody would seem to be there.
            raise for_code(found["error_code"])(f"the members of {group} are unknown")
        return [
            Member(
                client_id=each["client_id"],
                host=each["client_host"].lstrip("/"),
                partitions=_assigned(each["member_assignment"]),
            )
            for each in found["members"]
        ]

    async def _committed(
        self, admin: Any, group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Committed offsets, 0 where nothing was."""
        # Asked once, not at every reading; after any failure it may be another.
        coordinator = self._coordinators.pop(group, None)
        if coordinator is None:
            coordinator = await admin.find_coordinator(group)
        committed = await admin.list_consumer_group_offsets(
            group, group_coordinator_id=coordinator, partitions=partitions
        )
        if any(partition not in committed for partition in partitions):
            # The client keeps the error of the whole answer to itself.
            raise GroupLoadInProgressError(f"the offsets of {group} are not known yet")
        self._coordinators[group] = coordinator
        return {p: max(committed[p].offset, 0) for p in partitions}


def _assigned(assignment: bytes) -> int:
    """Partitions in it; none while the group is being balanced."""
    if not assignment:
        return 0
    topics = ConsumerProtocolMemberAssignment.decode(assignment).assignment
    return sum(len(partitions) for _, partitions in topics)


async def _started(client: Any, stop: Any) -> None:
    try:
        await client.start()
    except BaseException:
        with suppress(Exception):
            await stop()
        raise


class LagReader:
    """Keeps the lag of the next stage's group, for backpressure.

    Partition i of ours feeds partition i of theirs, in the same lane; only the loader
    spreads by hash. While it cannot be read the last one holds.

    Attributes:
        counts: partitions of our inputs and outputs, once read.
    """

    def __init__(self, settings: Settings, *, stage: Stage) -> None:
        topology = settings.topology
        following = topology.next_stage(stage)
        self.counts: dict[str, int] = {}
        self._aligned = stage is not Stage.LOADER
        self._topics = topology.outputs(stage)
        self._inputs = topology.inputs(stage)
        self._group = "" if following is None else topology.group(following)
        self._offsets = GroupOffsets(settings)
        self._lag: dict[Lane, list[int]] = {}
        self._task: asyncio.Task[None] | None = None

    def ahead(self, lane: Lane, number: int) -> int:
        """Lag ahead of our partition, in records."""
        return ahead_of(number, self._lag.get(lane, ()), aligned=self._aligned)

    @property
    def problem(self) -> str | None:
        """Why our partition i cannot go to their partition i, or ``None``."""
        if not self._aligned:
            return None
        for lane, topic in self._topics.items():
            ours, theirs = self.counts.get(self._inputs[lane]), self.counts.get(topic)
            if ours != theirs:
                return (
                    f"{self._inputs[lane]} has {ours} partitions and {topic} has "
                    f"{theirs}; run `headrace topics check`"
                )
        return None

    def start(self) -> None:
        """Read from now on; nothing to do for the last stage."""
        if self._group:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop reading and disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._offsets.stop()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._read()
                failures = 0
            except Exception as error:  # noqa: BLE001  the last one holds
                failures += 1
                if failures == _LOUD_AFTER:
                    _log.warning("lag ahead unknown", reason=repr(error))
            await asyncio.sleep(_EVERY_S)

    async def _read(self) -> None:
        offsets = await self._offsets.read(self._group, list(self._topics.values()))
        for lane, topic in self._topics.items():
            self._lag[lane] = lag_by_number(offsets, topic)
            self.counts[topic] = len(self._lag[lane])
            self.counts[self._inputs[lane]] = await self._offsets.partitions(
                self._inputs[lane]
            )


def lag_by_number(
    offsets: Mapping[TopicPartition, tuple[int, int]], topic: str
) -> list[int]:
    """Lag of a topic's partitions, by their number."""
    lag = {
        partition.partition: max(end - committed, 0)
        for partition, (committed, end) in offsets.items()
        if partition.topic == topic
    }
    return [lag.get(number, 0) for number in range(max(lag, default=-1) + 1)]
