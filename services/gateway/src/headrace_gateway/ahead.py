"""How long what the loader has not read waits, by lane; and how much there is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import structlog
from aiokafka import TopicPartition

from headrace.clock import Clock
from headrace.draining import Left, left_of
from headrace.lag import GroupOffsets, Member
from headrace.lag_exporter import Offsets, OldestRecords
from headrace.messages import Lane, Stage
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

_EVERY_S = 2.0
_PATIENCE_S = 10.0
_LOUD_AFTER = 5


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits for a stage in a lane."""

    stage: Stage
    lane: Lane
    records: dict[int, int] = field(default_factory=dict)
    """By partition."""
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Places:
    """What waits for a stage in a lane, and since when, by partition."""

    stage: Stage
    lane: Lane
    records: dict[int, int]
    since_ms: dict[int, int]
    """Broker's time of the oldest record, where there is one that waits."""


class Ahead:
    """Reads lag and ages of all stages; while it cannot, the last ones hold.

    A wait is told by when its record was appended, so it grows by itself: who does not
    answer any more is not taken for idle.
    """

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._topology = settings.topology
        self._clock = clock
        self._offsets = GroupOffsets(settings)
        self._oldest = OldestRecords(settings)
        self._reading = asyncio.Lock()
        self._waiting: dict[tuple[Stage, Lane], tuple[dict[int, int], int | None]] = {}

    def age_s(self, lane: Lane) -> float:
        """Age of the oldest event of a lane that the loader has not read."""
        _, since_ms = self._waiting.get((Stage.LOADER, lane), ({}, None))
        return self._age_s(since_ms)

    def depths(self) -> list[Depth]:
        """Everything that waits."""
        return [
            Depth(stage, lane, dict(records), self._age_s(since_ms))
            for (stage, lane), (records, since_ms) in self._waiting.items()
        ]

    async def run(self) -> None:
        """Read for ever."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self.read()
                failures = 0
            except Exception as error:  # noqa: BLE001  the last ones hold
                failures += 1
                if failures == _LOUD_AFTER:
                    _log.warning("lag unknown", reason=repr(error))
            await self._clock.sleep(_EVERY_S)

    async def read(self) -> None:
        """One reading; ages of what waits for the loader alone, for those cost.

        Raises:
            KafkaError: the broker does not answer.
        """
        async with self._reading:
            read = await self._read()
            times = await self._oldest.times_ms(read[Stage.LOADER])
        for depth in self._depths(read, times):
            since_ms = min(depth.since_ms.values(), default=None)
            self._waiting[depth.stage, depth.lane] = (depth.records, since_ms)

    async def places(self) -> list[Places]:
        """One reading of all, with the age of what has waited longest everywhere.

        Raises:
            KafkaError: the broker does not answer.
            TimeoutError: not in time.
        """
        async with asyncio.timeout(_PATIENCE_S), self._reading:
            read = await self._read()
            every = {
                at: place for found in read.values() for at, place in found.items()
            }
            return self._depths(read, await self._oldest.times_ms(every))

    async def left(self, stages: Collection[Stage]) -> Left:
        """What waits for stages or is in work there. Raises as ``places``."""
        async with asyncio.timeout(_PATIENCE_S), self._reading:
            read = await self._read()
        return left_of({stage: read[stage] for stage in Stage if stage in stages})

    async def members(self) -> dict[Stage, list[Member]]:
        """Who works in each stage at this moment. Raises as ``places``."""
        async with asyncio.timeout(_PATIENCE_S), self._reading:
            return {
                stage: await self._offsets.members(self._topology.group(stage))
                for stage in Stage
            }

    async def _read(self) -> dict[Stage, Offsets]:
        # In the order of the data path, as ``left_of`` wants it.
        return {
            stage: await self._offsets.read(
                self._topology.group(stage),
                list(self._topology.inputs(stage).values()),
            )
            for stage in Stage
        }

    def _depths(
        self, read: Mapping[Stage, Offsets], times: Mapping[TopicPartition, int]
    ) -> list[Places]:
        return [
            Places(
                stage,
                lane,
                {
                    place.partition: max(end - committed, 0)
                    for place, (committed, end) in offsets.items()
                    if place.topic == topic
                },
                {
                    place.partition: times[place]
                    for place in offsets
                    if place.topic == topic and place in times
                },
            )
            for stage, offsets in read.items()
            for lane, topic in self._topology.inputs(stage).items()
        ]

    async def stop(self) -> None:
        """Disconnect."""
        await self._offsets.stop()
        await self._oldest.stop()

    def _age_s(self, since_ms: int | None) -> float:
        if since_ms is None:
            return 0.0
        return max(self._clock.now_ms() - since_ms, 0) / 1000
