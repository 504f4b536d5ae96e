"""Moving parked events while the group takes the partition away, and gives it back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from aiokafka import TopicPartition
from headrace_loader import unparking as module
from headrace_loader.parking import Parking
from headrace_loader.unparking import Unparking

from headrace.control import Control
from headrace.identity import DocumentKey
from headrace.settings import StageSettings
from tests.support.eventually import eventually
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import FakeProducer, FakeStatusReporter

PLACE = TopicPartition("headrace.parked.v1", 0)
KEY = DocumentKey("default", "docs", "a").record_key


class Parked:
    """A record, as far as it is looked at."""

    key = KEY
    offset = 6


class Consumer:
    """A member that has the partition, and loses it once while it asks."""

    def __init__(self, **_options: Any) -> None:
        self.rewound = 0
        self._listener: Unparking | None = None
        self._records = [Parked()]

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def subscribe(self, _topics: Collection[str], *, listener: Unparking) -> None:
        self._listener = listener

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    async def getmany(
        self, *_places: TopicPartition, **_limits: int
    ) -> dict[TopicPartition, list[Parked]]:
        await asyncio.sleep(0.01)
        found, self._records = self._records, []
        return {PLACE: found} if found else {}

    async def position(self, _place: TopicPartition) -> int:
        return 7

    async def committed(self, _place: TopicPartition) -> int:
        """Another has moved it all, and then we have the partition again."""
        assert self._listener is not None
        await self._listener.on_partitions_revoked({PLACE})
        await self._listener.on_partitions_assigned({PLACE})
        return 7

    def seek(self, _place: TopicPartition, _offset: int) -> None:
        self.rewound += 1


async def test_what_another_moved_meanwhile_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Consumer] = []

    def consumer(**options: Any) -> Consumer:
        made.append(Consumer(**options))
        return made[-1]

    monkeypatch.setattr(module, "AIOKafkaConsumer", consumer)
    settings = StageSettings()
    parking = Parking(
        topology=settings.topology,
        producer=FakeProducer(),
        status=FakeStatusReporter(),
        clock=FakeClock(),
        control=Control,
    )
    unparking = Unparking(settings, parking=parking)
    unparking.start()
    try:
        # Rewound to move, and once more to see anew what is there.
        await eventually(lambda: made and made[0].rewound >= 2)
        assert unparking.problem is None
        assert len(made) == 1
    finally:
        await unparking.close()
