"""How far the stages are in their topics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.kafka import client_options
from headrace.messages import Stage
from headrace.settings import Settings
from headrace.verify import PartitionOffsets
from headrace_cli.kafka_client import admin_client, partitions_of

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
    topology = settings.topology
    found: list[PartitionOffsets] = []
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        for stage in Stage:
            partitions = [
                partition
                for topic in topology.inputs(stage).values()
                for partition in await partitions_of(settings, topic)
            ]
            committed = await committed_offsets(settings, stage, partitions)
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            found += [
                PartitionOffsets(
                    stage=stage,
                    topic=each.topic,
                    partition=each.partition,
                    begin=begins[each],
                    end=ends[each],
                    committed=committed.get(each),
                )
                for each in partitions
            ]
    finally:
        await consumer.stop()
    return found
