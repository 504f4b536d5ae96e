"""The control topic: following what is paused, and pausing.

Every process follows it by itself, outside any group: all obey, and whoever starts
later reads first what was said before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.control import Control, Target
from headrace.errors import Unreadable
from headrace.handler import Producer
from headrace.headers import CONTENT_TYPE, content_type
from headrace.kafka import client_options
from headrace.kafka_clients import stop_consumer
from headrace.kafka_topic_ids import topic_ids
from headrace.messages import Pause
from headrace.settings import Settings
from headrace.topology import Topology
from headrace.wire import encode_pause

_log = structlog.get_logger(__name__)

_AGAIN_S = 1.0
_IDLE_MS = 5000
"""A record comes as soon as it is there; where none does for so long, it is asked
whether the topic is."""
_PATIENCE_S = 10.0
"""For one question to the broker, and for what there is to be read."""
_PARTITION = 0


async def pause(
    producer: Producer, topology: Topology, target: Target, *, why: Pause
) -> None:
    """Pause something; returns when Kafka has it. Raises as ``Producer.send``."""
    await _say(producer, topology, target, encode_pause(why))


async def resume(producer: Producer, topology: Topology, target: Target) -> None:
    """Let something go on; returns when Kafka has it. Raises as ``Producer.send``."""
    await _say(producer, topology, target, None)


async def _say(
    producer: Producer, topology: Topology, target: Target, value: bytes | None
) -> None:
    await producer.send(
        topology.control,
        key=target.record_key,
        value=value,
        partition=_PARTITION,
        headers=[(CONTENT_TYPE, content_type("Pause"))],
    )


class ControlFollower:
    """Keeps what is paused, as far as the control topic has told.

    While Kafka is away, or the topic, what was known last holds.

    Args:
        on_change: called each time that something else is paused than before, and when
            it is known for the first time.

    Attributes:
        state: what is paused.
        known: whether the topic has been read to its end once: before that ``state``
            is empty, which means nothing.
        problem: why it cannot be followed, or ``None``.
    """

    def __init__(
        self, settings: Settings, *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.state = Control()
        self.problem: str | None = "the control topic was not read yet"
        self._settings = settings
        self._topic = settings.topology.control
        self._on_change = on_change
        self._known = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def known(self) -> bool:
        """See the class."""
        return self._known.is_set()

    async def wait_until_known(self) -> None:
        """Return once ``known``."""
        await self._known.wait()

    def start(self) -> None:
        """Follow from now on."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        told = ""
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001  what was known holds
                self.problem = f"{self._topic} cannot be read: {error!r}"
            if self.problem and self.problem != told:
                _log.warning("pauses are not followed", reason=self.problem)
            told = self.problem or ""
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        """From the start of the topic for as long as it is the same."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            enable_auto_commit=False,
            fetch_max_wait_ms=_IDLE_MS,
            # Where the place we stand at is gone, all is read again.
            auto_offset_reset="none",
        )
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await consumer.start()
                found = await topic_ids(consumer._client, [self._topic])  # noqa: SLF001  its only client
                if self._topic not in found:
                    self.problem = (
                        f"there is no topic {self._topic}; run `headrace topics apply`"
                    )
                    return
                state = await self._read_all(consumer)
            self._become(state)
            self._known.set()
            self.problem = None
            await self._go_on(consumer, topic_id=found[self._topic])
        finally:
            await stop_consumer(consumer)

    async def _read_all(self, consumer: AIOKafkaConsumer) -> Control:
        partition = TopicPartition(self._topic, _PARTITION)
        # Else its first question about it waits until it asks again.
        await consumer._client._wait_on_metadata(self._topic)  # noqa: SLF001  nothing public waits for it
        consumer.assign([partition])
        begins = await consumer.beginning_offsets([partition])
        consumer.seek(partition, begins[partition])
        end = (await consumer.end_offsets([partition]))[partition]
        state = Control()
        # Compaction leaves gaps, so the position tells, not the last record.
        while await consumer.position(partition) < end:
            state = await self._read(consumer, state) or state
        return state

    async def _go_on(self, consumer: AIOKafkaConsumer, *, topic_id: str) -> None:
        while True:
            state = await self._read(consumer, self.state)
            if state is not None:
                self._become(state)
                continue
            # A topic that is made again is read from its start.
            found = await topic_ids(consumer._client, [self._topic])  # noqa: SLF001  see above
            if found.get(self._topic) != topic_id:
                return

    async def _read(self, consumer: AIOKafkaConsumer, state: Control) -> Control | None:
        """The state after what has come; ``None`` where nothing came."""
        batches = await consumer.getmany(timeout_ms=_IDLE_MS)
        if not batches:
            return None
        for records in batches.values():
            for record in records:
                try:
                    state = state.after(record.key, record.value)
                except Unreadable as error:
                    _log.warning(
                        "a record on the control topic says nothing",
                        offset=record.offset,
                        code=error.code,
                        reason=error.message,
                    )
        return state

    def _become(self, state: Control) -> None:
        if state == self.state and self.known:
            return
        self.state = state
        paused = [target.record_key.decode() for target in state.pauses]
        _log.info("paused now", targets=sorted(paused))
        self._on_change()
