"""One aiokafka producer, from its first connection until nobody waits for it any more.

By itself aiokafka forgets whoever waits for a topic's metadata when a producer is
stopped, and whatever is queued while it stops: their futures never come to an end. Here
every wait ends when the session does, with ``ProducerClosed``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from aiokafka.structs import RecordMetadata

from headrace.handler import Headers

T = TypeVar("T")

_SETTLE_S = 5.0
"""For the answers to what is on its way when a session is given up."""
_DISCONNECT_S = 1.0


class ProducerSession:
    """Its records carry one producer id and one sequence per partition.

    ``start`` once, then ``stop`` or ``give_up`` once. Where these are cancelled, they
    may be called again.

    Args:
        options: of ``AIOKafkaProducer``.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._producer: Any = AIOKafkaProducer(**options)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: no broker answers; this session is of no more use.
        """
        try:
            await self._producer.start()
        except BaseException:
            await self.stop(timeout_s=0)
            raise

    def known_partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 where ``partitions`` must ask."""
        return len(self._producer.client.cluster.partitions_for_topic(topic) or ())

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises:
            ProducerClosed: the session has ended.
            KafkaError: nobody knows the topic.
        """
        # Known again when this returns, so that ``queue`` does not wait for it.
        while not (count := self.known_partitions(topic)):
            await self._unless_over(self._producer.partitions_for(topic))
        return count

    def queue(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        headers: Headers,
    ) -> Coroutine[Any, Any, asyncio.Future[RecordMetadata]]:
        """Queue a record for a topic whose partitions are known at this moment.

        Returns:
            What waits until it is queued, and gives what then waits for the broker's
            answer or ``ProducerClosed``.

        Raises:
            KafkaError: it was not queued.
        """
        queued: Coroutine[Any, Any, asyncio.Future[RecordMetadata]]
        queued = self._producer.send(
            topic, key=key, value=value, partition=partition, headers=list(headers)
        )
        return queued

    async def send_alone(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int,
        headers: Headers,
    ) -> RecordMetadata:
        """Send a record in a batch of its own.

        Raises:
            KafkaError: see ``queue``.
        """
        batch = self._producer.create_batch()
        batch.append(timestamp=None, key=key, value=value, headers=list(headers))
        batch.close()
        return await self._unless_over(self._deliver(batch, topic, partition))

    async def _deliver(self, batch: Any, topic: str, partition: int) -> RecordMetadata:
        delivered = await self._producer.send_batch(batch, topic, partition=partition)
        sent: RecordMetadata = await delivered
        return sent

    async def _unless_over(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        try:
            ends: set[asyncio.Future[Any]] = {task, self._over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ProducerClosed
            return task.result()
        finally:
            task.cancel()

    async def stop(self, *, timeout_s: float) -> None:
        """Send what is queued, for so long at most, and disconnect."""
        await _at_most(timeout_s, self._producer.flush())
        await self._end(settle_s=timeout_s)

    async def give_up(self) -> None:
        """Send nothing more and disconnect: the sequence has a gap.

        What is behind the gap would be tried again for ever. What is on its way is
        waited for: it must not arrive after what the next session sends.
        """
        await self._end(settle_s=_SETTLE_S)

    async def _end(self, *, settle_s: float) -> None:
        producer = self._producer
        try:
            await _at_most(settle_s, producer._sender.close())  # noqa: SLF001  stop() flushes first
        finally:
            self._fail_the_rest()
        await _at_most(_DISCONNECT_S, producer.stop())

    def _fail_the_rest(self) -> None:
        accumulator = self._producer._message_accumulator  # noqa: SLF001  see the module
        for batches in accumulator._batches.values():  # noqa: SLF001  see above
            for batch in batches:
                # Else it would log an exception that nobody has asked for.
                batch.drain_ready()
        accumulator.fail_all(ProducerClosed())
        if not self._over.done():
            self._over.set_result(None)


async def _at_most(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Whatever it dies of: the session is over anyway."""
    with suppress(Exception):
        async with asyncio.timeout(seconds):
            await work
