"""How far the stages are in their topics."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer

from headrace.kafka import client_options
from headrace.messages import Stage
from headrace.settings import Settings
from headrace.verify import PartitionOffsets
from headrace_cli.kafka_client import admin_client, partitions_of


async def committed_offsets(
    settings: Settings, stage: Stage
) -> dict[tuple[str, int], int]:
    """Committed offsets of a stage's group, by topic and partition."""
    async with admin_client(settings) as admin:
        group = settings.topology.group(stage)
        offsets = await admin.list_consumer_group_offsets(group)
    return {
        (partition.topic, partition.partition): each.offset
        for partition, each in offsets.items()
        if each.offset >= 0
    }


async def all_offsets(settings: Settings) -> Sequence[PartitionOffsets]:
    """Begin, end and committed offset of every partition that a stage reads."""
    topology = settings.topology
    found: list[PartitionOffsets] = []
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        for stage in Stage:
            committed = await committed_offsets(settings, stage)
            partitions = [
                partition
                for topic in topology.inputs(stage).values()
                for partition in await partitions_of(settings, topic)
            ]
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            found += [
                PartitionOffsets(
                    stage=stage,
                    topic=each.topic,
                    partition=each.partition,
                    begin=begins[each],
                    end=ends[each],
                    committed=committed.get((each.topic, each.partition)),
                )
                for each in partitions
            ]
    finally:
        await consumer.stop()
    return found
