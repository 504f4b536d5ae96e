"""The status topic as it is written, for those who want to be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from headrace.errors import Unreadable
from headrace.kafka import client_options
from headrace.messages import StatusEvent
from headrace.settings import Settings
from headrace.wire import decode_status

_log = structlog.get_logger(__name__)

_AGAIN_S = 2.0
_POLL_MS = 500
_MOST_WAITING = 1000


@dataclass(eq=False, slots=True)
class Subscription:
    """What one listener has not taken yet."""

    tenant: str
    waiting: asyncio.Queue[StatusEvent] = field(
        default_factory=lambda: asyncio.Queue(_MOST_WAITING)
    )
    overrun: bool = False
    """It does not listen fast enough, and has missed something."""


class StatusFeed:
    """Reads the topic's end while anybody listens, and hands each what is its own.

    What is written while nobody listens, or while Kafka is away for long, is not told
    later: the documents themselves say how they stand.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: set[Subscription] = set()
        self._wanted = asyncio.Event()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def subscribed(self, tenant: str) -> Iterator[Subscription]:
        """Listen until the block ends."""
        subscription = Subscription(tenant)
        self._listeners.add(subscription)
        self._wanted.set()
        try:
            yield subscription
        finally:
            self._listeners.discard(subscription)

    async def run(self) -> None:
        """Read for ever."""
        while True:
            await self._wanted.wait()
            try:
                async for event in self._events():
                    self.publish(event)
            except (KafkaError, OSError) as error:
                _log.warning("the status topic cannot be read", reason=repr(error))
                await asyncio.sleep(_AGAIN_S)

    def publish(self, event: StatusEvent) -> None:
        """Hand an event to those whose it is."""
        for listener in self._listeners:
            if listener.tenant != event.key.tenant or listener.overrun:
                continue
            try:
                listener.waiting.put_nowait(event)
            except asyncio.QueueFull:
                listener.overrun = True

    async def _events(self) -> AsyncIterator[StatusEvent]:
        consumer = AIOKafkaConsumer(
            self._settings.topology.status,
            **client_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="latest",
        )
        try:
            await consumer.start()
            while self._listeners:
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
                for records in batches.values():
                    for record in records:
                        try:
                            if record.value is not None:
                                yield decode_status(record.value)
                        except Unreadable:
                            continue
            self._wanted.clear()
        finally:
            await consumer.stop()
