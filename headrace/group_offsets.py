"""How far the stages are in their topics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from headrace.kafka_clients import admin_client, consumer_of
from headrace.messages import Stage
from headrace.settings import Settings
from headrace.verify import PartitionOffsets

_PATIENCE_S = 60.0
_POLL_S = 0.2


async def committed_offsets(
    settings: Settings, stage: Stage, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Committed offsets of a stage's group, where it has committed any."""
    group = settings.topology.group(stage)
    async with admin_client(settings) as admin, asyncio.timeout(_PATIENCE_S):
        while True:
            offsets = await admin.list_consumer_group_offsets(
                group, partitions=list(partitions)
            )
            # A coordinator that is still loading answers with nothing at all, and the
            # client keeps its error to itself; -1 means never committed.
            if all(partition in offsets for partition in partitions):
                break
            await asyncio.sleep(_POLL_S)
    return {
        partition: offsets[partition].offset
        for partition in partitions
        if offsets[partition].offset >= 0
    }


async def all_offsets(settings: Settings) -> Sequence[PartitionOffsets]:
    """Begin, end and committed offset of every partition that a stage reads."""
    inputs = {stage: settings.topology.inputs(stage).values() for stage in Stage}
    topics = [topic for each in inputs.values() for topic in each]
    found: list[PartitionOffsets] = []
    async with consumer_of(settings, *topics) as (consumer, partitions):
        for stage, names in inputs.items():
            own = [each for each in partitions if each.topic in names]
            committed = await committed_offsets(settings, stage, own)
            begins = await consumer.beginning_offsets(own)
            ends = await consumer.end_offsets(own)
            found += [
                PartitionOffsets(
                    stage=stage,
                    topic=each.topic,
                    partition=each.partition,
                    begin=begins[each],
                    end=ends[each],
                    committed=committed.get(each),
                )
                for each in own
            ]
    return found
