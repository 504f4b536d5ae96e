"""The status topic as it is written, for those who want to be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from headrace.errors import Unreadable
from headrace.kafka import client_options
from headrace.kafka_clients import stop_consumer
from headrace.messages import StatusEvent
from headrace.settings import Settings
from headrace.wire import decode_status

_log = structlog.get_logger(__name__)

_AGAIN_S = 2.0
_POLL_MS = 500
_MOST_WAITING = 1000


class Mark(Enum):
    """What is said between events."""

    LISTENING = auto()
    """Nothing that is written after this is missed."""


@dataclass(eq=False, slots=True)
class Subscription:
    """What one listener has not taken yet."""

    tenant: str
    waiting: asyncio.Queue[StatusEvent | Mark] = field(
        default_factory=lambda: asyncio.Queue(_MOST_WAITING)
    )
    listening: bool = False
    """It was told so."""
    overrun: bool = False
    """It has missed something: it listens too slowly, or Kafka was away."""

    def put(self, said: StatusEvent | Mark) -> None:
        """Hand it something, if there is room."""
        try:
            self.waiting.put_nowait(said)
        except asyncio.QueueFull:
            self.overrun = True


class StatusFeed:
    """Reads the topic's end while anybody listens, and hands each what is its own.

    What is written while nobody listens is not told later, nor is what is written
    while the topic cannot be read: the documents themselves say how they stand.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: set[Subscription] = set()
        self._wanted = asyncio.Event()
        self._placed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def listeners_of(self, tenant: str) -> int:
        """How many of one tenant do."""
        return sum(each.tenant == tenant for each in self._listeners)

    @contextmanager
    def subscribed(self, tenant: str) -> Iterator[Subscription]:
        """Listen until the block ends."""
        subscription = Subscription(tenant)
        self._listeners.add(subscription)
        self._wanted.set()
        self._mark(subscription)
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
                for listener in self._listeners:
                    # Who was told nothing yet waits on, and misses nothing.
                    listener.overrun |= listener.listening
                await asyncio.sleep(_AGAIN_S)

    def publish(self, event: StatusEvent) -> None:
        """Hand an event to those whose it is."""
        for listener in self._listeners:
            if listener.tenant == event.key.tenant and not listener.overrun:
                listener.put(event)

    def _mark(self, listener: Subscription) -> None:
        """Tell it that it listens, once that is so."""
        if self._placed and not listener.listening:
            listener.listening = True
            listener.put(Mark.LISTENING)

    async def _events(self) -> AsyncIterator[StatusEvent]:
        consumer = AIOKafkaConsumer(
            self._settings.topology.status,
            **client_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="latest",
        )
        try:
            await consumer.start()
            for partition in consumer.assignment():
                # Before it is known, the end is wherever the topic ends by then.
                await consumer.position(partition)
            self._placed = True
            for listener in self._listeners:
                self._mark(listener)
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
            self._placed = False
            await stop_consumer(consumer)
