"""Brings the outbox to Kafka: in order for each document, at least once.

One event of a document at a time is claimed, sent with acks=all, and only then removed.
Whoever dies in between leaves a claim that runs out, and the event is sent again, with
the same id and source version: the loader knows it, or takes it as unchanged. Several
gateways share the work. Who waits for Kafka keeps its claims; who was asleep for longer
than they last finds them taken, and touches none of another's. Even where it sends an
event after another has sent the next, its lower source version keeps it from counting.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update

from headrace.clock import Clock
from headrace.database.documents import DOCUMENTS, OUTBOX
from headrace.database.engine import Database
from headrace.database.listing import list_again
from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import Producer
from headrace.messages import Lane, OutputPosition
from headrace.topology import Noun, Topology

_log = structlog.get_logger(__name__)

_AT_ONCE = 200
_CLAIM_MS = 8_000
"""What a dead gateway claimed waits so long: less than ``HEADRACE_OUTBOX_AGE_S`` by
default, or its death would make the others refuse uploads."""
_RENEW_S = 2.5
_LOOK_S = 1.0
"""Another gateway's claims run out, and nobody tells."""
_AFTER_FAILURE_S = 1.0
_LINGER_S = 0.05


@dataclass(slots=True)
class _Claim:
    """Events that nobody else sends until then."""

    rows: Sequence[Any]
    until_ms: int

    def of(self, rows: Sequence[Any]) -> ColumnElement[bool]:
        """Which of the rows are still ours: another that takes one sets other times."""
        return and_(
            OUTBOX.c.seq.in_([row.seq for row in rows]),
            OUTBOX.c.claimed_until_ms == self.until_ms,
        )


@dataclass(frozen=True, slots=True)
class _Sent:
    row: Any
    position: OutputPosition | None
    failure: DocumentFailure | None = None


class Relay:
    """Sends what the outbox holds; one task per gateway.

    Args:
        database: with the outbox.
        producer: to Kafka.
        topology: names the topics.
        clock: for claims and ages.
    """

    def __init__(
        self,
        database: Database,
        *,
        producer: Producer,
        topology: Topology,
        clock: Clock,
    ) -> None:
        self._database = database
        self._producer = producer
        self._topology = topology
        self._clock = clock
        self._more = asyncio.Event()
        self._waiting_since_ms: int | None = None
        self._connected = False
        self._database_gone = False

    def wake(self) -> None:
        """There may be something to send."""
        self._more.set()

    def connected(self) -> None:
        """Kafka can be reached from now on."""
        self._connected = True
        self._more.set()

    def age_s(self) -> float | None:
        """How long the oldest event waits; ``None`` where the database is away."""
        if self._database_gone:
            return None
        if not self._connected:
            return math.inf
        if self._waiting_since_ms is None:
            return 0.0
        return max(self._clock.now_ms() - self._waiting_since_ms, 0) / 1000

    async def run(self) -> None:
        """Send for ever; failures are waited for."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                await self._round()
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    async def finish(self) -> None:
        """Send what is left, once ``run`` has ended.

        Raises:
            SharedFailure: it stays.
        """
        while self._connected and await self.send_some():
            pass

    async def _round(self) -> None:
        self._more.clear()
        try:
            sent = await self.send_some() if self._connected else 0
        except SharedFailure as error:
            _log.warning("the outbox waits", reason=str(error), code=error.reason)
            await asyncio.sleep(_AFTER_FAILURE_S)
            return
        if not sent:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._more.wait()
            except TimeoutError:
                return
        # What comes in this moment goes along: each round costs two commits.
        await asyncio.sleep(_LINGER_S)

    async def _watch(self) -> None:
        """Beside the sending, which waits for as long as Kafka is away."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Learn since when the oldest event waits."""
        query = select(func.min(OUTBOX.c.created_ms))
        try:
            async with self._database.reading() as connection:
                self._waiting_since_ms = await connection.scalar(query)
            self._database_gone = False
        except SharedFailure as error:
            if not self._database_gone:
                _log.warning("the database is away", reason=str(error))
            self._database_gone = True

    async def send_some(self) -> int:
        """Claim some events, send them, remove them; how many there were.

        Raises:
            SharedFailure: of the database; or nothing at all could be sent.
        """
        claim = await self._claim()
        if not claim.rows:
            return 0
        sending = [asyncio.ensure_future(self._send(row)) for row in claim.rows]
        keeping = asyncio.ensure_future(self._keep(claim))
        try:
            await asyncio.wait(sending)
        except asyncio.CancelledError:
            await _ended(*sending, keeping)
            # Whoever comes next need not wait for the claim to run out.
            with suppress(SharedFailure):
                await self._settle(claim, _done(sending))
            raise
        await _ended(keeping)
        done = _done(sending)
        await self._settle(claim, done)
        failed = [error for each in sending if (error := each.exception())]
        for error in failed:
            if not isinstance(error, SharedFailure):
                raise error
        if failed and not done:
            raise failed[0]
        return len(done)

    async def _keep(self, claim: _Claim) -> None:
        """Keep it for as long as Kafka is waited for."""
        while True:
            await asyncio.sleep(_RENEW_S)
            until_ms = self._clock.now_ms() + _CLAIM_MS
            renewal = update(OUTBOX).where(claim.of(claim.rows))
            try:
                async with self._database.writing() as connection:
                    await connection.execute(renewal.values(claimed_until_ms=until_ms))
            except SharedFailure:
                continue
            claim.until_ms = until_ms

    async def _claim(self) -> _Claim:
        now_ms = self._clock.now_ms()
        until_ms = now_ms + _CLAIM_MS
        before = OUTBOX.alias()
        waiting = select(OUTBOX.c.seq).where(
            OUTBOX.c.claimed_until_ms < now_ms,
            ~exists().where(
                before.c.document_id == OUTBOX.c.document_id,
                before.c.seq < OUTBOX.c.seq,
            ),
        )
        async with self._database.reading() as connection:
            # A look costs no writer a wait.
            first = await connection.execute(waiting.limit(1))
            if first.first() is None:
                return _Claim((), 0)
        chosen = waiting.order_by(OUTBOX.c.seq).limit(_AT_ONCE)
        claim = (
            update(OUTBOX)
            .where(OUTBOX.c.seq.in_(chosen), OUTBOX.c.claimed_until_ms < now_ms)
            .values(claimed_until_ms=until_ms)
            .returning(OUTBOX)
        )
        async with self._database.writing() as connection:
            return _Claim(list(await connection.execute(claim)), until_ms)

    async def _send(self, row: Any) -> _Sent:
        try:
            position = await self._producer.send(
                self._topology.topic(Noun.DOCUMENTS, Lane(row.lane)),
                key=row.record_key,
                value=row.value,
                headers=[(name, value.encode()) for name, value in row.headers],
            )
        except DocumentFailure as failure:
            return _Sent(row, None, failure)
        return _Sent(row, position)

    async def _settle(self, claim: _Claim, done: Sequence[_Sent]) -> None:
        sent = {each.row.seq for each in done}
        back = [row for row in claim.rows if row.seq not in sent]
        async with self._database.writing() as connection:
            # In the order in which all hold documents, so that none waits in a ring.
            for each in sorted(done, key=lambda each: each.row.document_id):
                await connection.execute(_noted(each))
            if sent:
                documents = {each.row.document_id for each in done}
                await list_again(connection, DOCUMENTS.c.id.in_(documents))
                await connection.execute(delete(OUTBOX).where(OUTBOX.c.seq.in_(sent)))
            if back:
                await connection.execute(
                    update(OUTBOX).where(claim.of(back)).values(claimed_until_ms=0)
                )


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _done(sending: Sequence[asyncio.Future[_Sent]]) -> list[_Sent]:
    return [
        each.result()
        for each in sending
        if not each.cancelled() and each.exception() is None
    ]


def _noted(sent: _Sent) -> Any:
    """Where the event is; or that it can go nowhere."""
    row, position, failure = sent.row, sent.position, sent.failure
    this = DOCUMENTS.c.id == row.document_id
    if failure is not None:
        said = {
            "code": failure.code,
            "message": failure.message,
            "advice": failure.advice,
        }
        # The fault of this version alone: the next one may be on its way already.
        return (
            update(DOCUMENTS)
            .where(this, DOCUMENTS.c.version == row.version)
            .values(sent_version=row.version, failure=said)
        )
    values: dict[str, Any] = {"sent_version": row.version}
    if position is not None:
        values |= {
            "sent_partition": position.partition,
            "sent_offset": position.last_offset,
        }
    return (
        update(DOCUMENTS)
        .where(this, DOCUMENTS.c.sent_version <= row.version)
        .values(**values)
    )
