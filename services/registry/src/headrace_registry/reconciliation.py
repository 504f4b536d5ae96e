"""Looks for stale documents now and then, and queues them again or ends them.

One process does it for all, by lease; each thing it does is written down first, in a
transaction that asks for the lease. Whoever is killed in between has counted a try that
was not made: the next look makes another.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass

import structlog
from sqlalchemy import RowMapping

from headrace.clock import Clock
from headrace.database.engine import Database
from headrace.database.leases import Lease, LeaseLost
from headrace.database.recoveries import Look, Recoveries, note
from headrace.database.unfinished import (
    forget_old,
    never_heard,
    note_requeue,
    passed_by,
    requeues_of,
)
from headrace.errors import SharedFailure
from headrace.handler import Producer, Record, StatusReporter
from headrace.headers import arrival_of, reentry_headers
from headrace.identity import Arrival, DocumentKey
from headrace.lag import GroupOffsets
from headrace.messages import Lane, Metadata, OutputPosition, Stage
from headrace.topology import HOUR_MS, Topology
from headrace_registry.metrics import RegistryMetrics
from headrace_registry.originals import Originals
from headrace_registry.staleness import (
    Action,
    Committed,
    Unfinished,
    decide,
    failure,
)

_log = structlog.get_logger(__name__)

LEASE = "reconciliation"
_CATCH_UP_S = 60.0
_ASK_EVERY_S = 0.5


class Behind(Exception):
    """The registry has not heard yet what the stages have said."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a document is stale, and how often it is queued again."""

    stale_after_s: float
    requeues: int


class Reconciliation:
    """One look is ``run``."""

    def __init__(
        self,
        *,
        rules: Rules,
        topology: Topology,
        group: str,
        database: Database,
        lease: Lease,
        offsets: GroupOffsets,
        originals: Originals,
        producer: Producer,
        status: StatusReporter,
        metrics: RegistryMetrics,
        clock: Clock,
        recoveries: Recoveries,
        worker: str,
    ) -> None:
        self._rules = rules
        self._topology = topology
        self._group = group
        self._database = database
        self._lease = lease
        self._offsets = offsets
        self._originals = originals
        self._producer = producer
        self._status = status
        self._metrics = metrics
        self._clock = clock
        self._recoveries = recoveries
        self._worker = worker
        self._one_at_a_time = asyncio.Lock()
        self._done: Counter[Action] = Counter()

    async def run(self) -> None:
        """Look once, if it is ours to look; never raises but to be cancelled."""
        async with self._one_at_a_time:
            await self._run()

    async def run_if_asked(self) -> None:
        """Look now, if somebody wants it and it is ours; raises as ``run``."""
        if self._one_at_a_time.locked():
            return
        try:
            wanted = await self._recoveries.wanted()
        except SharedFailure as error:
            # It is asked again soon, and the mergers tell that SQL is away.
            _log.debug("nobody can tell what is asked for", reason=str(error))
            return
        if wanted is not None:
            await self.run()

    async def _run(self) -> None:
        began_ms = self._clock.now_ms()
        self._done.clear()
        outcome, problem, wanted = "failed", "", None
        try:
            # Read first: who asks while we look may mean what we have passed by.
            wanted = await self._recoveries.wanted()
            held = await self._lease.hold()
            self._metrics.lease_held(LEASE).set(held)
            outcome = "done" if held else "not_ours"
            if held:
                await self._look()
        except Behind as error:
            outcome, problem = "behind", str(error)
            _log.warning("not reconciled", reason=problem)
        except Exception as error:  # noqa: BLE001  the next look may do better
            outcome, problem = "failed", repr(error)
            _log.warning("not reconciled", reason=problem)
        self._metrics.reconciliations(outcome).inc()
        if outcome != "not_ours":
            look = Look(
                began_ms=began_ms,
                ended_ms=self._clock.now_ms(),
                outcome=outcome,
                problem=problem,
                requeued=self._done[Action.REQUEUE],
                failed=self._done[Action.FAIL],
                worker=self._worker,
            )
            await self._note(look, answers=wanted if outcome == "done" else None)

    async def _note(self, look: Look, *, answers: int | None) -> None:
        try:
            async with self._database.writing() as connection:
                await self._lease.fence(connection)
                await note(connection, look, answers=answers)
        except (SharedFailure, LeaseLost) as error:
            _log.warning("the look is not written down", reason=repr(error))

    async def give_back(self) -> None:
        """Let another process look next."""
        await self._lease.give_back()

    async def _look(self) -> None:
        committed = await self._committed()
        # What a stage has said it said before it committed; so once we have heard all
        # that was said by now, who is passed by and silent is silent for good.
        await self._catch_up()
        now_ms = self._clock.now_ms()
        since_ms = now_ms - int(self._rules.stale_after_s * 1000)
        last = ""
        while True:
            async with self._database.reading() as connection:
                rows = await passed_by(
                    connection, committed, silent_since_ms=since_ms, after=last
                )
            if not rows:
                break
            for row in rows:
                document = _unfinished(row)
                if document.key.uuid != row["document"]:
                    # Its name has characters that SQL could not store as they are.
                    _log.warning("cannot be queued again", document=row["document"])
                    continue
                record = await self._originals.get(document.arrival)
                await self._act(document, record, committed, now_ms)
            last = rows[-1]["document"]
        await self._look_at_unheard(committed, now_ms, since_ms)
        async with self._database.writing() as connection:
            await self._lease.fence(connection)
            await forget_old(connection, before_ms=now_ms - HOUR_MS)

    async def _look_at_unheard(
        self, committed: Committed, now_ms: int, since_ms: int
    ) -> None:
        """Documents of the gateway's of which no stage has said anything."""
        topics = self._topology.inputs(Stage.LOADER)
        lanes = {topic: lane for lane, topic in topics.items()}
        passed = {
            (str(lanes[topic]), partition): offset
            for (topic, partition), offset in committed.items()
            if topic in lanes
        }
        last = ""
        while True:
            async with self._database.reading() as connection:
                rows = await never_heard(
                    connection, passed, silent_since_ms=since_ms, after=last
                )
            if not rows:
                return
            for row in rows:
                lane = Lane(row["lane"])
                given = OutputPosition(
                    topics[lane], row["sent_partition"], row["sent_offset"]
                )
                key = DocumentKey(row["tenant"], row["collection"], row["id"])
                record = await self._originals.at(
                    given.topic,
                    given.partition,
                    given.last_offset,
                    key=key.record_key,
                )
                arrival = Arrival(
                    row["updated_ms"], given.topic, given.partition, given.last_offset
                )
                if record is not None:
                    arrival = arrival_of(record)
                async with self._database.reading() as connection:
                    tries, last_ms = await requeues_of(connection, row["key"], arrival)
                document = Unfinished(
                    key=key,
                    revision=0,
                    arrival=arrival,
                    stage=None,
                    output=given,
                    heard_ms=max(row["updated_ms"], last_ms, row["heard_ms"] or 0),
                    requeued=tries,
                    lane=lane,
                    metadata=Metadata(
                        name=row["name"], import_job=row["import_job"] or ""
                    ),
                )
                await self._act(document, record, committed, now_ms)
            last = rows[-1]["id"]

    async def _act(
        self,
        document: Unfinished,
        record: Record | None,
        committed: Committed,
        now_ms: int,
    ) -> None:
        action = decide(
            document,
            committed=committed,
            now_ms=now_ms,
            stale_after_ms=int(self._rules.stale_after_s * 1000),
            requeues=self._rules.requeues,
        )
        if action is Action.FAIL:
            tries = self._rules.requeues
            await self._fail(document, f"it was queued again {tries} times.")
        elif action is Action.REQUEUE and record is None:
            await self._fail(document, "Kafka does not keep its event any more.")
        elif action is Action.REQUEUE and record is not None:
            await self._requeue(document, record)

    async def _committed(self) -> Committed:
        """Where each stage goes on in what it is given, and what of parked is back."""
        topology = self._topology
        read = {
            topology.group(stage): list(topology.inputs(stage).values())
            for stage in Stage
        }
        read[topology.parked_group] = [topology.parked]
        committed: dict[tuple[str, int], int] = {}
        for group, topics in read.items():
            offsets = await self._offsets.read(group, topics)
            committed |= {
                (each.topic, each.partition): at for each, (at, _) in offsets.items()
            }
        return committed

    async def _catch_up(self) -> None:
        topics = [self._topology.status]
        first = await self._offsets.read(self._group, topics)
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                while True:
                    merged = await self._offsets.read(self._group, topics)
                    if all(merged[each][0] >= end for each, (_, end) in first.items()):
                        return
                    await asyncio.sleep(_ASK_EVERY_S)
        except TimeoutError:
            raise Behind("statuses of a minute ago are not in SQL yet") from None

    async def _requeue(self, document: Unfinished, record: Record) -> None:
        # Longer than a look may take: a lease that is held is held for each step.
        await self._lease.hold()
        async with self._database.writing() as connection:
            await self._lease.fence(connection)
            await note_requeue(
                connection,
                document.key.uuid,
                document.arrival,
                now_ms=self._clock.now_ms(),
            )
        await self._producer.send(
            record.topic,
            key=record.key,
            value=record.value,
            headers=reentry_headers(record),
        )
        self._done[Action.REQUEUE] += 1
        self._metrics.reconciled_documents("requeued").inc()
        _log.warning(
            "queued again",
            document=str(document.key),
            passed_on_by=str(document.stage or "gateway"),
            tries=document.requeued + 1,
        )

    async def _fail(self, document: Unfinished, why: str) -> None:
        await self._lease.hold()
        async with self._database.writing() as connection:
            await self._lease.fence(connection)
        await self._status.report(
            failure(document, why=why, now_ms=self._clock.now_ms())
        )
        self._done[Action.FAIL] += 1
        self._metrics.reconciled_documents("failed").inc()
        _log.error("given up", document=str(document.key), reason=why)


def _unfinished(row: RowMapping) -> Unfinished:
    output = None
    if row["output_topic"] is not None:
        output = OutputPosition(
            row["output_topic"], row["output_partition"], row["output_offset"]
        )
    return Unfinished(
        key=DocumentKey(row["tenant"], row["collection"], row["document_id"]),
        revision=row["revision"],
        arrival=Arrival(
            row["arrived_ms"],
            row["arrival_topic"],
            row["arrival_partition"],
            row["arrival_offset"],
        ),
        stage=list(Stage)[row["stage"] - 1],
        output=output,
        heard_ms=row["last_ms"],
        requeued=row["requeued"],
        lane=Lane(row["lane"]),
        metadata=Metadata(
            name=row["name"],
            media_type=row["media_type"],
            source_uri=row["source_uri"],
            user_id=row["user_id"],
            session_id=row["session_id"],
            import_job=row["import_job"],
            attributes=json.loads(row["attributes"]),
        ),
    )
