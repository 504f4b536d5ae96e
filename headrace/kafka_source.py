"""The consuming loop's source: a member of a consumer group, over aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
)

from headrace.handler import Record
from headrace.kafka import client_options
from headrace.kafka_topic_ids import topic_ids
from headrace.metrics import Metrics
from headrace.settings import StageSettings
from headrace.source import (
    CommitFailed,
    CommitRefused,
    Listener,
    Partition,
    Position,
)

_log = structlog.get_logger(__name__)

_PATIENCE_S = 3.0
"""For a commit, or what is asked at an assignment. Within the second that a revocation
waits and the rebalance time-out, twice."""
_RETRY_S = 1.0
_NO_MEMBER = "this process is no member of the group any more"


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc]
    """See ``source.Source``. One per process.

    Args:
        client_id: by which the group knows this process (``membership``).
        topics: both lanes' topics of a stage. They must exist: subscribing to a missing
            one has the broker make it with settings that are not ours.

    Attributes:
        problem: why there is nothing to read from, for readiness.
    """

    def __init__(
        self,
        settings: StageSettings,
        *,
        client_id: str,
        group: str,
        topics: Collection[str],
        metrics: Metrics,
    ) -> None:
        self.problem: str | None = None
        self._topics = sorted(topics)
        self._ids: dict[str, str] = {}
        self._listener: Listener | None = None
        self._metrics = metrics
        self._committed: dict[TopicPartition, tuple[int, str]] | None = None
        """Where this assignment began, and the notes; ``None``: not known."""
        self._next: dict[TopicPartition, int] = {}
        """Offset that the next record of a partition should have."""
        self._begun: set[TopicPartition] = set()
        """Those of which this assignment has brought records."""
        self._gaps: dict[TopicPartition, int] = {}
        """Where it had a later one: the offset that was expected."""
        self._notes: dict[Partition, str] = {}
        self._told = asyncio.Event()
        self._rebalances = 0
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            client_id=client_id,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=1000,
            rebalance_timeout_ms=int(settings.rebalance_timeout_s * 1000),
            max_poll_interval_ms=300_000,
            fetch_max_wait_ms=200,
            # What lies fetched and unread comes on top of what is in flight.
            fetch_max_bytes=8 * 1024 * 1024,
            max_partition_fetch_bytes=1024 * 1024,
        )

    async def start(self, listener: Listener) -> None:
        """Join the group; an outage at the start is waited for like any other."""
        self._listener = listener
        while True:
            try:
                await self._consumer.start()
                break
            except KafkaError as error:
                self.problem = f"no broker answers: {error}"
                _log.warning("waiting for Kafka", problem=self.problem)
                await asyncio.sleep(_RETRY_S)
        self.problem = None
        self._consumer.subscribe(self._topics, listener=self)

    async def fetch(self, *, max_records: int, timeout_s: float) -> Sequence[Record]:
        """See ``source.Source``; raises once the member is beyond repair."""
        if self._gaps:
            await self._tell_gaps()
        try:
            fetched = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=max_records
            )
        except KafkaError as error:
            if not error.retriable:
                raise
            _log.warning("reading failed, trying again", reason=repr(error))
            await asyncio.sleep(_RETRY_S)
            return ()
        if not self._told.is_set():
            # aiokafka hands out records of the new assignment while the listener is
            # still being told of it, who would not know whose they are.
            rebalance = self._rebalances
            await self._told.wait()
            if rebalance != self._rebalances:
                return ()  # revoked again: they come again
        # From here on nothing is awaited: see consumer._read.
        for tp, messages in fetched.items():
            self._follow(tp, messages[0].offset, messages[-1].offset)
        return [
            Record(
                topic=tp.topic,
                partition=tp.partition,
                offset=message.offset,
                timestamp_ms=message.timestamp,
                key=message.key,
                value=message.value,
                headers=message.headers,
                topic_id=self._ids.get(tp.topic, tp.topic),
            )
            for tp, messages in fetched.items()
            for message in messages
        ]

    def _follow(self, tp: TopicPartition, first: int, last: int) -> None:
        """Notice where aiokafka, without a word, goes on elsewhere than it was."""
        expected = self._next.get(tp, first)
        self._next[tp] = last + 1
        if first > expected:
            self._gaps[tp] = expected
        elif first < expected:
            anew = (
                f"{tp.topic}/{tp.partition} begins anew: {expected} was to come next, "
                f"{first} is there. It was deleted and made again, or cut off; all "
                "that is there is read"
            )
            if tp in self._begun:
                # Offsets that this process has in work mean other records now.
                raise RuntimeError(anew)
            _log.error("topic begins anew", reason=anew)
        self._begun.add(tp)

    async def _tell_gaps(self) -> None:
        """Say where records were removed unread; transactions leave gaps as well."""
        gaps = dict(self._gaps)
        try:
            begins = await self._consumer.beginning_offsets(list(gaps))
        except KafkaError:
            return  # asked again at the next fetch
        for tp, expected in gaps.items():
            del self._gaps[tp]
            lost = begins[tp] - expected
            if lost > 0:
                self._metrics.unread_records_lost.inc(lost)
                _log.error(
                    "records were removed before they were read",
                    topic=tp.topic,
                    partition=tp.partition,
                    records=lost,
                    advice="send their documents again, and raise the topic's "
                    "retention above the longest outage",
                )

    async def ask(self) -> None:
        """Ask the group's coordinator something; returns once it has answered.

        Raises:
            CommitRefused: this process is no member of the group.
            KafkaError: it cannot answer.
        """
        if self._lost:
            raise CommitRefused(_NO_MEMBER)
        await self._consumer.committed(TopicPartition(self._topics[0], 0))

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See ``source.Source``."""
        self._consumer.pause(*self._held(partitions))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """See ``source.Source``."""
        self._consumer.resume(*self._held(partitions))

    async def positions(
        self, partitions: Iterable[Partition]
    ) -> Mapping[Partition, Position]:
        """See ``source.Source``."""
        wanted = [TopicPartition(*place) for place in partitions]
        if self._committed is None:
            raise CommitFailed("what the group has committed is not known")
        found = self._committed
        try:
            async with asyncio.timeout(_PATIENCE_S):
                rest = [tp for tp in wanted if tp not in found]
                begins = await self._consumer.beginning_offsets(rest) if rest else {}
                ends = await self._consumer.end_offsets(wanted)
        except (KafkaError, TimeoutError) as error:
            raise CommitFailed(repr(error)) from error
        committed = found | {tp: (at, "") for tp, at in begins.items()}
        return {
            Partition(*tp): Position(committed[tp][0], ends[tp], committed[tp][1])
            for tp in wanted
        }

    def note(self, partition: Partition, text: str) -> None:
        """See ``source.Source``."""
        self._notes[partition] = text

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """See ``source.Source``."""
        if self._lost:
            raise CommitRefused(_NO_MEMBER)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._same_topics({place.topic for place in offsets})
                await self._consumer.commit(
                    {
                        TopicPartition(*place): (offset, self._notes.get(place, ""))
                        for place, offset in offsets.items()
                    }
                )
        except (CommitFailedError, IllegalStateError) as error:
            raise CommitRefused(str(error)) from error
        except (KafkaError, TimeoutError) as error:
            raise CommitFailed(repr(error)) from error

    async def _same_topics(self, topics: Collection[str]) -> None:
        """Make sure that our offsets are of the topics that are there now.

        aiokafka goes by names: in a topic that was deleted and made again it reads on
        at the old position, past records that nobody has read. The broker has dropped
        what was committed, so that a new process reads them, unless we commit.

        Asked before each commit, not now and then: nothing else tells that the topic
        is another one now (reading goes on at the old position without an error as
        soon as the new one is that long), and one wrong commit loses all that is
        before it if the process dies before it asks again. It costs half a millisecond.

        Raises:
            CommitFailed: a topic is missing now.
            RuntimeError: one is another than the one we read.
        """
        client = self._consumer._client  # noqa: SLF001  its only client
        found = await topic_ids(client, topics)
        for topic in topics:
            if topic not in found:
                raise CommitFailed(f"there is no topic {topic}")
            if self._ids.setdefault(topic, found[topic]) != found[topic]:
                raise RuntimeError(
                    f"{topic} was deleted and made again: this process begins anew, to "
                    "read all that is in it"
                )

    async def stop(self) -> None:
        """See ``source.Source``."""
        await self._consumer.stop()

    async def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        """Called by aiokafka before each rejoin: everything goes."""
        self._told.clear()
        self._rebalances += 1
        assert self._listener is not None  # noqa: S101  set by start
        await self._listener.revoked(lost=self._lost)
        self._notes.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by aiokafka after each join."""
        assert self._listener is not None  # noqa: S101  set by start
        partitions = frozenset(Partition(*tp) for tp in assigned)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self._ids |= await topic_ids(self._consumer._client, self._topics)  # noqa: SLF001  its only client
        except (KafkaError, TimeoutError) as error:
            _log.warning("topic ids unknown, using the last", reason=repr(error))
        self._begun.clear()
        self._committed = await self._ask_committed(assigned)
        self._next = {tp: at for tp, (at, _) in (self._committed or {}).items()}
        counts = {
            topic: len(self._consumer.partitions_for_topic(topic) or ())
            for topic in self._topics
        }
        await self._listener.assigned(partitions, counts=counts)
        self._told.set()

    async def _ask_committed(
        self, assigned: Iterable[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, str]] | None:
        """Offsets and notes, where there are any; ``None`` where nobody answers."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                # What is public of it keeps the notes to itself.
                coordinator = self._consumer._coordinator  # noqa: SLF001  see above
                found = await coordinator.fetch_committed_offsets(list(assigned))
        except (KafkaError, TimeoutError) as error:
            _log.warning("committed offsets unknown", reason=repr(error))
            return None
        return {tp: (at, note or "") for tp, (at, note) in found.items()}

    @property
    def _lost(self) -> bool:
        """Whether the group has thrown us out; a commit then would carry no fence.

        aiokafka does not tell lost from revoked partitions; it forgets its member id.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001  see above
        return coordinator is None or not getattr(coordinator, "member_id", "")

    def _held(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        """Those aiokafka still holds: between two assignments there are none."""
        held = self._consumer.assignment()
        wanted = (TopicPartition(*place) for place in partitions)
        return [tp for tp in wanted if tp in held]
