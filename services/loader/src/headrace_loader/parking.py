"""Events of paused collections: to the parked topic, and back to where they came from.

A status says that the event waits, so that who looks for lost documents knows that
Kafka still holds it: passed on without a revision, to its place on the parked topic,
and to none once it goes back. Both may happen twice: acceptance tells one event by its
arrival, which goes with it.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace.clock import Clock
from headrace.control import Control
from headrace.errors import Unreadable
from headrace.handler import Producer, Record, StatusReporter
from headrace.headers import LANE, lane_of, parking_headers, reentry_headers
from headrace.identity import DocumentKey
from headrace.messages import (
    DocumentEvent,
    Lane,
    OutputPosition,
    Stage,
    State,
    StatusEvent,
)
from headrace.topology import Noun, Topology
from headrace.wire import arrival_of, decode_event


class Parking:
    """Moves events; ``control`` says what people have paused, at this moment."""

    def __init__(
        self,
        *,
        topology: Topology,
        producer: Producer,
        status: StatusReporter,
        clock: Clock,
        control: Callable[[], Control],
    ) -> None:
        self._topology = topology
        self._producer = producer
        self._status = status
        self._clock = clock
        self._control = control

    @property
    def at_work(self) -> bool:
        """Whether the loader itself is not paused: then nothing moves."""
        return self._control().paused(Stage.LOADER) is None

    def wanted(self, key: DocumentKey) -> bool:
        """Whether a document's events are to wait."""
        paused = self._control().collection_paused(key.tenant, key.collection)
        return paused is not None

    async def park(
        self, record: Record, event: DocumentEvent, *, came_by: Lane
    ) -> None:
        """Let a record of a documents topic wait. Raises as ``Producer.send``."""
        parked = await self._producer.send(
            self._topology.parked,
            key=event.key.record_key,
            value=record.value,
            headers=parking_headers(record, came_by),
        )
        await self._report(record, event, came_by, waits_at=parked)

    async def move_on(self, record: Record) -> None:
        """Move a parked record: back, or behind all others while it is to wait still.

        Raises as ``Producer.send``.
        """
        lane = lane_of(record)
        try:
            event = decode_event(record)
        except Unreadable:
            # Not by us, or not by this version: the loader says what is wrong with it.
            await self._back(record, lane)
            return
        if self.wanted(event.key):
            await self.park(record, event, came_by=lane)
            return
        # Said before: what the loader says of it may else come first and be replaced.
        await self._report(record, event, lane, waits_at=None)
        await self._back(record, lane)

    async def _back(self, record: Record, lane: Lane) -> None:
        await self._producer.send(
            self._topology.topic(Noun.DOCUMENTS, lane),
            key=record.key,
            value=record.value,
            headers=[each for each in reentry_headers(record) if each[0] != LANE],
        )

    async def _report(
        self,
        record: Record,
        event: DocumentEvent,
        lane: Lane,
        *,
        waits_at: OutputPosition | None,
    ) -> None:
        await self._status.report(
            StatusEvent(
                key=event.key,
                revision=0,
                arrival=arrival_of(record),
                stage=Stage.LOADER,
                state=State.PASSED_ON,
                output=waits_at,
                at_ms=self._clock.now_ms(),
                metadata=event.metadata,
                lane=event.lane or lane,
            )
        )
