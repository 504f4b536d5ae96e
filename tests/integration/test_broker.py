"""The local broker: real Kafka, on this machine only, with a memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from headrace_local.broker import Broker
from headrace_local.kafka_jars import JarsUnavailable, class_path, locked_jars
from headrace_local.parts import PartFailed

from tests.support.eventually import eventually


async def create_topic(bootstrap_servers: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        await admin.close()


async def send(bootstrap_servers: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=True, acks="all"
    )
    await producer.start()
    try:
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read_all(bootstrap_servers: str, topic: str) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes | None] = []
        while await consumer.position(partition) < end:
            record = await consumer.getone()
            values.append(record.value)
        return values
    finally:
        await consumer.stop()


async def test_what_was_produced_can_be_read(broker: Broker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}.records"
    await create_topic(broker.bootstrap_servers, topic)
    await send(broker.bootstrap_servers, topic, b"grain")

    assert await read_all(broker.bootstrap_servers, topic) == [b"grain"]


async def test_it_listens_on_this_machine_only(broker: Broker) -> None:
    connections = psutil.Process(broker.process.pid).net_connections("tcp")
    listening = [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]

    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "grace_s", [pytest.param(15, id="stopped"), pytest.param(0, id="killed")]
)
async def test_a_restart_on_other_ports_finds_all_records(
    tmp_path: Path, grace_s: float
) -> None:
    first = Broker(data_dir=tmp_path)
    await first.start()
    await create_topic(first.bootstrap_servers, "kept")
    await send(first.bootstrap_servers, "kept", b"grain")
    await first.process.stop(grace_s=grace_s)

    second = Broker(data_dir=tmp_path)
    await second.start()
    try:
        assert await read_all(second.bootstrap_servers, "kept") == [b"grain"]
    finally:
        await second.stop()


async def test_a_wrong_setting_is_reported_with_what_kafka_said(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").write_text("version=1\nnode.id=99\n")

    with pytest.raises(
        PartFailed, match=r"ended at once[\s\S]*cluster\.id was not found"
    ):
        await Broker(data_dir=tmp_path).start()


async def test_the_command_writes_its_address_and_ends_on_sigterm(
    tmp_path: Path,
) -> None:
    ready = tmp_path / "ready"
    command = [
        *(sys.executable, "-m", "headrace_local.broker"),
        *("--data-dir", str(tmp_path / "data"), "--ready-file", str(ready)),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        await eventually(ready.exists)
        java = psutil.Process(process.pid).children(recursive=True)
        address = ready.read_text()
        await create_topic(address, "any")
    finally:
        process.terminate()

    assert await process.wait() == 0
    assert not [child for child in java if child.is_running()]


def test_a_jar_that_was_changed_on_the_way_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network here: the cache holds a damaged jar, and no repository answers."""
    config = tmp_path / "jgo.conf"
    config.write_text("[repositories]\nnowhere = http://127.0.0.1:9/maven2\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("headrace_local.kafka_jars.ATTEMPTS", 1)
    cache = tmp_path / "cache"
    for jar in locked_jars():
        path = cache / "maven" / jar.path
        path.parent.mkdir(parents=True)
        path.write_bytes(b"something else")

    with pytest.raises(JarsUnavailable, match="KAFKA_BOOTSTRAP_SERVERS"):
        class_path(cache)
    assert not list((cache / "maven").rglob("*.jar"))
