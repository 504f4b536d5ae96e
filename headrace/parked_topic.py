"""What waits in the parked topic."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from headrace.handler import Record
from headrace.kafka_clients import reader
from headrace.lag import GroupOffsets
from headrace.settings import Settings


async def parked_records(settings: Settings) -> AsyncGenerator[Record, None]:
    """The records that have not gone back yet.

    Raises:
        Refused: there is no such topic.
    """
    topology = settings.topology
    async with reader(settings, topology.parked) as parked:
        offsets = GroupOffsets(settings)
        try:
            read = await offsets.read(topology.parked_group, [topology.parked])
        finally:
            await offsets.stop()
        moved = {place.partition: at for place, (at, _) in read.items()}
        async for record in parked.all_so_far():
            # What has gone back may not have been removed yet.
            if record.offset >= moved.get(record.partition, 0):
                yield record
