"""Make the first start quick: fetch Kafka, and let it run once to record its classes.

``python -m headrace_local.prepare``; nothing needs it, and twice does nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headrace_local.broker import Broker, start_up_cache
from headrace_local.parts import PartFailed

RECORD_S = 120.0
TOPIC = "prepare"


async def prepare() -> Path:
    """Fetch and record what is missing; the path of the start-up cache.

    Raises:
        PartFailed: Kafka cannot be fetched or does not start.
    """
    archive = start_up_cache()
    if archive.exists():
        return archive
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        made = Path(folder) / "kafka.aot"
        broker = Broker(
            data_dir=Path(folder) / "kafka",
            jvm_options=[f"-XX:AOTCacheOutput={made}", "-Xlog:disable"],
        )
        await broker.start()
        try:
            await _use(broker.bootstrap_servers)
        finally:
            # Java writes the cache while it ends.
            await broker.process.stop(grace_s=RECORD_S)
        partly = archive.with_suffix(f".{os.getpid()}")
        await asyncio.to_thread(_copy, made, partly)
        partly.replace(archive)
    return archive


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


async def _use(bootstrap_servers: str) -> None:
    """What every start does: a topic, an idempotent producer, a group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=True
    )
    await producer.start()
    try:
        await producer.send_and_wait(TOPIC, b"value")
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap_servers,
        group_id=TOPIC,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        await consumer.getone()
        await consumer.commit()
    finally:
        await consumer.stop()


def main() -> None:
    """Prepare this machine."""
    try:
        asyncio.run(prepare())
    except PartFailed as error:
        sys.exit(f"headrace: {error}")


if __name__ == "__main__":
    main()
