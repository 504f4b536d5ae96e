"""Real stages are paused under load: all obey, restarted ones too; nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from headrace_cli.overview import Overview
from headrace_cli.readiness import pauses, readiness
from headrace_cli.verifying import KafkaReaders
from headrace_local.data_dir import DataDir
from headrace_local.stack import RunningStack, StackPlan, running_stack

from headrace.control import EVERYTHING, Target
from headrace.control_topic import pause, resume
from headrace.draining import drained
from headrace.group_offsets import all_offsets
from headrace.identity import DocumentKey
from headrace.kafka_clients import Sender, send_events, sender
from headrace.messages import DocumentEvent, Lane, Operation, Pause, Stage
from headrace.parked_topic import parked_records
from headrace.qdrant import QdrantStore
from headrace.settings import Settings
from headrace.verify import LedgerEntry, Oracle
from tests.support.eventually import eventually
from tests.support.service_process import ServiceProcess, ended, environment_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

WHY = Pause("a test", "to see it obeyed", 1)
CLOSED = Target(tenant="default", collection="closed")
OBEYED_S = 10.0
"""Two seconds are promised, on a machine that has nothing else to do."""
STILL_S = 3.0
SETTINGS = {
    "embedding_provider": "hash",
    "embedding_dimensions": 16,
    "tokenizer": "cl100k_base",
}


@dataclass
class World:
    running: RunningStack
    out: Sender
    folder: Path
    restarts: Counter[str]

    @property
    def settings(self) -> Settings:
        return self.running.settings

    async def send(self, collection: str, numbers: range) -> list[LedgerEntry]:
        keys = [DocumentKey("default", collection, str(each)) for each in numbers]
        await send_events(
            self.settings,
            [
                DocumentEvent(
                    key,
                    inline=f"What {key.document_id} says.".encode(),
                    lane=(Lane.INTERACTIVE, Lane.BULK)[number % 2],
                )
                for number, key in enumerate(keys)
            ],
        )
        return [LedgerEntry(key, Operation.UPSERT) for key in keys]

    async def pause(self, target: Target) -> None:
        await pause(self.out, self.settings.topology, target, why=WHY)

    async def resume(self, target: Target) -> None:
        await resume(self.out, self.settings.topology, target)

    def kill(self, stage: Stage) -> None:
        pids = {part.name: part.process.pid for part in self.running.supervisor.parts}
        os.kill(pids[stage], signal.SIGKILL)

    async def committed(self) -> dict[tuple[str, int], int | None]:
        offsets = await all_offsets(self.settings)
        return {(each.topic, each.partition): each.committed for each in offsets}

    async def stands_still(self) -> bool:
        before = await self.committed()
        await asyncio.sleep(STILL_S)
        return await self.committed() == before

    async def documents(self) -> dict[str, int]:
        overview = Overview()
        async for event in KafkaReaders(self.settings).statuses():
            overview.accept(event)
        return dict(overview.documents)

    async def waiting(self) -> int:
        return len([record async for record in parked_records(self.settings)])

    async def assert_whole(self, ledger: list[LedgerEntry]) -> None:
        """Every document is indexed, once and whole."""
        left = await drained(self.settings, tuple(Stage), timeout_s=120)
        assert left == {}
        await eventually(lambda: indexed(self, len(ledger)))
        store = QdrantStore.from_settings(self.settings)
        readers = KafkaReaders(self.settings)
        try:
            report = await Oracle(
                store,
                offsets=readers,
                letters=readers,
                statuses=readers,
                parked=readers,
                ledger=ledger,
            ).verify()
        finally:
            await store.close()
        assert report.findings == []
        assert (report.counts["visible"], report.counts["parked"]) == (len(ledger), 0)
        assert report.counts["points"] == report.counts["chunks"] == len(ledger)


async def indexed(world: World, count: int) -> bool:
    return await world.documents() == {"indexed": count}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    restarts: Counter[str] = Counter()

    def report(name: str, what: str) -> None:
        restarts[name] += what == "is ready again"

    plan = StackPlan(data_dir=DataDir(tmp_path / "data"), overrides=SETTINGS)
    async with (
        running_stack(plan, report=report) as running,
        sender(running.settings) as out,
    ):
        yield World(running, out, tmp_path, restarts)


async def stopped(address: str) -> bool:
    """Whether a stage reads nothing because people say so."""
    return await pauses(address) == ["operator"]


async def partitions(address: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    found = [each for each in lines if each.startswith("headrace_assigned_partitions{")]
    return int(float(found[0].rpartition(" ")[2])) if found else 0


async def owns_some(address: str) -> bool:
    return await partitions(address) > 0


async def test_all_replicas_stand_still_until_they_are_resumed(world: World) -> None:
    ledger = await world.send("some", range(200))
    second = ServiceProcess(
        "headrace_chunker",
        world.folder / "second",
        environment_of(world.settings, HEADRACE_SESSION_TIMEOUT_S="6"),
        told_by="HEADRACE_PROBE_FILE",
    )
    with ended(second):
        await second.start()
        await eventually(lambda: owns_some(second.address))
        probes = [*world.running.probes.values(), second.address]
        sending = asyncio.create_task(world.send("some", range(200, 1500)))
        await eventually(lambda: some_moved(world))

        began = time.monotonic()
        await world.pause(EVERYTHING)
        for address in probes:
            await eventually(lambda address=address: stopped(address))
        assert time.monotonic() - began < OBEYED_S
        ledger += await sending
        await eventually(world.stands_still)
        assert [await readiness(address) for address in probes] == ["yes"] * 5
        left = await drained(world.settings, tuple(Stage), timeout_s=0)
        assert left.get(Stage.LOADER, 0) > 0, "all was done before the pause"

        before = await world.committed()
        second.kill()
        world.kill(Stage.LOADER)
        await eventually(lambda: world.restarts[Stage.LOADER] == 1)
        await eventually(lambda: stopped(world.running.probes[Stage.LOADER]))
        assert await world.stands_still()
        assert await world.committed() == before

        await second.start()
        await eventually(lambda: stopped(second.address))
        assert await world.committed() == before
        await world.resume(EVERYTHING)
        await world.assert_whole(ledger)


async def some_moved(world: World) -> bool:
    return (await world.documents()).get("indexed", 0) > 20


async def test_a_collection_waits_apart_and_comes_back_whole(world: World) -> None:
    closed, opened = 1500, 60
    await world.pause(CLOSED)
    ledger = await world.send("closed", range(closed))
    ledger += await world.send("open", range(opened))
    apart = {"parked": closed, "indexed": opened}
    await eventually(lambda: stands(world, apart))
    assert await world.waiting() == closed
    world.kill(Stage.LOADER)
    await eventually(lambda: world.restarts[Stage.LOADER] == 1)
    assert await world.stands_still()
    assert await world.documents() == apart

    await world.resume(CLOSED)
    await eventually(lambda: partly_back(world, closed))
    world.kill(Stage.LOADER)
    await eventually(lambda: nothing_waits(world))
    await world.assert_whole(ledger)


async def stands(world: World, expected: dict[str, int]) -> bool:
    return await world.documents() == expected


async def partly_back(world: World, closed: int) -> bool:
    """Whether some have gone back; they may all have by the time of the kill."""
    documents = await world.documents()
    return documents.get("parked", 0) < closed


async def nothing_waits(world: World) -> bool:
    return await world.waiting() == 0
