"""Rows 15, 16 and 52: partitions, offsets and whole stores change behind one's back."""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest

from headrace import topics
from headrace.messages import Lane, Stage
from headrace.topology import INPUT, Noun
from tests.faults.harness import Harness, Settled, text_of
from tests.faults.machines import StageMachine
from tests.faults.reporting import Row
from tests.support.cli import Answer, headrace
from tests.support.eventually import eventually

LONG_WORDS = 4000
"""A document of several slices."""
ALIGNED = (Noun.TEXTS, Noun.CHUNKS, Noun.VECTORS)


def tell(row: Row, settled: Settled, over: float, note: str = "") -> None:
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - over,
        note=note,
        details=settled.details,
    )


async def command(harness: Harness, *arguments: str) -> Answer:
    """Run ``headrace`` beside the suite's loop, which serves the proxies."""
    directory = str(harness.stack.directory / "command")
    return await asyncio.to_thread(
        headrace, *arguments, "--data-dir", directory, env=harness.environment()
    )


async def add_partitions(harness: Harness, noun: Noun, count: int) -> None:
    """As somebody does who does not know ``headrace topics grow``."""
    topology = harness.settings.topology
    await harness.admin.create_partitions(
        {topology.topic(noun, lane): NewPartitions(count) for lane in Lane}
    )


async def partitions(harness: Harness) -> int:
    """How many the topics between the stages have now: rows leave what they added."""
    topic = harness.settings.topology.topic(Noun.TEXTS, Lane.INTERACTIVE)
    return len(await harness.ends(topic))


async def delete_groups(harness: Harness, *stages: Stage) -> None:
    """Forget what these stages have committed; they must not run."""
    topology = harness.settings.topology
    groups = [topology.group(stage) for stage in stages]
    for stage in stages:
        await harness.evict(stage)
    answer = await harness.admin._send_request(DeleteGroupsRequest(groups))
    assert not any(code for _, code in answer.results), answer


@pytest.mark.reads_all
@pytest.mark.row("16", level=2, injected="offsets of all groups gone")
async def test_row_16_offsets_gone(harness: Harness, row: Row) -> None:
    names = await harness.load(20, words=60)
    for name in names[:10]:
        await harness.upsert(name, text_of(name, 2, 30), lane=Lane.BULK)
    for name in names[:3]:
        await harness.delete(name)
    await harness.settled()
    points = await harness.point_ids()
    states = {name: await harness.state(name) for name in names}
    await asyncio.gather(*(harness.stage(stage).terminate() for stage in Stage))
    await delete_groups(harness, *Stage)
    await asyncio.gather(*(harness.stage(stage).start() for stage in Stage))
    over = time.monotonic()
    settled = await harness.settled(patience_s=20)
    # Everything was read again, and nothing is another than before.
    assert await harness.point_ids() == points
    assert {name: await harness.state(name) for name in names} == states
    tell(row, settled, over, "all topics read again from the beginning")


@pytest.mark.row("15", level=2, injected="records removed before they were read")
async def test_row_15_offset_out_of_range(harness: Harness, row: Row) -> None:
    chunker = harness.stage(Stage.CHUNKER)
    # To every partition: of one that was never read nobody knows what was in it.
    await harness.load(40)
    await harness.drained()
    await chunker.terminate()
    names = await harness.load(12, prefix="removed")
    await eventually(lambda: passed_on(harness, Stage.LOADER))
    topology = harness.settings.topology
    ends = await harness.ends(topology.topic(INPUT[Stage.CHUNKER], Lane.INTERACTIVE))
    await harness.admin.delete_records(
        {place: RecordsToDelete(before_offset=end) for place, end in ends.items()}
    )
    await chunker.start()
    # Loud, in words and as a number to alert on; nothing else stands still.
    await harness.load(40, prefix="afterwards")
    await eventually(lambda: told(harness, len(names)))
    assert "removed before they were read" in chunker.log
    over = time.monotonic()
    for name in names:
        text = harness.ledger.expected[name]
        assert text is not None
        await harness.upsert(name, f"{text} Once more.")
    settled = await harness.settled()
    tell(row, settled, over, "told in the log and as a metric; sent again")


async def told(harness: Harness, count: int) -> bool:
    """Whether the chunker says that so many records were removed unread."""
    metrics = await harness.metrics(Stage.CHUNKER)
    return metrics.value("unread_records_lost_total") == count


async def passed_on(harness: Harness, *stages: Stage) -> bool:
    """Whether these stages are done with everything."""
    waiting = await harness.waiting()
    return not any(waiting[stage] for stage in stages)


@pytest.mark.row("15", level=2, injected="a topic deleted and made again")
async def test_row_15_topic_made_again(harness: Harness, row: Row) -> None:
    embedder = harness.stage(Stage.EMBEDDER)
    # It must notice neither the group's nor the topic's absence while it is stopped.
    await embedder.restart(env={"HEADRACE_SESSION_TIMEOUT_S": "120"})
    await harness.load(20)
    await harness.settled()
    topology = harness.settings.topology
    name = topology.topic(INPUT[Stage.EMBEDDER], Lane.INTERACTIVE)
    embedder.stop()
    await harness.admin.delete_topics([name])
    await eventually(lambda: gone(harness, name))
    await topics.apply(harness.admin, topology, replication_factor=1)
    # More than there were: where it had been is in their midst.
    await harness.load(60, prefix="into-the-new-one")
    await eventually(lambda: passed_on(harness, Stage.LOADER, Stage.CHUNKER))
    embedder.cont()
    over = time.monotonic()
    await embedder.ended()
    assert "made again" in embedder.log or "begins anew" in embedder.log
    await embedder.start()
    tell(row, await harness.settled(), over, "the process begins anew and says why")


async def gone(harness: Harness, topic: str) -> bool:
    """Whether a topic is no more."""
    return topic not in await harness.admin.list_topics()


@pytest.mark.row("15", level=2, injected="partitions added by `headrace topics grow`")
async def test_row_15_partitions_grown(harness: Harness, row: Row) -> None:
    names = await harness.load(10, words=LONG_WORDS)
    # In mid-document: the loader ends, what it has passed on is still on its way.
    await harness.stage(Stage.LOADER).terminate()
    count = await partitions(harness) + 2
    answer = await command(harness, "topics", "grow", str(count))
    assert answer.code == 0, answer
    await harness.stage(Stage.LOADER).start()
    over = time.monotonic()
    await harness.load(30, prefix="later")
    for name in names:
        await harness.upsert(name, text_of(name, 2, LONG_WORDS // 2), lane=Lane.BULK)
    settled = await harness.settled()
    topology = harness.settings.topology
    ends = await harness.ends(topology.topic(Noun.VECTORS, Lane.INTERACTIVE))
    assert len(ends) == count
    assert any(end for place, end in ends.items() if place.partition >= count - 2)
    tell(row, settled, over)


@pytest.mark.row("15", level=2, injected="partitions added to one topic only")
async def test_row_15_partitions_added_to_one(harness: Harness, row: Row) -> None:
    await harness.load(10)
    chunker = harness.stage(Stage.CHUNKER)
    count = await partitions(harness) + 2
    await add_partitions(harness, Noun.TEXTS, count)
    await eventually(lambda: misses_partitions(chunker), patience_s=120)
    await harness.load(30, prefix="later")
    over = time.monotonic()
    await harness.stage(Stage.LOADER).terminate()
    answer = await command(harness, "topics", "grow", str(count))
    assert answer.code == 0, answer
    await harness.stage(Stage.LOADER).start()
    settled = await harness.settled()
    await chunker.wait_ready()
    tell(row, settled, over, "not ready and says why; mended by `topics grow`")


async def misses_partitions(machine: StageMachine) -> bool:
    """Whether it says that it is not ready because numbers of partitions differ."""
    return "run `headrace topics check`" in (await machine.not_ready() or "")


@pytest.mark.row(
    "grown", level=2, injected="partitions added behind its back in mid-document"
)
async def test_case_partitions_added_mid_document(harness: Harness, row: Row) -> None:
    names = await harness.load(6, words=LONG_WORDS)
    await eventually(lambda: len(harness.provider.paid) > 100)
    count = await partitions(harness) + 2
    for noun in reversed(ALIGNED):
        await add_partitions(harness, noun, count)
    over = time.monotonic()
    for version in (2, 3):
        for name in names:
            await harness.upsert(name, text_of(name, version, LONG_WORDS // version))
    await harness.load(20, prefix="later")
    tell(row, await harness.settled(patience_s=20), over)


@pytest.mark.reads_all
@pytest.mark.row(
    "52", level=2, injected="store put back to yesterday's copy, events read again"
)
async def test_case_store_put_back(harness: Harness, row: Row) -> None:
    names = await harness.load(12, words=60)
    await harness.settled()
    copy = harness.stack.directory / "yesterday"
    await harness.store_machine.terminate()
    await asyncio.to_thread(shutil.copytree, harness.stack.store_dir, copy)
    await harness.store_machine.start()
    for name in names[:8]:
        await harness.upsert(name, text_of(name, 2, 90), lane=Lane.BULK)
    for name in names[:3]:
        await harness.delete(name)
    await harness.load(5, prefix="since")
    await harness.settled()
    revisions = {name: await harness.state(name) for name in names}
    await harness.store_machine.terminate()
    await asyncio.to_thread(shutil.rmtree, harness.stack.store_dir)
    await asyncio.to_thread(shutil.move, copy, harness.stack.store_dir)
    await harness.store_machine.start()
    await harness.stage(Stage.LOADER).terminate()
    await delete_groups(harness, Stage.LOADER)
    await harness.stage(Stage.LOADER).start()
    over = time.monotonic()
    settled = await harness.settled(patience_s=20)
    for name, before in revisions.items():
        now = await harness.state(name)
        assert now is not None
        assert before is not None
        # Never one that was given to other bytes.
        same = now.accepted.content_hash == before.accepted.content_hash
        assert now.accepted.revision > before.accepted.revision or same
    tell(row, settled, over)
