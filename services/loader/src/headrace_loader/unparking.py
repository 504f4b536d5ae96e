"""Sends parked events back once their collection is resumed.

The loaders share the parked partitions as a group of its own. Each reads what is parked
in its own, and as soon as something of it may go back, moves all up to the last such
record in order: back, or behind all others. Only then it commits, and then it has the
broker remove what is committed. Whoever dies before a commit has moved something that
is moved again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from headrace.handler import Record
from headrace.identity import DocumentKey
from headrace.kafka import client_options
from headrace.kafka_clients import admin_client, as_record, stop_consumer
from headrace.settings import StageSettings
from headrace_loader.parked import Collection, ParkedPartition
from headrace_loader.parking import Parking

_log = structlog.get_logger(__name__)

_AGAIN_S = 1.0
_POLL_MS = 500
"""So soon a resumed collection is noticed."""
_AT_ONCE = 200
"""Records moved between two commits."""
_LEAVE_S = 1.0
"""To leave the group: a broker that is away counts this member out by itself."""


class _Revoked(Exception):
    """The group was balanced again meanwhile."""


class Unparking(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs in every loader; ``start`` once, ``close`` once.

    Attributes:
        problem: why nothing can go back, or ``None``.
    """

    def __init__(self, settings: StageSettings, *, parking: Parking) -> None:
        self.problem: str | None = None
        self._settings = settings
        self._topic = settings.topology.parked
        self._parking = parking
        self._seen: dict[TopicPartition, ParkedPartition] = {}
        self._generation = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look after the parked topic from now on."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Move nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_LEAVE_S)

    async def _run(self) -> None:
        told = ""
        while True:
            try:
                await self._look_after()
            except Exception as error:  # noqa: BLE001  nothing was committed; again
                self.problem = f"parked events cannot go back: {error!r}"
                if self.problem != told:
                    _log.warning("unparking failed, trying again", reason=repr(error))
                    told = self.problem
            await asyncio.sleep(_AGAIN_S)

    async def _look_after(self) -> None:
        settings = self._settings
        consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=settings.topology.parked_group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=1000,
        )
        try:
            self._forget()
            await consumer.start()
            consumer.subscribe([self._topic], listener=self)
            while True:
                await self._see(consumer)
                self.problem = None
                for partition, seen in list(self._seen.items()):
                    until = seen.until(self._waits)
                    if until and self._parking.at_work:
                        await self._move_owned(consumer, partition, until)
        finally:
            await stop_consumer(consumer)

    def _waits(self, collection: Collection) -> bool:
        return self._parking.wanted(DocumentKey(*collection, "any"))

    async def _see(self, consumer: AIOKafkaConsumer) -> None:
        fetched = await consumer.getmany(timeout_ms=_POLL_MS)
        for partition, records in fetched.items():
            seen = self._seen.setdefault(partition, ParkedPartition())
            for record in records:
                seen.see(record.offset, record.key)

    async def _move_owned(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, until: int
    ) -> None:
        try:
            await self._move(consumer, partition, until)
        except (_Revoked, CommitFailedError, IllegalStateError):
            # Somebody else's now, who does it again; or ours anew.
            self._seen.pop(partition, None)
            if partition in consumer.assignment():
                await _rewind(consumer, partition)

    async def _move(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, until: int
    ) -> None:
        """Move all from what is committed to that offset."""
        generation = self._generation
        back_to = await consumer.position(partition)
        at = await _rewind(consumer, partition)
        self._check(generation)
        while at < until and self._parking.at_work:
            fetched = await consumer.getmany(
                partition, timeout_ms=_POLL_MS, max_records=_AT_ONCE
            )
            records = [as_record(each) for each in fetched.get(partition, ())]
            await self._move_all([each for each in records if each.offset < until])
            # Records that were removed leave gaps: the position tells.
            at = min(await consumer.position(partition), until)
            self._check(generation)
            await consumer.commit({partition: at})
            self._check(generation)
        consumer.seek(partition, back_to)
        self._seen[partition].gone(at)
        _log.info("parked events moved on", partition=partition.partition, until=at)
        await self._trim(partition, at)

    def _check(self, generation: int) -> None:
        if generation != self._generation:
            raise _Revoked

    async def _move_all(self, records: Sequence[Record]) -> None:
        """Those of one document stay in order: they take the same ways one by one."""
        moves = [self._parking.move_on(record) for record in records]
        for outcome in await asyncio.gather(*moves, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _trim(self, partition: TopicPartition, until: int) -> None:
        """Remove what has moved; what stays is removed with the next."""
        try:
            async with admin_client(self._settings) as admin:
                await admin.delete_records(
                    {partition: RecordsToDelete(before_offset=until)}
                )
        except (KafkaError, OSError) as error:
            _log.warning("moved events stay in the parked topic", reason=repr(error))

    async def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        """Called by aiokafka before each rejoin: all is seen again from the commit."""
        self._forget()

    async def on_partitions_assigned(self, _assigned: Iterable[TopicPartition]) -> None:
        """Called by aiokafka after each join."""

    def _forget(self) -> None:
        self._seen.clear()
        self._generation += 1


async def _rewind(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Read on from what is committed; where that is."""
    at: int | None = await consumer.committed(partition)
    if at is None:
        at = (await consumer.beginning_offsets([partition]))[partition]
    consumer.seek(partition, at)
    return at
