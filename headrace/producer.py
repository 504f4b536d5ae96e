"""Sends records so that every return means that the broker has them.

aiokafka's idempotent producer retries for as long as an outage lasts, so a ``send``
just waits; ``stalled_s`` says for how long. What it cannot repair (a batch refused for
good leaves a gap in its sequence, and every later one of that partition is refused) is
repaired here by a new session.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, NoReturn

import structlog
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import RecordMetadata

from headrace.clock import Clock
from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import Headers
from headrace.java_hash import java_hash
from headrace.kafka import client_options
from headrace.messages import Lane, OutputPosition
from headrace.metrics import Metrics
from headrace.producer_session import ProducerSession
from headrace.settings import Settings
from headrace.topology import Noun

_log = structlog.get_logger(__name__)

_LINGER_MS = 10
"""Many documents share a request then: each costs about a millisecond of CPU."""
_BATCH_BYTES = 512 * 1024
_FRAME_BYTES = 1024
"""What Kafka adds to a record in a batch of its own, and more."""
_START_RETRY_S = 1.0


def partition_of(key: bytes, count: int) -> int:
    """The partition Java's default partitioner takes for a key."""
    return _hash(key) % count


_hash = lru_cache(maxsize=4096)(java_hash)
"""Kept for a while: a document's output and its status go by the same key."""


class KafkaProducer:
    """See ``handler.Producer``. One per process, for all topics.

    Vectors go uncompressed (there is nothing to gain), all else by zstd; aiokafka
    compresses by producer, so there are two.
    """

    def __init__(self, settings: Settings, *, metrics: Metrics, clock: Clock) -> None:
        options = {
            **client_options(settings),
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": _LINGER_MS,
            "max_batch_size": _BATCH_BYTES,
            "max_request_size": settings.topology.max_message_bytes - _FRAME_BYTES,
        }
        topology = settings.topology
        self._vectors = {topology.topic(Noun.VECTORS, lane) for lane in Lane}
        self._zstd = _Line(options | {"compression_type": "zstd"})
        self._plain = _Line(options | {"compression_type": None})
        self._metrics = metrics
        self._clock = clock
        self._pending: dict[object, float] = {}

    async def start(self) -> None:
        """Connect; waits for as long as no broker answers."""
        await asyncio.gather(self._zstd.start(), self._plain.start())

    async def stop(self, *, timeout_s: float) -> None:
        """Send what is queued, at most for ``timeout_s``, and disconnect."""
        lines = (self._zstd, self._plain)
        await asyncio.gather(*(line.stop(timeout_s=timeout_s) for line in lines))

    @property
    def stalled_s(self) -> float:
        """For how long the oldest send has been waiting."""
        oldest = next(iter(self._pending.values()), None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    @property
    def problem(self) -> str | None:
        """Why nothing can be sent, or ``None``."""
        for line in (self._zstd, self._plain):
            if not line.started:
                return "the producer is not connected"
        if self.stalled_s > 30:
            return f"the broker has not confirmed a record for {self.stalled_s:.0f} s"
        return None

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        spread_by: bytes | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        """See ``handler.Producer``.

        Without a partition, ``spread_by`` is hashed, or else the key. Cancelling does
        not call back what is queued: the record may be sent.
        """
        mark = object()
        self._pending[mark] = self._clock.monotonic()
        try:
            sent = await self._line(topic).send(
                topic,
                key=key,
                value=value,
                partition=partition,
                spread_by=key if spread_by is None else spread_by,
                headers=headers,
            )
        finally:
            del self._pending[mark]
        self._metrics.sent_records(topic).inc()
        self._metrics.sent_bytes(topic).inc(len(key or b"") + len(value or b""))
        return sent

    def _line(self, topic: str) -> _Line:
        return self._plain if topic in self._vectors else self._zstd


class _Line:
    """One session at a time; the next send makes another for one beyond repair.

    Attributes:
        started: whether there has been one. That there is none now is no problem before
            somebody waits for it: who is not ready may be given nothing to send.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.started = False
        self._options = options
        self._session: ProducerSession | None = None
        self._ending: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        async with self._starting:
            while self._session is None and not self._closed:
                if self._ending is not None:
                    await asyncio.wait({self._ending})
                session = ProducerSession(self._options)
                try:
                    await session.start()
                except KafkaError as error:
                    _log.warning("waiting for Kafka", problem=repr(error))
                    await asyncio.sleep(_START_RETRY_S)
                    continue
                if self._closed:
                    await session.stop(timeout_s=0)
                else:
                    self._session, self.started = session, True

    async def stop(self, *, timeout_s: float) -> None:
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.stop(timeout_s=timeout_s)
        if self._ending is not None:
            await asyncio.wait({self._ending}, timeout=timeout_s)
            self._ending.cancel()

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        spread_by: bytes | None,
        headers: Headers,
    ) -> OutputPosition:
        while True:
            try:
                return await self._try(
                    topic,
                    key=key,
                    value=value,
                    partition=partition,
                    spread_by=spread_by,
                    headers=headers,
                )
            except ProducerClosed:
                # Another record's refusal may end the session under this one.
                continue

    async def _try(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        spread_by: bytes | None,
        headers: Headers,
    ) -> OutputPosition:
        session = self._session or await self._ready()
        try:
            count = session.known_partitions(topic) or await session.partitions(topic)
            if partition is None and spread_by is not None:
                partition = partition_of(spread_by, count)
            elif partition is not None and partition >= count:
                raise SharedFailure(
                    "partition_missing",
                    f"{topic} has no partition {partition}; "
                    "run `headrace topics check`",
                )
            confirmed = await session.queue(
                topic, key=key, value=value, partition=partition, headers=headers
            )
        except MessageSizeTooLargeError as error:
            raise _too_large(topic, str(error)) from error
        except UnknownTopicOrPartitionError as error:
            raise _missing(topic) from error
        except KafkaTimeoutError as error:
            raise _unavailable(error) from error
        except KafkaError as error:
            self._fail(session, error)
        try:
            sent = await confirmed
        except MessageSizeTooLargeError as error:
            # The broker judges the size of a batch: what others that went with it
            # took must not be held against this record.
            self._replace(session, error)
            sent = await self._send_alone(
                topic, key=key, value=value, partition=partition or 0, headers=headers
            )
        except KafkaError as error:
            self._fail(session, error)
        return OutputPosition(topic, sent.partition, sent.offset)

    async def _send_alone(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int,
        headers: Headers,
    ) -> RecordMetadata:
        async with self._alone:
            session = await self._ready()
            try:
                return await session.send_alone(
                    topic, key=key, value=value, partition=partition, headers=headers
                )
            except MessageSizeTooLargeError as error:
                self._replace(session, error)
                why = "the broker refused its size"
                raise _too_large(topic, why) from error
            except KafkaError as error:
                self._fail(session, error)

    def _fail(self, session: ProducerSession, error: KafkaError) -> NoReturn:
        if isinstance(error, ProducerClosed):
            raise error
        if isinstance(error, OutOfOrderSequenceNumber) and session is not self._session:
            # It came behind the gap that the session was given up for.
            raise ProducerClosed from error
        self._replace(session, error)
        raise _unavailable(error) from error

    async def _ready(self) -> ProducerSession:
        if self._session is None:
            await self.start()
        if self._session is None:
            raise SharedFailure("shutting_down", "the producer is closed")
        return self._session

    def _replace(self, broken: ProducerSession, error: KafkaError) -> None:
        """Another session, hence another sequence, in place of ``broken``.

        In a task: whoever noticed may be cancelled at any time.
        """
        if self._session is not broken:
            return
        self._session = None
        _log.error(
            "the producer failed for good, the next send makes one", reason=repr(error)
        )
        self._ending = asyncio.create_task(broken.give_up())


def _missing(topic: str) -> SharedFailure:
    return SharedFailure(
        "topic_missing", f"there is no topic {topic}; run `headrace topics apply`"
    )


def _unavailable(error: Exception) -> SharedFailure:
    return SharedFailure("broker_unavailable", f"not sent: {error!r}")


def _too_large(topic: str, why: str) -> DocumentFailure:
    return DocumentFailure(
        "record_too_large",
        f"a record for {topic} is too large: {why}",
        advice="Raise max.message.bytes of the topics and HEADRACE's limits together.",
    )
